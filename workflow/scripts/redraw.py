"""Draw the figures of an archived experiment again: without training, and without JAX.

python workflow/scripts/redraw.py --archive default.zip --output redrawn
python workflow/scripts/redraw.py --archive default.zip --output redrawn --figure 04 --axis step
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, run_script
from samedge.base.log import say
from samedge.figures.paper import AXES
from samedge.sharing.redraw import redraw


def main(argv: list[str] | None = None) -> None:
    """Verify an archive, redraw its figures, and say how they compare with those in it."""
    parser = Parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--archive", type=Path, required=True, help="the archive, or the folder it was unpacked to"
    )
    parser.add_argument("--output", type=Path, required=True, help="the folder to draw into")
    parser.add_argument(
        "--figure",
        nargs="+",
        default=[],
        metavar="NAME",
        help="which to draw: 04, density_mnist, supplement_mnist, ... (default: all)",
    )
    parser.add_argument("--axis", choices=AXES, help="what is on x (default: as configured)")
    arguments = parser.parse_args(argv)
    done = redraw(arguments.archive, arguments.output, arguments.figure, arguments.axis)
    say(f"{arguments.archive}: every file is as it was packed")
    say(f"{arguments.output}: drew {', '.join(done.drawn)}")
    say(f"equal to the packed file, byte for byte: {len(done.equal)} files")
    if done.other:
        say(
            f"drawn otherwise than packed: {', '.join(done.other)}; another axis, or other "
            "versions of the packages that draw"
        )
    if done.left_alone:
        say(f"left alone, not drawn by this program: {', '.join(done.left_alone)}")


if __name__ == "__main__":
    run_script(main)

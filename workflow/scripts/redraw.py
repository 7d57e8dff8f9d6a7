"""Draw the figures of an archived experiment again: without training, and without JAX.

python workflow/scripts/redraw.py --archive default.zip --output redrawn
python workflow/scripts/redraw.py --archive default.zip --output redrawn --figure 04 --axis step
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, run_script
from samedge.command import redraw


def main(argv: list[str] | None = None) -> None:
    """Verify an archive, redraw its figures, and say how they compare with those in it."""
    parser = Parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--archive", type=Path, required=True, help="the archive, or the folder it was unpacked to"
    )
    redraw.add_options(parser)
    redraw.run(parser.parse_args(argv))


if __name__ == "__main__":
    run_script(main)

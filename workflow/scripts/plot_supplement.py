"""Draw all plots of every completed run of a cube into one folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, run_script
from samedge.base.log import say
from samedge.figures import paper
from samedge.figures.supplement import write_supplement
from samedge.records import files


def main(argv: list[str] | None = None) -> None:
    """Draw a task's supplement from the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--cube", type=Path, required=True, help="the (filtered) cube of the task")
    parser.add_argument("--axis", choices=paper.AXES, default=paper.AXES[0], help="what is on x")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write")
    arguments = parser.parse_args(argv)
    count = write_supplement(files.read_cube(arguments.cube), arguments.output, arguments.axis)
    say(f"{arguments.output}: {count} runs drawn")


if __name__ == "__main__":
    run_script(main)

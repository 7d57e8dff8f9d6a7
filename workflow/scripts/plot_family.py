"""Draw tasks of one family in one figure, over their batch sizes or along training."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, run_script
from samedge.figures import family, paper
from samedge.records import files


def main(argv: list[str] | None = None) -> None:
    """Draw a family of tasks from the command line."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--cubes", type=Path, nargs="+", required=True, help="the cubes of the tasks, in order"
    )
    parser.add_argument("--along", choices=tuple(family.ROWS), required=True)
    parser.add_argument("--name", required=True, help="name of the family, for the title")
    parser.add_argument("--output-pdf", type=Path, required=True)
    parser.add_argument("--output-png", type=Path, required=True)
    arguments = parser.parse_args(argv)
    figure = family.draw(files.read_cubes(arguments.cubes), arguments.along, arguments.name)
    paper.save(figure, arguments.output_pdf, arguments.output_png)


if __name__ == "__main__":
    run_script(main)

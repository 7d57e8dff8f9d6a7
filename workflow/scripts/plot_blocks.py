"""Draw the sharpness of a task's blocks, gradient descent beside SAM, from its cube."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, run_script
from samedge.figures import paper
from samedge.figures.spectra import blocks
from samedge.records import files


def main(argv: list[str] | None = None) -> None:
    """Draw the blocks of a task from the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--cube", type=Path, required=True, help="the cube of the task")
    parser.add_argument("--rho", required=True, help="radius of the SAM runs to show")
    parser.add_argument("--output-pdf", type=Path, required=True)
    parser.add_argument("--output-png", type=Path, required=True)
    arguments = parser.parse_args(argv)
    figure = blocks.draw(files.read_cube(arguments.cube), arguments.rho)
    paper.save(figure, arguments.output_pdf, arguments.output_png)


if __name__ == "__main__":
    run_script(main)

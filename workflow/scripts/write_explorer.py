"""Write the explorer: one HTML page, for any browser, that shows every run of an experiment."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, run_script
from samedge.base.files import write_whole
from samedge.explorer import page
from samedge.records import files


def main(argv: list[str] | None = None) -> None:
    """Write an explorer from the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--cubes", type=Path, nargs="+", required=True, help="a cube of each task")
    parser.add_argument(
        "--figures",
        nargs="*",
        default=[],
        help="figures to offer for download: paths of PDF files, as seen from the page",
    )
    parser.add_argument("--output", type=Path, required=True, help="the page to write, .html")
    arguments = parser.parse_args(argv)
    text = page.page(files.read_cubes(arguments.cubes).values(), arguments.figures)
    write_whole(arguments.output, text)


if __name__ == "__main__":
    run_script(main)

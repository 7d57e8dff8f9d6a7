"""Write the explorer: one HTML page, for any browser, that shows every run of an experiment."""

import sys
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, UserError, run_script
from samedge.base.files import whole_file
from samedge.explorer import page
from samedge.records import files


def read(paths: Sequence[Path]) -> list[xr.Dataset]:
    """Return the cubes in these files; UserError if two hold the same task."""
    cubes, origins = [], {}
    for path in paths:
        cubes.append(files.read_cube(path))
        task = files.settings_of(cubes[-1])["task"]
        if task in origins:
            raise UserError(
                f"{origins[task]} and {path} both hold the task '{task}'; the explorer shows one "
                "cube a task"
            )
        origins[task] = path
    return cubes


def main(argv: list[str] | None = None) -> None:
    """Write an explorer from the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--cubes", type=Path, nargs="+", required=True, help="a cube of each task")
    parser.add_argument("--output", type=Path, required=True, help="the page to write, .html")
    arguments = parser.parse_args(argv)
    text = page.page(read(arguments.cubes))
    with whole_file(arguments.output) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_script(main)

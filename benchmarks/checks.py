"""The check that the workflow makes, by two revisions in turns: products and seconds.

    python -m benchmarks.checks --before 3210f3b --rows mnist_sam_100 mnist_sam_1000 --rounds 5

A check is warm, certified, and knows both ends of the spectrum. Each revision measures in a
process of its own, from a copy of its files; one waits while the other measures, and they change
places from round to round. Where memory is too small for two such processes (the Transformer),
``--apart`` has every round of a revision in a process that ends before the next one begins.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.experiment import copy_checkout
from benchmarks.problems import CACHE, ROWS
from samedge.base.errors import run_script

PACKAGES = ("jax", "jaxlib", "numpy")
WORKER = Path(__file__).with_name("check_worker.py")
FIELDS = ("seconds", "products", "product_seconds", "error")


@contextmanager
def worker(revision: str | None, row: str) -> Iterator[subprocess.Popen]:
    """Start a process that measures a row with a revision, or with the files as they are."""
    with tempfile.TemporaryDirectory(prefix="samedge-checks-") as temporary:
        folder = Path(temporary) / "checkout"
        folder.mkdir()
        copy_checkout(folder, revision)
        # What was trained once serves every revision.
        CACHE.mkdir(exist_ok=True)
        (folder / "benchmarks" / "cache").symlink_to(CACHE)
        paths = os.pathsep.join([str(folder), str(folder / "workflow" / "scripts")])
        process = subprocess.Popen(
            [sys.executable, str(WORKER), row],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.communicate()


def ask(process: subprocess.Popen, seed: int) -> dict[str, Any]:
    """Let a process measure once, and return what it says."""
    assert process.stdin and process.stdout
    process.stdin.write(f"{seed}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def measure(
    row: str, revisions: Mapping[str, str | None], rounds: int, apart: bool = False
) -> dict[str, Any]:
    """Return the spread of what each revision took, by name, and of the ratios in a round."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in revisions}
    with ExitStack() as stack:
        workers: dict[str, subprocess.Popen] = {}
        for number in range(1, rounds + 1):
            for name in list(revisions) if number % 2 else list(revisions)[::-1]:
                if name not in workers:
                    workers[name] = stack.enter_context(worker(revisions[name], row))
                    ask(workers[name], 0)  # compiles
                answers[name].append(ask(workers[name], number))
                if apart:
                    stack.close()
                    workers.clear()
    found: dict[str, Any] = {
        name: {field: measuring.spread([entry[field] for entry in taken]) for field in FIELDS}
        | {"converged": all(entry["converged"] for entry in taken)}
        | {
            "not_products": measuring.spread(
                [1 - e["products"] * e["product_seconds"] / e["seconds"] for e in taken]
            )
        }
        for name, taken in answers.items()
    }
    before, now = answers.values()
    found["ratio"] = {
        field: measuring.spread([b[field] / a[field] for a, b in zip(before, now, strict=True)])
        for field in ("products", "seconds")
    }
    return found


def report(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out the results as text: medians, with the least and the most of ratios."""
    lines = [
        (
            "row",
            "products before",
            "now",
            "ratio",
            "seconds before",
            "now",
            "ratio (min–max)",
            "not products before",
            "now",
        )
    ]
    for row, entry in found.items():
        before, now, ratio = (entry[name] for name in ("before", "now", "ratio"))
        times = ratio["seconds"]
        lines.append(
            (
                row,
                f"{before['products']['median']:g}",
                f"{now['products']['median']:g}",
                f"{ratio['products']['median']:.2f}",
                f"{before['seconds']['median']:.3f}",
                f"{now['seconds']['median']:.3f}",
                f"{times['median']:.2f} ({times['min']:.2f}–{times['max']:.2f})",
                f"{before['not_products']['median']:.0%}",
                f"{now['not_products']['median']:.0%}",
            )
        )
    return measuring.table(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", default="3210f3b", help="the revision to compare with")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--apart", action="store_true", help="one process at a time, see above")
    parser.add_argument("--output", type=Path, default=measuring.RESULTS / "checks.json")
    arguments = parser.parse_args(argv)
    for row in arguments.rows:
        revisions = {"before": arguments.before, "now": None}
        found = measure(row, revisions, arguments.rounds, arguments.apart)
        print(report({row: found}), flush=True)
        entry = found | {
            "revision_before": arguments.before,
            "rounds": arguments.rounds,
            "apart": arguments.apart,
            "machine": measuring.machine(PACKAGES),
        }
        measuring.merge_results(arguments.output, {row: entry})


if __name__ == "__main__":
    run_script(main)

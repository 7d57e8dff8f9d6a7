"""What the quantities of minibatches cost, as a share of a check.

    python -m benchmarks.minibatches --repetitions 5

Some runs of ``config/minibatches.yaml`` are trained for a while; there a check as the run makes it
(its solver started by the check before, certified), the quantities of minibatches, and the way to
the SAM point are measured in turns. Each starts from what it found the time before.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from benchmarks import jobs, measuring
from samedge.base.errors import run_script
from samedge.config.parts import BudgetSettings, CheckSettings, WaySettings
from samedge.config.settings import RunSettings
from samedge.machine.device import prepare_jax
from samedge.tasks.problems import build_problem
from samedge.training.loop import train
from samedge.training.measuring import measure
from samedge.training.observers.observer import Snapshot
from samedge.training.observers.stochastic import StochasticObserver
from samedge.training.observers.way import WayObserver
from samedge.training.steps import StepSpec

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATIONS = (ROOT / "config.yaml", ROOT / "config" / "minibatches.yaml")
#: Tasks with the learning rate and the radius of the run.
RUNS = {
    "mnist_8": ("1.5", "0.1"),
    "mnist_32": ("1.5", "0.1"),
    "mnist_128": ("1.5", "0.1"),
    "mnist": ("1.5", "0.1"),
    "tiny_shakespeare_8": ("0.2", "0.3"),
    "tiny_shakespeare_32": ("0.2", "0.3"),
}
STEPS = 200
PACKAGES = ("jax", "jaxlib", "flax", "dm-haiku", "optax", "numpy")


def entry(task: str, repetitions: int) -> dict[str, Any]:
    """Measure one run."""
    settings = replace(
        jobs.settings_of(task, *RUNS[task], *CONFIGURATIONS),
        budget=BudgetSettings(STEPS, None),
        checks=CheckSettings("even", 2, None),
        way=WaySettings((1.0,), 5),
    )
    problem = build_problem(settings, jobs.data_of(settings))
    snapshots: list[Snapshot] = []

    def keep(snapshot: Snapshot) -> None:
        # The next step reuses the memory of the parameters.
        params, state = jax.tree.map(jax.numpy.copy, (snapshot.params, snapshot.optimizer_state))
        snapshots.append(replace(snapshot, params=params, optimizer_state=state))

    train(settings, problem, lambda line: None, [keep])
    last = snapshots[-1]
    products: dict[str, int] = {}
    cases = _cases(settings, problem, last, products)
    timings = measuring.interleave(cases, repetitions)
    return {
        "batch_size": settings.batch_size,
        "batches": settings.stochastic.batches,
        "sample": len(StochasticObserver(settings, problem, print)._sample[0]),
        "products": products,
        "seconds": {name: measuring.seconds(found) for name, found in timings.items()},
        "ratio": {
            name: measuring.ratio(timings[name], timings["check"])
            for name in ("minibatches", "way")
        },
    }


def _cases(
    settings: RunSettings, problem: Any, last: Snapshot, products: dict[str, int]
) -> dict[str, Callable[[int], None]]:
    """Return what is timed; each notes the products that it spent."""
    spec = StepSpec.of(settings, problem.loss)
    start = [last.spectrum]
    stochastic = StochasticObserver(settings, problem, lambda line: None)

    def check(repetition: int) -> None:
        key = jax.random.key(repetition)
        found = measure(
            settings, spec, last.params, last.batch, key, start[0], state=last.optimizer_state
        )
        start[0] = found.spectrum
        products["check"] = int(found.values["hessian_vector_products"])

    def minibatches(repetition: int) -> None:
        stochastic(replace(last, step=last.step + repetition))
        products["minibatches"] = int(stochastic.records[-1]["stochastic_products"])

    def way(repetition: int) -> None:
        del repetition
        observer = WayObserver(settings, problem, lambda line: None)
        observer(last)
        record = observer.records[0]
        products["way"] = 0 if record is None else int(record["way_products"])

    return {"check": check, "minibatches": minibatches, "way": way}


def report(entries: Mapping[str, Any]) -> str:
    """Lay out the results as text."""
    lines = [
        ("run", "batch", "sample", "check s", "minibatches / check", "way / check", "products")
    ]
    for task, found in entries.items():
        if task == "machine":
            continue
        ratios = [found["ratio"][name] for name in ("minibatches", "way")]
        spent = found["products"]
        lines.append(
            (
                task,
                str(found["batch_size"] or "all"),
                str(found["sample"]),
                f"{found['seconds']['check']['median']:.3f}",
                *(f"{one['median']:.2f} ({one['min']:.2f}–{one['max']:.2f})" for one in ratios),
                f"{spent['check']}, {spent['minibatches']}, {spent['way']}",
            )
        )
    return measuring.table(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the runs asked for and store the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", nargs="+", choices=tuple(RUNS), default=list(RUNS))
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args(argv)
    prepare_jax("highest", "cpu")
    results: Mapping[str, Any] = {}
    for task in arguments.runs:
        found = {task: entry(task, arguments.repetitions)}
        found["machine"] = measuring.machine(PACKAGES)
        results = measuring.merge_results(measuring.RESULTS / "minibatches.json", found)
    print(report(results))


if __name__ == "__main__":
    run_script(main)

"""What it costs to be able to go on: checkpoints, and the looks at whether all is finite.

    python -m benchmarks.checkpoints --repetitions 5

checkpoints
    Seconds and size of a checkpoint of a run of the paper's models, with their measured spectrum,
    over the interval of the default configuration. Training is short and on little data, neither
    of which changes what a checkpoint holds but for the records. Goal: at most 0.02.
looks
    A chunk of steps of each task of ``config.yaml``, as a job takes them, over the same steps
    without looking whether anything is finite, in turns. Goal: at most 1.02.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import jobs, measuring
from benchmarks.gpu_kit import POINTS
from samedge.base.errors import run_script
from samedge.config.experiment import load
from samedge.config.settings import RunSettings
from samedge.curvature.microbatches import mean_over_microbatches
from samedge.machine.device import prepare_jax
from samedge.tasks.inputs import Minibatches
from samedge.tasks.problems import Problem, build_problem
from samedge.training.checkpoints import Checkpoints, Interval
from samedge.training.loop import train
from samedge.training.run import LONGEST_CHUNK
from samedge.training.steps import StepSpec, take_steps
from samedge.updates.rule import RULES, gradients

PACKAGES = ("jax", "jaxlib", "flax", "dm-haiku", "optax", "numpy")
EXAMPLES = {"mnist": 500, "cifar10": 100, "tiny_shakespeare": 20_000}
PAPER_POINTS = {"mnist": "0.1", "cifar10": "0.003", "tiny_shakespeare": "0.1"}
BATCH = 8  # windows of text
STEPS = 20  # of a chunk


class TimedCheckpoints(Checkpoints):
    """Checkpoints that note how long each took, and its bytes."""

    def __init__(self, folder: Path, interval: Interval) -> None:
        super().__init__(folder, {}, interval, lambda line: None)
        self.seconds: list[float] = []
        self.size = 0

    def save(self, state: Mapping[str, Any]) -> bool:
        """Write one, with the clock running."""
        jax.block_until_ready(state["params"])
        begun = time.perf_counter()
        saved = super().save(state)
        self.seconds.append(time.perf_counter() - begun)
        self.size = max(path.stat().st_size for path in self.folder.glob("*.npz"))
        return saved


def checkpoints(repetitions: int) -> dict[str, Any]:
    """Time the checkpoints of a short run of each of the paper's models."""
    interval = 60 * load([jobs.DEFAULT]).checkpoints.minutes
    tasks = {}
    for task, eta in PAPER_POINTS.items():
        paper = jobs.settings_of(task, eta, "0.1", jobs.PAPER)
        batch = None if paper.batch_size is None else BATCH
        settings = replace(
            jobs.steps_only(paper, repetitions),
            dataset=replace(paper.dataset, train_examples=EXAMPLES[task], test_examples=100),
            batch_size=batch,
            microbatch=None,
            density=replace(paper.density, at=()),
        )
        problem = build_problem(settings, jobs.data_of(settings))
        with tempfile.TemporaryDirectory() as folder:
            kept = TimedCheckpoints(Path(folder), Interval(steps=1))
            train(settings, problem, lambda line: None, checkpoints=kept)
        shape = jax.eval_shape(problem.init, jax.random.key(0))
        tasks[task] = {
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(shape)),
            "mebibytes": kept.size / 2**20,
            "seconds": measuring.spread(kept.seconds),
            "interval_seconds": interval,
            "share": measuring.spread([seconds / interval for seconds in kept.seconds]),
        }
    return {"tasks": tasks}


def looks(repetitions: int) -> dict[str, Any]:
    """Time chunks of steps with and without looking whether all is finite."""
    tasks = {}
    for task, point in POINTS.items():
        settings = jobs.settings_of(task, *point)
        problem = build_problem(settings, jobs.data_of(settings))
        timings = measuring.interleave(
            {"watched": watched(settings, problem), "unwatched": unwatched(settings, problem)},
            repetitions,
        )
        tasks[task] = {
            "watched_seconds": measuring.seconds(timings["watched"]),
            "unwatched_seconds": measuring.seconds(timings["unwatched"]),
            "ratio": measuring.ratio(timings["watched"], timings["unwatched"]),
        }
    return {"steps": STEPS, "tasks": tasks}


def watched(settings: RunSettings, problem: Problem) -> Callable[[int], Any]:
    """Return a function that takes a chunk of steps as a job does."""
    spec = StepSpec.of(settings, problem.loss)
    eta, rho = jnp.float32(settings.eta), jnp.float32(settings.rho)
    chosen = indices(settings, problem)

    def take(repetition: int) -> Any:
        params = jax.jit(problem.init)(jax.random.key(repetition))
        state = spec.rule.optimizer(eta).init(params)
        return jax.block_until_ready(
            take_steps(spec, params, state, eta, rho, problem.train, chosen, STEPS)
        )

    return take


def unwatched(settings: RunSettings, problem: Problem) -> Callable[[int], Any]:
    """Return a function that takes the same steps, whatever comes of them."""
    rule = RULES.made(settings.update.name, settings.update.settings)
    eta, rho = jnp.float32(settings.eta), jnp.float32(settings.rho)
    optimizer = rule.optimizer(eta)

    @partial(jax.jit, donate_argnums=(0, 1))
    def steps(params: Any, state: Any, data: Any, chosen: Any, count: Any) -> Any:
        def one(number: Any, carry: Any) -> Any:
            params, state = carry
            batch = data if chosen is None else tuple(x[chosen[number]] for x in data)

            def value_and_grad(at: Any) -> Any:
                piece = partial(jax.value_and_grad(problem.loss), at)
                return mean_over_microbatches(piece, batch, settings.microbatch)

            _, _, gradient = gradients(rule, value_and_grad, params, rho, settings.update.epsilon)
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, count, one, (params, state))

    chosen = indices(settings, problem)

    def take(repetition: int) -> Any:
        params = jax.jit(problem.init)(jax.random.key(repetition))
        state = optimizer.init(params)
        return jax.block_until_ready(steps(params, state, problem.train, chosen, STEPS))

    return take


def indices(settings: RunSettings, problem: Problem) -> np.ndarray | None:
    """Return the examples of each step of a chunk, padded as a job does; None for all of them."""
    if settings.batch_size is None:
        return None
    batches = Minibatches(problem.train[0].shape[0], settings.batch_size, settings.seed)
    return batches.indices(0, LONGEST_CHUNK)


def report(entry: Mapping[str, Any], part: str) -> str:
    """Lay out one part's results as text."""
    if part == "checkpoints":
        rows = [("paper's model", "parameters", "MiB", "seconds (min-max)", "of the interval")]
        for task, found in entry["tasks"].items():
            rows.append(
                (
                    task,
                    f"{found['parameters']:,}",
                    f"{found['mebibytes']:.0f}",
                    _spread(found["seconds"]),
                    f"{found['share']['median']:.2%}",
                )
            )
        minutes = next(iter(entry["tasks"].values()))["interval_seconds"] / 60
        return f"{measuring.table(rows)}\ninterval: {minutes:g} minutes"
    rows = [(f"{entry['steps']} steps", "watched (s)", "unwatched (s)", "ratio (min-max)")]
    for task, found in entry["tasks"].items():
        seconds = [f"{found[f'{name}_seconds']['median']:.3f}" for name in ("watched", "unwatched")]
        rows.append((task, *seconds, _spread(found["ratio"])))
    return measuring.table(rows)


def _spread(spread: Mapping[str, Any]) -> str:
    return f"{spread['median']:.3f} ({spread['min']:.3f}-{spread['max']:.3f})"


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {"checkpoints": checkpoints, "looks": looks}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts asked for, print and store them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--repetitions", type=int, default=5, help="timed rounds of each part")
    parser.add_argument("--output", type=Path, default=measuring.RESULTS / "checkpoints.json")
    arguments = parser.parse_args(argv)
    prepare_jax("highest", "cpu")
    for part in arguments.parts:
        entry = PARTS[part](arguments.repetitions) | {"machine": measuring.machine(PACKAGES)}
        print(report(entry, part), flush=True)
        measuring.merge_results(arguments.output, {part: entry})


if __name__ == "__main__":
    run_script(main)

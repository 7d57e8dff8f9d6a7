"""Training speed: the loop against the bare step, the step against its matrix products, the CNN.

    python -m benchmarks.training --parts loop rate convolution --repetitions 5

Three comparisons, each in one process and in turns:

loop
    Steps of a job of each task of ``config.yaml``, checks and all, against the same step jitted
    alone and called in a Python loop. Goal: at least 0.95.
rate
    Floating-point operations per second of a step of the paper's MNIST network on all 60,000
    images, against those of one large float32 matrix product. Goal: at least 0.8.
convolution
    A gradient of the paper's CNN on 1,000 images, as the project computes it, against XLA's
    native convolution, which takes all images at once or the same microbatches. Goal on a CPU: at
    most 0.35 of its time, and equal to 1e-5.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import optax

from benchmarks import jobs, measuring
from benchmarks.convolutions import native_convolution
from benchmarks.gpu_kit import POINTS
from samedge.base.errors import run_script
from samedge.config.settings import RunSettings
from samedge.curvature.microbatches import mean_over_microbatches
from samedge.machine.device import prepare_jax
from samedge.tasks import layers
from samedge.tasks.inputs import Minibatches
from samedge.tasks.problems import Problem, build_problem
from samedge.training.loop import train
from samedge.training.steps import StepSpec, take_steps

PACKAGES = ("jax", "jaxlib", "flax", "dm-haiku", "optax", "numpy")
PRODUCT_SIZE = 4096  # rows and columns of the matrix product that gives the machine's rate
CONVOLUTIONS = (layers.shifted_convolution, native_convolution)
MICROBATCHES = (20, 25, 50, 100, 250, 1000)


def loop(repetitions: int) -> dict[str, Any]:
    """Compare the steps per second of jobs with those of the bare step, task by task."""
    tasks = {}
    for task, point in POINTS.items():
        settings = jobs.hardly_measured(jobs.settings_of(task, *point))
        problem = build_problem(settings, jobs.data_of(settings))
        cases = {
            "job": lambda _, run=settings, problem=problem: job_seconds(run, problem),
            "bare": bare_loop(settings, problem),
        }
        timings = measuring.interleave(cases, repetitions)
        steps = settings.budget.steps
        job, bare = ([timing.result for timing in timings[name]] for name in cases)
        tasks[task] = {
            "steps": steps,
            "job_steps_per_second": measuring.spread([steps / seconds for seconds in job]),
            "bare_steps_per_second": measuring.spread([steps / seconds for seconds in bare]),
            "ratio": measuring.spread([b / j for j, b in zip(job, bare, strict=True)]),
        }
    return {"tasks": tasks}


def job_seconds(settings: RunSettings, problem: Problem) -> float:
    """Train as a job does, checks and all; return the training time (s) that it records."""
    checks, _ = train(settings, problem, lambda line: None)
    return checks[-1]["training_time"]


def bare_loop(settings: RunSettings, problem: Problem) -> Callable[[int], float]:
    """Return a function that takes a run's steps, one call each, and returns the seconds."""
    step = bare_step(settings, problem)
    batches = None
    if settings.batch_size is not None:
        examples = problem.train[0].shape[0]
        minibatches = Minibatches(examples, settings.batch_size, settings.seed)
        batches = minibatches.indices(0, settings.budget.steps)

    def take(repetition: int) -> float:
        params = jax.block_until_ready(jax.jit(problem.init)(jax.random.key(settings.seed)))

        def all_steps() -> None:
            nonlocal params
            for number in range(settings.budget.steps):
                params = step(params, problem.train, None if batches is None else batches[number])
            jax.block_until_ready(params)

        return measuring.timed(all_steps).seconds

    return take


def bare_step(settings: RunSettings, problem: Problem) -> Callable[..., Any]:
    """Return equation 1 of the paper as one would write it down, jitted: params, data -> params."""
    eta, rho = float(settings.eta), float(settings.rho)

    @partial(jax.jit, donate_argnums=0)
    def step(params: Any, data: tuple[jax.Array, ...], chosen: jax.Array | None) -> Any:
        batch = data if chosen is None else tuple(x[chosen] for x in data)

        def gradient(at: Any) -> Any:
            piece = partial(jax.grad(problem.loss), at)
            return mean_over_microbatches(piece, batch, settings.microbatch)

        first = gradient(params)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(first)))
        scale = rho / (norm + settings.update.epsilon)
        second = gradient(jax.tree.map(lambda p, g: p + scale * g, params, first))
        return jax.tree.map(lambda p, g: p - eta * g, params, second)

    return step


def rate(repetitions: int) -> dict[str, Any]:
    """Compare a step's rate of floating-point operations with that of one matrix product."""
    settings = jobs.settings_of("mnist", "0.1", "0.1", jobs.PAPER)
    problem = build_problem(settings, jobs.data_of(settings))
    operations = step_operations(settings, problem)
    seen = bare_step(settings, problem).lower(
        jax.eval_shape(problem.init, jax.random.key(0)), problem.train, None
    )
    product = jax.jit(jnp.matmul)
    factor = jax.random.normal(jax.random.key(0), (PRODUCT_SIZE, PRODUCT_SIZE), jnp.float32)
    cases = {
        "step": one_step(settings, problem),
        "product": lambda _: jax.block_until_ready(product(factor, factor)),
    }
    timings = measuring.interleave(cases, repetitions)
    product_operations = 2 * PRODUCT_SIZE**3
    of_product_time = measuring.ratio(timings["product"], timings["step"])
    return {
        "operations_of_a_step": operations,
        "operations_by_xla": seen.cost_analysis()["flops"],
        "step_seconds": measuring.seconds(timings["step"]),
        "step_gflops": _gflops(operations, timings["step"]),
        "product_gflops": _gflops(product_operations, timings["product"]),
        "ratio": measuring.spread(
            [operations / product_operations * value for value in of_product_time["values"]]
        ),
    }


def step_operations(settings: RunSettings, problem: Problem) -> int:
    """Count the floating-point operations of a SAM step's matrix products.

    A layer that maps a to b features of N examples is one product of 2 N a b operations forward,
    one for the derivative by its weights and one for that by its inputs, which the first layer
    does not need. A step is two such gradients.
    """
    examples, *shape = problem.train[0].shape
    width, depth = (settings.model.settings[key] for key in ("width", "depth"))
    sizes = [jnp.array(shape).prod().item(), *[width] * (depth - 1), problem.train[1].shape[-1]]
    layers = [before * after for before, after in pairwise(sizes)]
    return 2 * 2 * examples * (3 * sum(layers) - layers[0])


def one_step(settings: RunSettings, problem: Problem) -> Callable[[int], Any]:
    """Return a function that takes one step as a job does, from where the last one ended.

    It returns the parameters, whose memory the next step reuses.
    """
    spec = StepSpec.of(settings, problem.loss)
    eta, rho = jnp.float32(settings.eta), jnp.float32(settings.rho)
    params = jax.jit(problem.init)(jax.random.key(settings.seed))
    state = spec.rule.optimizer(eta).init(params)

    def take(repetition: int) -> Any:
        nonlocal params, state
        params, state, taken, finite = take_steps(
            spec,
            params,
            state,
            eta,
            rho,
            problem.train,
            None,
            1,
        )
        if (int(taken), bool(finite)) != (1, True):
            raise RuntimeError(f"the step of repetition {repetition} was not finite")
        return params

    return take


def convolution(repetitions: int) -> dict[str, Any]:
    """Compare a gradient of the CNN by the project's convolution and by the native one."""
    settings = jobs.settings_of("cifar10", "0.003", "0.1", jobs.PAPER)
    problem = build_problem(settings, jobs.data_of(settings))
    ladder = {size: gradient(problem, size) for size in MICROBATCHES}
    tried = measuring.interleave({str(size): take for size, take in ladder.items()}, 3)
    seconds = {size: measuring.seconds(tried[str(size)])["median"] for size in ladder}
    best = min(seconds, key=seconds.__getitem__)
    with mock.patch.object(layers, "shifted_convolution", native_convolution):
        # The problem's loss is another function, so that nothing traced before is used again.
        plain = build_problem(settings, jobs.data_of(settings))
        natives = {"native": gradient(plain, None), "native in pieces": gradient(plain, best)}
        for native in natives.values():
            native(0)
    timings = measuring.interleave({"project": ladder[best], **natives}, repetitions)
    return {
        "microbatch": best,
        "seconds_by_microbatch": seconds,
        "project_seconds": measuring.seconds(timings["project"]),
        "native_seconds": measuring.seconds(timings["native"]),
        "native_in_pieces_seconds": measuring.seconds(timings["native in pieces"]),
        "ratio": measuring.ratio(timings["project"], timings["native"]),
        "ratio_in_pieces": measuring.ratio(timings["project"], timings["native in pieces"]),
        "gradient_difference": measuring.spread(
            [
                difference(project.result, native.result)
                for project, native in zip(timings["project"], timings["native"], strict=True)
            ]
        ),
        "convolution_difference": difference(
            *(first_layer(convolve, problem) for convolve in CONVOLUTIONS)
        ),
    }


def difference(one: Any, other: Any) -> float:
    """Return the norm of the difference of two trees over that of the second."""
    return float(optax.tree.norm(optax.tree.sub(one, other)) / optax.tree.norm(other))


def first_layer(convolve: Callable[..., jax.Array], problem: Problem) -> tuple[jax.Array, ...]:
    """Return a convolution of the images with random kernels, and its derivatives.

    A gradient of the whole network differs by more than rounding where rounding decides which
    ReLU is on and which of two pixels is the larger; these do not.
    """
    images = problem.train[0]
    kernel_key, value_key = jax.random.split(jax.random.key(0))
    kernel = jax.random.normal(kernel_key, (3, 3, images.shape[-1], 16), jnp.float32)
    values, derivative = jax.vjp(convolve, images, kernel)
    return values, *derivative(jax.random.normal(value_key, values.shape, values.dtype))


def gradient(problem: Problem, microbatch: int | None) -> Callable[[int], Any]:
    """Return a function of a seed: the gradient on all examples at the weights it initialises."""
    init = jax.jit(problem.init)

    @jax.jit
    def compute(params: Any, data: tuple[jax.Array, ...]) -> Any:
        return mean_over_microbatches(partial(jax.grad(problem.loss), params), data, microbatch)

    return lambda seed: jax.block_until_ready(compute(init(jax.random.key(seed)), problem.train))


def report(entry: dict[str, Any], part: str) -> str:
    """Lay out one part's results as text."""
    if part == "loop":
        rows = [("task", "steps/s in a job", "bare", "ratio (min-max)")]
        for task, found in entry["tasks"].items():
            speeds = [found[f"{name}_steps_per_second"]["median"] for name in ("job", "bare")]
            rows.append((task, *(f"{speed:.1f}" for speed in speeds), _ratio(found["ratio"])))
        return measuring.table(rows)
    if part == "rate":
        step, product = (entry[f"{name}_gflops"]["median"] for name in ("step", "product"))
        return (
            f"MNIST, 60,000 images, width 1,000: {step:.1f} GFLOP/s in a step, {product:.1f} in a "
            f"matrix product, ratio {_ratio(entry['ratio'])}"
        )
    return (
        f"CNN, 1,000 images: a gradient in {entry['project_seconds']['median']:.3f} s (microbatch "
        f"{entry['microbatch']});\nby native convolution {entry['native_seconds']['median']:.3f} s "
        f"all at once, ratio {_ratio(entry['ratio'])}, and "
        f"{entry['native_in_pieces_seconds']['median']:.3f} s in the same microbatches, ratio "
        f"{_ratio(entry['ratio_in_pieces'])};\nthe gradients differ by "
        f"{entry['gradient_difference']['median']:.1e}, the convolutions alone by "
        f"{entry['convolution_difference']:.1e}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts asked for, print and store them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--repetitions", type=int, default=5, help="timed rounds of each part")
    parser.add_argument("--output", type=Path, default=measuring.RESULTS / "training.json")
    arguments = parser.parse_args(argv)
    prepare_jax("highest", "cpu")
    for part in arguments.parts:
        entry = PARTS[part](arguments.repetitions)
        entry |= {"machine": measuring.machine(PACKAGES)}
        print(report(entry, part), flush=True)
        measuring.merge_results(arguments.output, {part: entry})


def _gflops(operations: int, timings: Sequence[measuring.Timed[Any]]) -> dict[str, Any]:
    return measuring.spread([operations / timing.seconds / 1e9 for timing in timings])


def _ratio(spread: dict[str, Any]) -> str:
    return f"{spread['median']:.2f} ({spread['min']:.2f}-{spread['max']:.2f})"


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "loop": loop,
    "rate": rate,
    "convolution": convolution,
}


if __name__ == "__main__":
    run_script(main)

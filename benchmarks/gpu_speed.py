"""How fast the device trains and measures at the paper's size, and what precision costs.

card
    The rate of one large float32 matrix product, as training asks for it and in TF32.
paper/<task>
    A SAM step, its share of that rate, and TF32 in its place: time and accuracy. A certified
    check, cold and warm: products, seconds, and what of them is not products. Peak memory.
convolution
    A gradient, a Hessian-vector product and a step of the paper's CNN by XLA's native convolution
    and by the project's, of shifted slices.
together
    Steps of 1, 2, 4, … runs at once, of default and of paper size.
price
    Steps and products without deterministic operations: this process must be one of its own,
    since XLA reads the flag once.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks import measuring
from benchmarks.convolutions import native_convolution
from benchmarks.gpu_kit import POINTS, Kit, Store
from samedge.config.settings import RunSettings
from samedge.curvature.eigenpairs import RitzPairs, top_eigenpairs
from samedge.curvature.krylov import hessian as hessians
from samedge.curvature.scaling import unit
from samedge.tasks import layers, memory
from samedge.tasks.problems import Problem, build_problem, measured_batch
from samedge.training import loop
from samedge.training.run import LONGEST_CHUNK, Run
from samedge.training.steps import take_steps_together

TENSORFLOAT32 = "default"  # JAX's name for what GPUs multiply float32 in unless told otherwise
REPETITIONS = 3
TRUTH_TOLERANCE = 1e-6
STEPS_TOGETHER = 8  # of one dispatch


def measure_card(kit: Kit, store: Store) -> None:
    """Measure the rate of a matrix product, in float32 and in TF32."""
    size = kit.sizes.product
    factor = jax.random.normal(jax.random.key(0), (size, size), jnp.float32)
    for name, precision in (("highest", "highest"), ("tf32", TENSORFLOAT32)):
        with jax.default_matmul_precision(precision):
            product = jax.jit(jnp.matmul)
            seconds = repeat(lambda product=product: product(factor, factor), kit.sizes.seconds)
        store(f"{name}_gflops", 2 * size**3 / seconds / 1e9)


def measure_paper(kit: Kit, store: Store, task: str) -> None:
    """Time steps and checks of a paper-size run, and hold TF32 against float32 and float64."""
    settings = kit.settings(f"paper/{task}")
    problem = build_problem(settings, kit.data(f"paper/{task}"))
    run = start(settings, problem)
    store("parameters", int(hessians.flat_shape(run.state.params).size))
    store("operations_of_a_step", kit.operations(task))
    store("step_seconds", repeat(lambda: step(run), kit.sizes.seconds))
    with jax.default_matmul_precision(TENSORFLOAT32):
        store("step_seconds_tf32", repeat(lambda: step(run), kit.sizes.seconds))
    run = start(settings, problem)
    for name, steps in (("cold", kit.sizes.warm_up_steps), ("warm", kit.sizes.between_checks)):
        advance(run, steps)
        batch = measured_batch(settings, problem, run.schedule.step)
        for ends in (True, False):
            entry, pairs = check(run, batch, ends)
            store(f"{name}_check{'' if ends else '_without_ends'}", entry)
        run.state.spectrum = RitzPairs(pairs.ritz_values, pairs.ritz_vectors)
    store("product_seconds", product_seconds(run, batch, kit.sizes.seconds))
    # Before anything is computed in float64, which no job does that trains.
    store("peak_gib", peak_gib())
    store("estimated_gib", memory.training_mb(settings) * memory.MB / 2**30)
    store("precision", compare_precisions(run, batch, pairs))


def start(settings: RunSettings, problem: Problem) -> Run:
    """Return a run that has not begun."""
    return Run(settings, problem, lambda line: None)


def step(run: Run) -> Any:
    """Take one step, and fail if it is not finite."""
    taken, finite = loop.advance(run, 1)
    if (taken, finite) != (1, True):
        raise RuntimeError(f"a step of {run.settings.task} was not finite")
    return run.state.params


def advance(run: Run, steps: int) -> None:
    """Take steps as training does, and fail if one of them is not finite."""
    while steps:
        taken, finite = loop.advance(run, min(steps, LONGEST_CHUNK))
        if not finite:
            raise RuntimeError(f"the run of {run.settings.task} diverged")
        run.schedule.advance(taken, 0.0)
        steps -= taken


def check(run: Run, batch: tuple[jax.Array, ...], ends: bool) -> tuple[dict[str, Any], Any]:
    """Measure as a check does, from the run's last spectrum; return what it took and found."""
    curvature = run.settings.curvature

    def measure(seed: int) -> Any:
        top = top_eigenpairs(
            run.problem.loss,
            run.state.params,
            batch,
            curvature.eigenvalues,
            curvature.tolerance,
            key=jax.random.key(seed),
            max_products=curvature.max_products,
            max_vectors=curvature.max_vectors,
            overlook=curvature.overlook,
            microbatch=run.settings.microbatch,
            start=run.state.spectrum,
            ends=ends,
            pure=True,
        )
        jax.block_until_ready(top.ritz_vectors)
        return top

    timings = measuring.interleave({"check": measure}, REPETITIONS)["check"]
    tops = [timing.result for timing in timings]
    entry = {
        "seconds": measuring.seconds(timings),
        "products": measuring.spread([top.hvp_count for top in tops]),
        "converged": all(bool(top.converged.all()) for top in tops),
        "eigenvalues": tops[0].values.tolist(),
    }
    return entry, tops[0]


def product_seconds(run: Run, batch: tuple[jax.Array, ...], seconds: float) -> float:
    """Return the seconds of one Hessian-vector product as the solver makes them."""
    hessian = hessians.compiled_map(
        run.problem.loss, run.state.params, batch, run.settings.microbatch
    )
    flat, unravel = ravel_pytree(run.state.params)
    product = jax.jit(lambda hessian, vector: ravel_pytree(hessian(unravel(vector)))[0])
    vector = unit(jax.random.normal(jax.random.key(0), flat.shape, flat.dtype))
    return repeat(lambda: product(hessian, vector), seconds)


def compare_precisions(run: Run, batch: tuple[jax.Array, ...], pairs: Any) -> dict[str, Any]:
    """Return the errors of gradient and eigenvalues in float32 and in TF32 against float64.

    Gradients in the norm, over the true one's; eigenvalues by the largest, over the operator norm.
    """
    loss, curvature = run.problem.loss, run.settings.curvature
    found = {}
    for name, precision in (("highest", "highest"), ("tf32", TENSORFLOAT32)):
        with jax.default_matmul_precision(precision):
            gradient = jax.jit(jax.grad(loss))(run.state.params, *batch)
            top = top_eigenpairs(
                loss,
                run.state.params,
                batch,
                curvature.eigenvalues,
                curvature.tolerance,
                key=jax.random.key(0),
                max_products=curvature.max_products,
                start=pairs,
                ends=False,
                pure=True,
            )
        found[name] = np.asarray(ravel_pytree(gradient)[0], np.float64), top
    with jax.enable_x64(True):
        params, data, vectors = jax.tree.map(
            as_float64, (run.state.params, batch, pairs.ritz_vectors)
        )
        truth = np.asarray(ravel_pytree(jax.jit(jax.grad(loss))(params, *data))[0])
        exact = top_eigenpairs(
            loss,
            params,
            data,
            curvature.eigenvalues,
            TRUTH_TOLERANCE,
            key=jax.random.key(0),
            max_products=10 * curvature.max_products,
            overlook=1,
            start=RitzPairs(pairs.ritz_values, vectors),
            ends=False,
            pure=True,
        )
    errors: dict[str, Any] = {"float64_converged": bool(exact.converged.all())}
    for name, (gradient, top) in found.items():
        off = np.abs(np.abs(top.values) - np.abs(exact.values)).max()
        errors[name] = {
            "gradient_error": float(np.linalg.norm(gradient - truth) / np.linalg.norm(truth)),
            "eigenvalue_error": float(off / np.abs(exact.values[0])),
            "converged": bool(top.converged.all()),
            "products": top.hvp_count,
        }
    return errors


def measure_convolution(kit: Kit, store: Store) -> None:
    """Time the CNN by XLA's convolution and by the project's, and tell how far they differ.

    The difference is in the norm, of gradient and a product together, relative.
    """
    settings, data = kit.settings("paper/cifar10"), kit.data("paper/cifar10")
    products = {}
    formulations = {"native": native_convolution, "shifted": layers.shifted_convolution}
    for name, convolve in formulations.items():
        with mock.patch.object(layers, "shifted_convolution", convolve):
            # The problem's loss is another function each time, so nothing traced is used again.
            run = start(settings, build_problem(settings, data))
            gradient = jax.jit(jax.grad(run.problem.loss))
            batch = run.problem.train
            taken = repeat(
                lambda run=run, gradient=gradient, batch=batch: gradient(run.state.params, *batch),
                kit.sizes.seconds,
            )
            store(f"{name}_gradient_seconds", taken)
            store(f"{name}_product_seconds", product_seconds(run, batch, kit.sizes.seconds))
            vector = jax.tree.map(jnp.ones_like, run.state.params)
            hessian = hessians.compiled_map(run.problem.loss, run.state.params, batch, None)
            products[name] = ravel_pytree((gradient(run.state.params, *batch), hessian(vector)))[0]
            store(f"{name}_step_seconds", repeat(lambda run=run: step(run), kit.sizes.seconds))
    native, shifted = (np.asarray(products[name], np.float64) for name in ("native", "shifted"))
    store("difference", float(np.linalg.norm(native - shifted) / np.linalg.norm(native)))


def measure_together(kit: Kit, store: Store) -> None:
    """Time steps of several runs at once, which differ in their seeds."""
    for size in ("default", "paper"):
        for task in kit.sizes.tasks:
            name = f"{size}/{task}"
            settings = kit.settings(name)
            problem = build_problem(settings, kit.data(name))
            speeds: dict[str, float | str] = {}
            for count in kit.sizes.together:
                try:
                    seconds = _seconds_together(settings, problem, count, kit.sizes.seconds)
                except jax.errors.JaxRuntimeError as error:
                    speeds[str(count)] = str(error).splitlines()[0]
                    break
                speeds[str(count)] = count * STEPS_TOGETHER / seconds
            store(name, speeds)


def _seconds_together(settings: RunSettings, problem: Problem, count: int, seconds: float) -> float:
    """Return the seconds of ``STEPS_TOGETHER`` steps of so many runs."""
    runs = [start(replace(settings, seed=seed), problem) for seed in range(count)]
    params = tuple(run.state.params for run in runs)
    states = tuple(run.state.optimizer_state for run in runs)
    indices = None
    if runs[0].batches is not None:
        indices = np.stack([run.indices(STEPS_TOGETHER) for run in runs])

    def take() -> Any:
        nonlocal params, states
        params, states, *_ = take_steps_together(
            runs[0].spec,
            params,
            states,
            jnp.stack([run.eta for run in runs]),
            runs[0].rho,
            problem.train,
            indices,
            np.full(count, STEPS_TOGETHER, np.int32),
        )
        return params

    return repeat(take, seconds)


def measure_price(kit: Kit, store: Store) -> None:
    """Time steps and products of the paper's size under the flags that this process has."""
    for task in kit.sizes.tasks:
        settings = kit.settings(f"paper/{task}")
        run = start(settings, build_problem(settings, kit.data(f"paper/{task}")))
        batch = measured_batch(settings, run.problem, 0)
        entry = {
            "step_seconds": repeat(lambda run=run: step(run), kit.sizes.seconds),
            "product_seconds": product_seconds(run, batch, kit.sizes.seconds),
        }
        store(task, entry)


def repeat(act: Callable[[], Any], seconds: float) -> float:
    """Return the seconds of one call: the least mean of three rounds of at least ``seconds``.

    Calls follow each other without waiting, as products and steps of a job may; only the end of a
    round is waited for. The first call compiles and is not timed.
    """
    jax.block_until_ready(act())
    once = measuring.timed(lambda: jax.block_until_ready(act())).seconds
    calls = max(1, round(seconds / max(once, 1e-6)))
    means = []
    for _ in range(3):
        begun = time.perf_counter()
        for _ in range(calls):
            result = act()
        jax.block_until_ready(result)
        means.append((time.perf_counter() - begun) / calls)
    return min(means)


def peak_gib() -> float | None:
    """Return the most memory (GiB) that this process has taken of the device, None on a CPU."""
    found = jax.devices()[0].memory_stats()
    return None if found is None else found["peak_bytes_in_use"] / 2**30


def report_paper(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out steps, checks, precision and memory as text."""
    card = parts.get("card", {})
    tasks = {task: parts[f"paper/{task}"] for task in POINTS if f"paper/{task}" in parts}
    steps = [("a SAM step", "ms", "TFLOP/s", "of a product's rate", "ms in TF32", "faster")]
    checks = [("a check", "cold: products, s", "warm: products, s", "not products", "without ends")]
    digits = [("error against float64", "gradient", "λ", "gradient in TF32", "λ in TF32")]
    memories = [("memory", "parameters", "peak GiB", "asked for, GiB")]
    for task, found in tasks.items():
        if "step_seconds_tf32" in found:
            rate = found["operations_of_a_step"] / found["step_seconds"] / 1e9
            share = f"{rate / card['highest_gflops']:.2f}" if "highest_gflops" in card else ""
            faster = found["step_seconds"] / found["step_seconds_tf32"]
            times = (f"{1000 * found[key]:.3f}" for key in ("step_seconds", "step_seconds_tf32"))
            first, second = times
            steps.append((task, first, f"{rate / 1000:.1f}", share, second, f"{faster:.2f}"))
        if "product_seconds" in found:
            cold, warm = (_check_text(found[f"{name}_check"]) for name in ("cold", "warm"))
            taken = found["warm_check"]
            products = taken["products"]["median"] * found["product_seconds"]
            other = 1 - products / taken["seconds"]["median"]
            bare = _check_text(found["warm_check_without_ends"])
            checks.append((task, cold, warm, f"{100 * other:.0f} %", bare))
        if "precision" in found:
            errors = found["precision"]
            cells = (
                f"{errors[name][f'{what}_error']:.1e}"
                for name in ("highest", "tf32")
                for what in ("gradient", "eigenvalue")
            )
            digits.append((task, *cells))
        if "estimated_gib" in found:
            peak = found["peak_gib"]
            text = "" if peak is None else f"{peak:.2f}"
            asked = f"{found['estimated_gib']:.2f}"
            memories.append((task, f"{found['parameters']:,}", text, asked))
    head = ""
    if "tf32_gflops" in card:
        float32, tf32 = card["highest_gflops"] / 1000, card["tf32_gflops"] / 1000
        head = f"one large product: {float32:.1f} TFLOP/s in float32, {tf32:.1f} in TF32\n\n"
    tables = [rows for rows in (steps, checks, digits, memories) if len(rows) > 1]
    return head + "\n\n".join(map(measuring.table, tables))


def report_rest(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out the convolution, runs at once and the price of determinism as text."""
    tables = []
    if "convolution" in parts:
        rows = [("the paper's CNN, ms", "native", "shifted", "native over shifted")]
        for what in ("gradient", "product", "step"):
            names = [f"{name}_{what}_seconds" for name in ("native", "shifted")]
            if all(name in parts["convolution"] for name in names):
                native, shifted = (parts["convolution"][name] for name in names)
                ratio = f"{native / shifted:.2f}"
                rows.append((what, f"{1000 * native:.3f}", f"{1000 * shifted:.3f}", ratio))
        tables.append(rows)
    if parts.get("together"):
        counts = [*next(iter(parts["together"].values()))]
        rows = [("steps per second of all runs, at once", *counts)]
        for name, speeds in parts["together"].items():
            cells = (speeds.get(count, "") for count in counts)
            rows.append((name, *(c if isinstance(c, str) else f"{c:.0f}" for c in cells)))
        tables.append([[cell[:24] for cell in row] if row is not rows[0] else row for row in rows])
    if "price" in parts:
        rows = [("deterministic over free operations", "a step", "a product")]
        for task, free in parts["price"].items():
            bound = parts.get(f"paper/{task}", {})
            cells = (
                f"{bound[key] / free[key]:.2f}" if key in bound else ""
                for key in ("step_seconds", "product_seconds")
            )
            rows.append((task, *cells))
        tables.append(rows)
    return "\n\n".join(map(measuring.table, tables))


def _check_text(found: Mapping[str, Any]) -> str:
    ending = "" if found["converged"] else " (not converged)"
    return f"{found['products']['median']:.0f}, {found['seconds']['median']:.3f}{ending}"


def as_float64(x: jax.Array) -> jax.Array:
    """Return floating-point numbers in float64, within ``jax.enable_x64``; others as they are."""
    return jnp.asarray(np.asarray(x, np.float64)) if jnp.issubdtype(x.dtype, jnp.floating) else x

"""Whether the device gives the numbers that a CPU and float64 give: the GPU benchmark's first part.

references
    Each small problem of ``tests/reference``: losses after 0 and 1 steps against the published
    implementation's, eigenvalues at given parameters against the float64 truth.
traps
    The planted spectra of :mod:`benchmarks.traps`, in each of which a solver may be fooled.
default
    The default run of each task against the run of the same settings on a CPU, check by check.
    Near the edge of stability rounding grows from step to step, so late checks compare in the
    median of λ1 over its edge.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measuring
from benchmarks.gpu_kit import Kit, Store
from benchmarks.traps import TRAPS, spring
from samedge.curvature.eigenpairs import top_eigenpairs
from samedge.machine.compilation_cache import count_programs
from samedge.tasks.loss import LOSSES
from samedge.tasks.model import MODELS, Model
from samedge.tasks.problems import build_problem
from samedge.training.loop import train
from samedge.training.steps import StepSpec, take_steps
from samedge.updates.rule import RULES

REFERENCES = Path(__file__).resolve().parents[1] / "tests" / "reference"
EPSILON = 1e-5  # of the published implementation
LATE = 0.5  # share of the checks that are compared in the median


def measure(kit: Kit, store: Store) -> None:
    """Compare everything, and store each comparison when it has been made."""
    for name in kit.sizes.references:
        store(f"reference {name}", compare_reference(name))
    outcomes = [spring(trap) for trap in TRAPS[: kit.sizes.traps]]
    store(
        "traps",
        {
            "count": len(outcomes),
            "right": sum(outcome.right for outcome in outcomes),
            "fooled": sum(outcome.converged and not outcome.right for outcome in outcomes),
        },
    )
    for task in kit.sizes.tasks:
        store(f"default {task}", compare_default(kit, task))


def compare_reference(name: str) -> dict[str, float]:
    """Return the largest relative errors of losses and eigenvalues on one reference problem.

    Eigenvalue errors are over the operator norm. Losses are after 0 steps and after
    1, of the CNN with gradient descent alone; its eigenvalues are those after 20 steps, since its
    start is no fair test in float32.
    """
    model, evaluate = reference_models()[name]
    arrays = np.load(REFERENCES / f"{name}.npz")
    runs = json.loads((REFERENCES / f"{name}.json").read_text(encoding="utf-8"))["runs"]
    data = tuple(jnp.asarray(arrays[key]) for key in ("inputs", "targets"))
    structure = jax.tree.structure(jax.eval_shape(model.init, jax.random.key(0), data[0][:1]))
    convolutional = name == "cifar10_cnn"

    def loss(params: Any, *data: Any) -> jax.Array:
        return evaluate(model.apply(params, data[0]), data[1])

    def stored(prefix: str) -> Any:
        names = [entry for entry in arrays.files if entry.startswith(prefix)]
        return jax.tree.unflatten(structure, [jnp.asarray(arrays[entry]) for entry in names])

    of_loss, of_eigenvalues = [], []
    for run in runs:
        after_20 = stored(f"eta{run['eta']}_rho{run['rho']}_step20__")
        points = {20: after_20} if convolutional else {0: stored("param_"), 20: after_20}
        checks = {check["step"]: check for check in run["checks"]}
        for step, found in _losses(loss, stored("param_"), data, run, convolutional):
            truth = checks[step]["training_loss"]
            of_loss.append(abs(found - truth) / truth)
        for step, params in points.items():
            top = top_eigenpairs(loss, params, data, key=jax.random.key(1), pure=True)
            expected = sure_eigenvalues(checks[step])[:3]
            error = np.abs(top.values[: len(expected)] - expected).max() / abs(expected[0])
            of_eigenvalues.append(float(error) if top.converged.all() else float("inf"))
    return {
        "loss_error": max(of_loss),
        "eigenvalue_error": max(of_eigenvalues),
        "eigenvalue_points": len(of_eigenvalues),
    }


def _losses(
    loss: Callable[..., jax.Array], params: Any, data: Any, run: Any, convolutional: bool
) -> Iterator[tuple[int, float]]:
    """Take the steps after which rounding has not yet decided the loss; yield steps and losses."""
    evaluate = jax.jit(loss)
    yield 0, float(evaluate(params, *data))
    if convolutional and run["rho"] > 0:
        return
    spec = StepSpec(loss, RULES["sam"](), None, EPSILON)
    eta, rho = jnp.float32(run["eta"]), jnp.float32(run["rho"])
    state = spec.rule.optimizer(eta).init(params)
    params, state, *_ = take_steps(spec, params, state, eta, rho, data, None, 1)
    yield 1, float(evaluate(params, *data))


def compare_default(kit: Kit, task: str) -> dict[str, Any]:
    """Train the default run of a task here; return how its checks differ from the CPU's."""
    settings = kit.settings(f"default/{task}")
    cpu = kit.cpu_run(task)
    problem = build_problem(settings, kit.data(f"default/{task}"))
    programs = count_programs()
    taken = measuring.timed(partial(train, settings, problem, lambda line: None))
    checks, outcome = taken.result
    late = int(LATE * len(checks))
    pairs = {
        "loss": ([check["training_loss"] for check in checks], cpu["training_loss"].values),
        "eigenvalue": (
            [check["eigenvalue"][0] for check in checks],
            cpu["eigenvalue"].values[:, 0],
        ),
    }
    differences = {
        name: np.abs(np.asarray(own) - cpu_values[: len(own)]) / np.abs(cpu_values[: len(own)])
        for name, (own, cpu_values) in pairs.items()
    }
    own_ratio = [abs(check["eigenvalue"][0]) / check["sam_edge"] for check in checks]
    cpu_ratio = np.abs(cpu["eigenvalue"].values[:, 0]) / cpu["sam_edge"].values
    return {
        "status": outcome.status,
        "seconds": taken.seconds,
        "seconds_compiling": programs.seconds,
        "checks": len(checks),
        "converged": all(bool(check["eigenvalue_converged"].all()) for check in checks),
        "products": int(sum(check["hessian_vector_products"] for check in checks)),
        "cpu_products": int(cpu["hessian_vector_products"].sum()),
        **{f"{name}_difference": values.tolist() for name, values in differences.items()},
        "late_ratio_to_edge": float(np.median(own_ratio[late:])),
        "cpu_late_ratio_to_edge": float(np.median(cpu_ratio[late:])),
        "final_loss": checks[-1]["training_loss"],
        "cpu_final_loss": float(cpu["training_loss"].values[-1]),
    }


def report(part: Mapping[str, Any]) -> str:
    """Lay out what was compared as text."""
    rows = [("against the published code and float64", "loss error", "eigenvalue error")]
    rows += [
        (name.partition(" ")[2], f"{found['loss_error']:.1e}", f"{found['eigenvalue_error']:.1e}")
        for name, found in part.items()
        if name.startswith("reference")
    ]
    tables = [measuring.table(rows)]
    if "traps" in part:
        traps = part["traps"]
        tables.append(
            f"planted spectra: {traps['right']} of {traps['count']} right, {traps['fooled']} "
            "converged but wrong"
        )
    rows = [("default run against the CPU's", "first check", "largest", "late λ1/edge", "CPU's")]
    for name, found in part.items():
        if name.startswith("default"):
            loss, values = found["loss_difference"], found["eigenvalue_difference"]
            rows.append(
                (
                    f"{name.partition(' ')[2]}, loss; λ1",
                    f"{loss[0]:.0e}; {values[0]:.0e}",
                    f"{max(loss):.0e}; {max(values):.0e}",
                    f"{found['late_ratio_to_edge']:.3f}",
                    f"{found['cpu_late_ratio_to_edge']:.3f}",
                )
            )
    return "\n\n".join([*tables, measuring.table(rows)])


def reference_models() -> dict[str, tuple[Model, Callable[..., jax.Array]]]:
    """Return model and loss of each problem of ``tests/reference``, by its name."""
    transformer = MODELS["transformer"](
        128,
        layers=2,
        heads=2,
        key_size=4,
        model_size=8,
        sequence_length=16,
        widening_factor=4,
    )
    return {
        "mnist_mlp": (MODELS["mlp"](10, depth=4, width=12), LOSSES["squared_error"]),
        "cifar10_cnn": (MODELS["cnn"](10, blocks=2, channels=4), LOSSES["squared_error"]),
        "tiny_shakespeare_transformer": (transformer, LOSSES["cross_entropy"]),
    }


def sure_eigenvalues(check: Mapping[str, Any]) -> np.ndarray:
    """Return the eigenvalues of a reference by magnitude, as far as the list is sure.

    Only the most negative one is listed, so by magnitude that is down to it.
    """
    low = check["smallest_eigenvalue"]
    listed = sorted([*check["top_eigenvalues"], low], key=lambda value: -abs(value))
    return np.array([value for value in listed if abs(value) >= abs(low)])

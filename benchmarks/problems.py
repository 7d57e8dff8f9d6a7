"""The points at which solvers are compared: parameters along real training runs, on real data.

Each row of the comparison is a check of a training run of the paper's tasks, made once by the
project's own training loop and kept under ``benchmarks/cache`` (named after what determines it),
with the check before it, whose result starts a warm measurement. Minibatches are those of the run:
where the run has minibatches, the two checks see different ones.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import LinearOperator, eigsh

from benchmarks import jobs
from benchmarks.gpu_speed import as_float64
from samedge.base.errors import UserError
from samedge.base.files import whole_file
from samedge.config.parts import BudgetSettings, CheckSettings
from samedge.config.settings import RunSettings
from samedge.curvature.products import hessian_operator
from samedge.data.file import TaskData
from samedge.tasks.inputs import Minibatches
from samedge.tasks.problems import Problem, build_problem
from samedge.training.loop import train
from samedge.training.observers.observer import Snapshot

PAPER = Path(__file__).resolve().parents[1] / "config" / "paper.yaml"
CACHE = Path(__file__).resolve().parent / "cache"

PAIRS = 3  # eigenpairs that a measurement is asked for
TRUTH_TOLERANCE = 1e-7  # residual over eigenvalue of the float64 truth


@dataclass(frozen=True)
class Row:
    """One row of the comparison: a check of a run of one of the paper's tasks.

    Attributes
    ----------
    title
        What a reader is told.
    task
        A task of ``config/paper.yaml``, which gives everything that is not named here.
    eta, rho
        Learning rate and radius; 0 is gradient descent.
    step, previous
        Steps taken at the check and at the one before it.
    train_examples
        Images to train on; None for all the data there are.
    width
        Of the fully connected network, where it is smaller than the paper's.
    microbatch
        Examples of a piece of a gradient or product; None for all at once.
    """

    title: str
    task: str
    eta: str
    rho: str
    step: int
    previous: int
    train_examples: int | None = None
    width: int | None = None
    microbatch: int | None = None

    def settings(self) -> RunSettings:
        """Return the run of which this row is the last check."""
        # What the run itself measures is not looked at.
        run = jobs.hardly_measured(jobs.settings_of(self.task, self.eta, self.rho, PAPER))
        model = run.model
        if self.width is not None:
            model = replace(model, settings={**model.settings, "width": self.width})
        spacing = self.step - self.previous
        return replace(
            run,
            model=model,
            dataset=replace(run.dataset, train_examples=self.train_examples),
            microbatch=self.microbatch,
            budget=BudgetSettings(steps=self.step, hours=None),
            checks=CheckSettings(spacing="even", count=self.step // spacing + 1, minutes=None),
        )


def _mnist(title: str, eta: str, rho: str, step: int) -> Row:
    title = f"MNIST, 1,000 images, width 200, {title}"
    return Row(title, "mnist", eta, rho, step, step - 50, train_examples=1000, width=200)


ROWS = {
    "mnist_sam_100": _mnist("100 SAM steps", "0.3", "0.1", 100),
    "mnist_sam_1000": _mnist("1,000 SAM steps", "0.3", "0.1", 1000),
    "mnist_gd_1000": _mnist("1,000 GD steps", "1.0", "0", 1000),
    "cifar10_sam_100": Row(
        "CIFAR-10, 1,000 images, the paper's CNN, 100 SAM steps",
        "cifar10",
        "0.003",  # the paper's next larger one, 0.01, diverges within ten steps
        "0.1",
        step=100,
        previous=80,
        train_examples=1000,
        microbatch=25,
    ),
    "transformer_sam_20": Row(
        "Shakespeare, one minibatch, the paper's Transformer, 20 SAM steps",
        "tiny_shakespeare",
        "0.2",
        "0.3",
        step=20,
        previous=10,
    ),
}


@dataclass(frozen=True, eq=False)
class Point:
    """A loss as a function of parameters, where to measure it, and what a check measured before.

    Attributes
    ----------
    loss
        ``(params, *data) -> scalar``.
    params, data
        Where to measure.
    previous_params, previous_data
        The same at the check before.
    microbatch
        Examples that a product takes at a time; None for all.
    """

    loss: Callable[..., jax.Array]
    params: Any
    data: tuple[jax.Array, ...]
    previous_params: Any
    previous_data: tuple[jax.Array, ...]
    microbatch: int | None


class CountedProducts(LinearOperator):
    """A symmetric map of flat vectors as SciPy takes it, which counts its products."""

    def __init__(self, product: Callable[[Any], Any], size: int, dtype: type) -> None:
        super().__init__(dtype, (size, size))
        self.product = product
        self.products = 0

    def _matvec(self, vector: np.ndarray) -> np.ndarray:
        self.products += 1
        return np.asarray(self.product(vector.reshape(-1)))


def load_point(name: str, report: Callable[[str], None] = print) -> Point:
    """Return the point of a row, trained now unless it has been before.

    Raises
    ------
    UserError
        For data that are not there (``TFDS_DATA_DIR``), or a run that diverged.
    """
    settings = ROWS[name].settings()
    data = jobs.data_of(settings)
    problem = build_problem(settings, data)
    path = CACHE / f"{name}-{_digest(settings, data)}.npz"
    if not path.is_file():
        report(f"{name}: training {settings.budget.steps} steps, once")
        write_cache(path, **_train(settings, problem, ROWS[name]))
    with np.load(path) as file:
        flat, previous = file["params"], file["previous_params"]
    _, unravel = ravel_pytree(jax.jit(problem.init)(jax.random.key(0)))
    row = ROWS[name]
    return Point(
        loss=problem.loss,
        params=unravel(jnp.asarray(flat)),
        data=_batch(settings, problem, row.step),
        previous_params=unravel(jnp.asarray(previous)),
        previous_data=_batch(settings, problem, row.previous),
        microbatch=settings.microbatch,
    )


def truth(name: str, point: Point, report: Callable[[str], None] = print) -> np.ndarray:
    """Return the true top of a point's spectrum, ``(3,)`` by decreasing magnitude.

    It comes from SciPy's ``eigsh`` on exact products in float64, to a residual of 1e-7 of the
    eigenvalue, with two pairs more than are asked for, and is kept beside the parameters.
    """
    flat, _ = ravel_pytree(point.params)
    digest = hashlib.sha256(np.asarray(flat).tobytes()).hexdigest()[:16]
    path = CACHE / f"{name}-truth-{digest}.npz"
    if not path.is_file():
        report(f"{name}: the float64 truth, once")
        values, products = float64_top(point, PAIRS)
        report(f"{name}: {products} products in float64")
        write_cache(path, values=values)
    with np.load(path) as file:
        return file["values"]


def float64_top(point: Point, k: int) -> tuple[np.ndarray, int]:
    """Return the k eigenvalues of largest magnitude in float64, and the products they took."""
    with jax.enable_x64(True):
        params, data = jax.tree.map(as_float64, (point.params, point.data))
        flat, _ = ravel_pytree(params)

        @jax.jit
        def product(params: Any, data: tuple[jax.Array, ...], vector: jax.Array) -> jax.Array:
            return hessian_operator(point.loss, params, data, point.microbatch)(vector)

        products = CountedProducts(partial(product, params, data), flat.size, np.float64)
        values = eigsh(
            products,
            min(k + 2, flat.size - 1),
            tol=TRUTH_TOLERANCE,
            v0=np.random.default_rng(0).standard_normal(flat.size),
            return_eigenvectors=False,
        )
    return values[np.argsort(-np.abs(values))][:k], products.products


def _train(settings: RunSettings, problem: Problem, row: Row) -> dict[str, np.ndarray]:
    kept: dict[int, np.ndarray] = {}

    def keep(snapshot: Snapshot) -> None:
        kept[snapshot.step] = np.array(ravel_pytree(snapshot.params)[0])

    # The run's own lines would tell of measurements that nobody asked for.
    _, outcome = train(settings, problem, lambda line: None, observers=[keep])
    if outcome.status != "completed":
        raise UserError(f"the run of '{row.title}' {outcome.status}: {outcome.reason}")
    return {"params": kept[row.step], "previous_params": kept[row.previous]}


def _batch(settings: RunSettings, problem: Problem, step: int) -> tuple[jax.Array, ...]:
    if settings.batch_size is None:
        return problem.train
    examples = problem.train[0].shape[0]
    batches = Minibatches(examples, settings.batch_size, settings.seed)
    chosen = batches.indices(step, 1)[0]
    return tuple(x[chosen] for x in problem.train)


def _digest(settings: RunSettings, data: TaskData) -> str:
    """Name what determines the parameters, and nothing else."""
    keys = ("model", "loss", "update", "batch_size", "microbatch", "budget", "eta", "rho", "seed")
    values = asdict(settings)
    text = json.dumps({key: values[key] for key in keys} | {"data": data.checksum}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_cache(path: Path, **arrays: np.ndarray) -> None:
    """Keep arrays in a file, which appears whole or not at all."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)

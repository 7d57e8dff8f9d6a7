"""From a run's settings and data to a problem: parameters, loss, data on the device, test.

How data become inputs and targets is looked up by the task's kind in :data:`KINDS`, each a file of
:mod:`samedge.tasks.kinds`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from samedge.base.errors import UserError
from samedge.base.registry import Registry
from samedge.config.settings import RunSettings
from samedge.data.file import TaskData
from samedge.tasks.inputs import Minibatches
from samedge.tasks.loss import LOSSES
from samedge.tasks.model import MODELS, Model, Noise
from samedge.tasks.probing import is_mean_over_halves

KINDS: "Registry[Callable[..., Problem]]" = Registry("kind")


@dataclass(frozen=True, eq=False)
class Problem:
    """What training needs to know of a task.

    Attributes
    ----------
    init
        ``key -> params``, in float32.
    loss
        ``(params, inputs, targets) -> scalar``, in the type of the parameters; one function object
        per problem, so that what is compiled for it is compiled once. With noise it takes what
        :meth:`samedge.tasks.model.Noise.keys` returns too.
    train
        All training inputs and targets, on the device.
    test
        ``params -> float``, the metric after the last step. If it takes long, it calls
        :func:`samedge.machine.signals.raise_if_signalled` between its pieces.
    metric
        ``"test_error"`` (share of wrong labels) or ``"test_loss"`` (nats per character; of a
        regression the loss).
    batchwise
        Tells whether what the model makes of an example depends on the rest of the batch, by trying
        it when it is first asked. None where it cannot be told; the loss then shows whether
        microbatches may be taken.
    noisy
        Whether the loss has noise.
    """

    init: Callable[[jax.Array], Any]
    loss: Callable[..., jax.Array]
    train: tuple[jax.Array, ...]
    test: Callable[[Any], float]
    metric: str
    batchwise: Callable[[], bool] | None = None
    noisy: bool = False


def build_problem(
    settings: RunSettings, data: TaskData, dtype: np.dtype | type = np.float32
) -> Problem:
    """Build the problem of a run.

    ``dtype`` is that of the training data where they are no whole numbers. They are computed in
    it from the data file; float64 needs JAX's 64-bit mode.

    Raises
    ------
    UserError
        For data of another task, an unknown name, model settings that do not fit, a batch that does
        not fit the data, or microbatches of which the loss is not the mean.
    """
    _require_same_data(settings, data)
    problem = KINDS[settings.kind](settings, data, dtype)
    _require_fit(settings, problem, dtype)
    examples = problem.train[0].shape[0]
    batch = settings.batch_size or examples
    if batch > examples:
        raise UserError(
            f"task {settings.task}: batch_size {batch} is more than the {examples} training "
            "examples"
        )
    if settings.microbatch is not None:
        _require_mean(settings, settings.microbatch, problem, batch, dtype)
    return problem


def measured_batch(settings: RunSettings, problem: Problem, step: int) -> tuple[jax.Array, ...]:
    """Return what a check after so many steps measures on: what the step that follows takes.

    It is all training data or a minibatch, and the keys of the noise, if there is any.
    """
    batch: tuple[jax.Array, ...] = problem.train
    if settings.batch_size is not None:
        batches = Minibatches(batch[0].shape[0], settings.batch_size, settings.seed)
        batch = _chosen(batch, batches.indices(step, 1)[0])
    if problem.noisy:
        batch = (*batch, Noise.of(settings.seed, step).keys(len(batch[0])))
    return batch


@jax.jit
def _chosen(train: tuple[jax.Array, ...], examples: np.ndarray) -> tuple[jax.Array, ...]:
    """Return some of the examples, by one program in place of one for each part of an index."""
    return tuple(x[examples] for x in train)


def model_of(settings: RunSettings, outputs: int) -> Model:
    """Return the model of a run with so many outputs.

    Raises
    ------
    UserError
        For settings that it cannot have.
    """
    try:
        return MODELS[settings.model.name](outputs, **settings.model.settings)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"task {settings.task}: model.settings of {settings.model.name}: {error}"
        ) from error


def loss_of(model: Model, settings: RunSettings) -> Callable[..., jax.Array]:
    """Return the run's loss as a function of parameters, inputs, targets, and keys with noise."""
    evaluate = LOSSES[settings.loss.name]

    def loss(params: Any, inputs: jax.Array, targets: jax.Array, *keys: jax.Array) -> jax.Array:
        noise = map(jax.random.wrap_key_data, keys)
        return evaluate(model.apply(params, inputs, *noise), targets)

    return loss


def _require_same_data(settings: RunSettings, data: TaskData) -> None:
    """Refuse a data file made for another task, source or subset than the run's."""
    wanted, arrays = settings.dataset, data.arrays
    own = ("images", "characters", "regression")
    if settings.kind != data.attributes["kind"] and settings.kind in own:
        raise UserError(
            f"task {settings.task}: kind {settings.kind} does not fit the data set "
            f"{wanted.name}, which holds {data.attributes['kind']}"
        )
    suffix = "text" if "train_text" in arrays else "inputs"
    found: dict[str, object] = {
        "name": data.attributes["name"],
        "source": data.attributes["source"],
    }
    asked: dict[str, object] = {"name": wanted.name, "source": settings.source}
    for part, count in (("train", wanted.train_examples), ("test", wanted.test_examples)):
        if count is not None:
            asked[f"{part}_examples"] = count
            found[f"{part}_examples"] = len(arrays[f"{part}_{suffix}"])
    if found != asked:
        raise UserError(
            f"task {settings.task}: the data file holds {found}, the run asks for {asked}; "
            "prepare the data anew"
        )


def _require_fit(settings: RunSettings, problem: Problem, dtype: np.dtype | type) -> None:
    """Refuse a model and a loss that do not fit together, or not the data."""
    example = tuple(jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for x in problem.train)
    try:
        params = jax.eval_shape(problem.init, jax.random.key(0))
        point = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), params)
        keys = (Noise.of(0, 0).keys(1),) if problem.noisy else ()
        jax.eval_shape(problem.loss, point, *example, *keys)
    except (TypeError, ValueError) as error:
        shapes = " and ".join(f"{x.dtype}{list(x.shape[1:])}" for x in example)
        raise UserError(
            f"task {settings.task}: model {settings.model.name} and loss {settings.loss.name} do "
            f"not fit inputs and targets of {shapes} an example: {error}"
        ) from error


def _require_mean(
    settings: RunSettings, microbatch: int, problem: Problem, batch: int, dtype: np.dtype | type
) -> None:
    """Refuse microbatches that do not divide the batch, or whose mean is not the batch's loss."""
    where = f"task {settings.task}: microbatch {microbatch}"
    if batch % microbatch:
        raise UserError(f"{where} does not divide the batch of {batch} examples")
    # True, or for which kinds of task.
    mean = LOSSES.facts(settings.loss.name).get("mean_over_examples") or ()
    if mean is not True and settings.kind not in mean:
        raise UserError(
            f"{where} needs a loss that is a mean over examples, and {settings.loss.name} is not; "
            "set microbatch: null"
        )
    if problem.batchwise is None:
        if is_mean_over_halves(problem.loss, problem.init, problem.train, dtype):
            return
        reason = "the loss of a batch is not the mean of those of its parts"
    elif problem.batchwise():
        reason = (
            f"what model {settings.model.name} makes of an example depends on the rest of its "
            "batch (as with batch normalisation)"
        )
    else:
        return
    raise UserError(
        f"{where}: {reason}, so that microbatches would change the loss and its curvature; set "
        "microbatch: null"
    )

"""From a run's settings and data to a problem: parameters, loss, data on the device, test.

How data become inputs and targets is looked up by the task's kind in :data:`KINDS`.

The test metric of a model whose output for an example is the same in every batch is computed a few
examples at a time. Where it depends on the rest of the batch, as with batch normalisation, the test
set is cut into the fewest batches that are no larger than those of training, and of sizes that
differ by one at most; of n batches each has every n-th example.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samedge.base.errors import UserError
from samedge.base.registry import Registry
from samedge.config.settings import RunSettings
from samedge.data.file import TaskData, number_of_classes
from samedge.machine.signals import raise_if_signalled
from samedge.tasks.inputs import Minibatches, character_windows, image_arrays
from samedge.tasks.loss import LOSSES, character_losses
from samedge.tasks.model import MODELS, Model
from samedge.tasks.probing import depends_on_batch, is_mean_over_halves

KINDS: "Registry[Callable[..., Problem]]" = Registry("kind of task")

VOCABULARY = 128  # ASCII
TEST_BATCH = 100  # examples evaluated at a time


@dataclass(frozen=True, eq=False)
class Problem:
    """What training needs to know of a task.

    Attributes
    ----------
    init
        ``key -> params``, in float32.
    loss
        ``(params, inputs, targets) -> scalar``, in the type of the parameters; one function object
        per problem, so that what is compiled for it is compiled once.
    train
        All training inputs and targets, on the device.
    test
        ``params -> float``, the metric after the last step. If it takes long, it calls
        :func:`samedge.machine.signals.raise_if_signalled` between its pieces.
    metric
        ``"test_error"`` (share of wrong labels) or ``"test_loss"`` (nats per character).
    batchwise
        Tells whether what the model makes of an example depends on the rest of the batch, by trying
        it when it is first asked. None where it cannot be told; the loss then shows whether
        microbatches may be taken.
    """

    init: Callable[[jax.Array], Any]
    loss: Callable[[Any, jax.Array, jax.Array], jax.Array]
    train: tuple[jax.Array, jax.Array]
    test: Callable[[Any], float]
    metric: str
    batchwise: Callable[[], bool] | None = None


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


def measured_batch(
    settings: RunSettings, train: tuple[jax.Array, ...], step: int
) -> tuple[jax.Array, ...]:
    """Return what a check after so many steps measures on: all of ``train``, or the next minibatch.

    ``train`` are the arrays of :class:`Problem`; the minibatch is that of the step that follows.
    """
    if settings.batch_size is None:
        return train
    batches = Minibatches(train[0].shape[0], settings.batch_size, settings.seed)
    return _chosen(train, batches.indices(step, 1)[0])


@jax.jit
def _chosen(train: tuple[jax.Array, ...], examples: np.ndarray) -> tuple[jax.Array, ...]:
    """Return some of the examples, by one program in place of one for each part of an index."""
    return tuple(x[examples] for x in train)


@KINDS.register("images")
def images(settings: RunSettings, data: TaskData, dtype: np.dtype | type) -> Problem:
    """Images with labels: pixels/256 less the mean training image, one-hot targets."""
    arrays, classes = image_arrays(data, dtype), number_of_classes(data)
    model = _model(settings, classes)
    inputs = jnp.asarray(arrays["train_inputs"])
    targets = jax.nn.one_hot(arrays["train_labels"], classes, dtype=dtype)

    def init(key: jax.Array) -> Any:
        return model.init(key, inputs[:1].astype(jnp.float32))

    batchwise = cache(lambda: depends_on_batch(model.apply, init, inputs, dtype))

    def wrong(params: Any, image: jax.Array, label: jax.Array) -> jax.Array:
        return jnp.argmax(model.apply(params, image[None])[0]) != label

    @jax.jit
    def count_wrong(params: Any, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.sum(jnp.argmax(model.apply(params, inputs), axis=-1) != labels)

    def test(params: Any) -> float:
        examples = arrays["test_inputs"], arrays["test_labels"]
        if not batchwise():
            return float(jnp.mean(_each(wrong, params, examples), dtype=jnp.float32))
        batches = _batches(examples, settings.batch_size or len(inputs))
        return sum(int(count_wrong(params, *batch)) for batch in batches) / len(examples[0])

    return Problem(
        init=init,
        loss=_loss_of(model, settings),
        train=(inputs, targets),
        test=test,
        metric="test_error",
        batchwise=batchwise,
    )


@KINDS.register("characters")
def characters(settings: RunSettings, data: TaskData, dtype: np.dtype | type) -> Problem:
    """Consecutive windows of text; the target of each character is the next one."""
    del dtype  # characters are whole numbers
    length = settings.model.settings.get("sequence_length")
    if length is None:
        raise UserError(f"task {settings.task}: kind characters needs a model with sequence_length")
    inputs, targets = (jnp.asarray(x) for x in character_windows(data.arrays["train_text"], length))
    test_windows = character_windows(data.arrays["test_text"], length)
    model = _model(settings, VOCABULARY)

    def init(key: jax.Array) -> Any:
        return model.init(key, inputs[:1])

    batchwise = cache(lambda: depends_on_batch(model.apply, init, inputs, np.float32))

    def totals(params: Any, tokens: jax.Array, following: jax.Array) -> tuple[jax.Array, jax.Array]:
        return character_losses(model.apply(params, tokens[None])[0], following)

    @jax.jit
    def totals_of_batch(
        params: Any, inputs: jax.Array, targets: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        return character_losses(model.apply(params, inputs), targets)

    def test(params: Any) -> float:
        if batchwise():
            batches = _batches(test_windows, settings.batch_size or len(inputs))
            pieces = [totals_of_batch(params, *batch) for batch in batches]
            sums = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
        else:
            sums = _each(totals, params, test_windows)
        total, count = (np.sum(np.asarray(x, np.float64)) for x in sums)
        return float(total / count)

    return Problem(
        init=init,
        loss=_loss_of(model, settings),
        train=(inputs, targets),
        test=test,
        metric="test_loss",
        batchwise=batchwise,
    )


def _each(one: Callable[..., Any], params: Any, examples: tuple[np.ndarray, ...]) -> Any:
    """Return ``one(params, *example)`` of each example, arrays (n, ...) on the host.

    A signal ends it between batches; ``one`` is compiled once per function object.
    """
    whole = len(examples[0]) // TEST_BATCH * TEST_BATCH
    batches = tuple(jnp.asarray(x[:whole].reshape(-1, TEST_BATCH, *x.shape[1:])) for x in examples)
    parts = []
    for number in range(whole // TEST_BATCH):
        raise_if_signalled()
        parts.append(_of_batch(one, params, batches, number, number + 1))
    if whole < len(examples[0]):
        raise_if_signalled()
        rest = (jnp.asarray(x[whole:]) for x in examples)
        parts.append(_of_all(one, params, *rest))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


@partial(jax.jit, static_argnames="one")
def _of_batch(
    one: Callable[..., Any], params: Any, batches: tuple[jax.Array, ...], first: int, end: int
) -> Any:
    """Return what the last batch from ``first`` to ``end`` comes to.

    It is a loop, of one pass, so that it is compiled as the loop over all of them would be.
    """

    def values(number: jax.Array) -> Any:
        return jax.vmap(partial(one, params))(*(x[number] for x in batches))

    shapes = jax.eval_shape(values, first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.fori_loop(first, end, lambda number, _: values(number), zeros)


@partial(jax.jit, static_argnames="one")
def _of_all(one: Callable[..., Any], params: Any, *examples: jax.Array) -> Any:
    return jax.vmap(partial(one, params))(*examples)


def _require_same_data(settings: RunSettings, data: TaskData) -> None:
    """Refuse a data file made for another task, source or subset than the run's."""
    wanted, arrays = settings.dataset, data.arrays
    if settings.kind != data.attributes["kind"] and settings.kind in ("images", "characters"):
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
        jax.eval_shape(problem.loss, point, *example)
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


def _batches(examples: tuple[np.ndarray, ...], most: int) -> Iterator[tuple[jax.Array, ...]]:
    """Yield the fewest batches of at most ``most`` examples, of sizes as equal as can be.

    Each takes every n-th example, since a test set may be sorted by its labels. A signal ends it
    between batches.
    """
    count = -(-len(examples[0]) // most)
    for first in range(count):
        raise_if_signalled()
        yield tuple(jnp.asarray(x[first::count]) for x in examples)


def _loss_of(model: Model, settings: RunSettings) -> Callable[..., jax.Array]:
    """Return the run's loss as a function of the model's parameters, inputs and targets."""
    evaluate = LOSSES[settings.loss.name]

    def loss(params: Any, inputs: jax.Array, targets: jax.Array) -> jax.Array:
        return evaluate(model.apply(params, inputs), targets)

    return loss


def _model(settings: RunSettings, outputs: int) -> Model:
    try:
        return MODELS[settings.model.name](outputs, **settings.model.settings)
    except TypeError as error:
        raise UserError(
            f"task {settings.task}: model.settings of {settings.model.name}: {error}"
        ) from error

"""From a run's settings and data to a problem: parameters, loss, data on the device, test.

How data become inputs and targets is looked up by the task's kind in :data:`TASKS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samedge.datasets import Minibatches, TaskData, character_windows, image_arrays
from samedge.errors import UserError
from samedge.interruption import heed
from samedge.losses import LOSSES, MEANS_OVER_EXAMPLES, character_losses
from samedge.models import MODELS, Model
from samedge.registry import Registry
from samedge.settings import RunSettings

TASKS = Registry("kind of task")

CLASSES = 10
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
        :func:`samedge.interruption.heed` between its pieces.
    metric
        ``"test_error"`` (share of wrong labels) or ``"test_loss"`` (nats per character).
    """

    init: Callable[[jax.Array], Any]
    loss: Callable[[Any, jax.Array, jax.Array], jax.Array]
    train: tuple[jax.Array, jax.Array]
    test: Callable[[Any], float]
    metric: str


def build_problem(
    settings: RunSettings, data: TaskData, dtype: np.dtype | type = np.float32
) -> Problem:
    """Build the problem of a run.

    ``dtype`` is that of the training data where they are no whole numbers. They are computed in
    it from the data file; float64 needs JAX's 64-bit mode.

    Raises
    ------
    UserError
        For data of another task, an unknown name, model settings that do not fit, or a batch that
        does not fit the data.
    """
    _require_same_data(settings, data)
    problem = TASKS[settings.kind](settings, data, dtype)
    _require_fit(settings, problem, dtype)
    examples = problem.train[0].shape[0]
    batch = settings.batch_size or examples
    if batch > examples:
        raise UserError(
            f"task {settings.task}: batch_size {batch} is more than the {examples} training "
            "examples"
        )
    if settings.microbatch is not None:
        if batch % settings.microbatch:
            raise UserError(
                f"task {settings.task}: microbatch {settings.microbatch} does not divide the "
                f"batch of {batch} examples"
            )
        if settings.loss.name not in MEANS_OVER_EXAMPLES:
            raise UserError(
                f"task {settings.task}: microbatch needs a loss that is a mean over examples, and "
                f"{settings.loss.name} is not; set microbatch: null"
            )
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
    chosen = batches.indices(step, 1)[0]
    return tuple(x[chosen] for x in train)


@TASKS.register("images")
def images(settings: RunSettings, data: TaskData, dtype: np.dtype | type) -> Problem:
    """Images of ten classes: pixels/256 less the mean training image, one-hot targets."""
    arrays = image_arrays(data, dtype)
    model = _model(settings, CLASSES)
    inputs = jnp.asarray(arrays["train_inputs"])
    targets = jax.nn.one_hot(arrays["train_labels"], CLASSES, dtype=dtype)

    def wrong(params: Any, image: jax.Array, label: jax.Array) -> jax.Array:
        return jnp.argmax(model.apply(params, image[None])[0]) != label

    def test(params: Any) -> float:
        flags = _each(wrong, params, (arrays["test_inputs"], arrays["test_labels"]))
        return float(jnp.mean(flags, dtype=jnp.float32))

    return Problem(
        init=lambda key: model.init(key, inputs[:1].astype(jnp.float32)),
        loss=_loss_of(model, settings),
        train=(inputs, targets),
        test=test,
        metric="test_error",
    )


@TASKS.register("characters")
def characters(settings: RunSettings, data: TaskData, dtype: np.dtype | type) -> Problem:
    """Consecutive windows of text; the target of each character is the next one."""
    del dtype  # characters are whole numbers
    length = settings.model.settings.get("sequence_length")
    if length is None:
        raise UserError(f"task {settings.task}: kind characters needs a model with sequence_length")
    inputs, targets = (jnp.asarray(x) for x in character_windows(data.arrays["train_text"], length))
    test_windows = character_windows(data.arrays["test_text"], length)
    model = _model(settings, VOCABULARY)

    def totals(params: Any, tokens: jax.Array, following: jax.Array) -> tuple[jax.Array, jax.Array]:
        return character_losses(model.apply(params, tokens[None])[0], following)

    def test(params: Any) -> float:
        sums = _each(totals, params, test_windows)
        total, count = (np.sum(x.astype(np.float64)) for x in sums)
        return float(total / count)

    return Problem(
        init=lambda key: model.init(key, inputs[:1]),
        loss=_loss_of(model, settings),
        train=(inputs, targets),
        test=test,
        metric="test_loss",
    )


def _each(one: Callable[..., Any], params: Any, examples: tuple[np.ndarray, ...]) -> Any:
    """Return ``one(params, *example)`` of each example, arrays (n, ...) on the host.

    A signal ends it between batches; ``one`` is compiled once per function object.
    """
    whole = len(examples[0]) // TEST_BATCH * TEST_BATCH
    batches = tuple(jnp.asarray(x[:whole].reshape(-1, TEST_BATCH, *x.shape[1:])) for x in examples)
    parts = []
    for number in range(whole // TEST_BATCH):
        heed()
        parts.append(_of_batch(one, params, batches, number, number + 1))
    if whole < len(examples[0]):
        heed()
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
    found = {"name": data.attributes["name"], "source": data.attributes["source"]}
    asked = {"name": wanted.name, "source": settings.source}
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
    example = tuple(x[:1] for x in problem.train)
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

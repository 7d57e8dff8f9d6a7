"""Text, of which each next character is to be told."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samedge.base.errors import UserError
from samedge.config.settings import RunSettings
from samedge.data.file import TaskData
from samedge.tasks.inputs import character_windows
from samedge.tasks.kinds.evaluating import batches_of, each
from samedge.tasks.loss import character_losses
from samedge.tasks.probing import depends_on_batch
from samedge.tasks.problems import KINDS, Problem, loss_of, model_of

VOCABULARY = 128  # ASCII


@KINDS.register("characters")
def characters(settings: RunSettings, data: TaskData, dtype: np.dtype | type) -> Problem:
    """Consecutive windows of text; the target of each character is the next one."""
    del dtype  # characters are whole numbers
    length = settings.model.settings.get("sequence_length")
    if length is None:
        raise UserError(f"task {settings.task}: kind characters needs a model with sequence_length")
    inputs, targets = (jnp.asarray(x) for x in character_windows(data.arrays["train_text"], length))
    test_windows = character_windows(data.arrays["test_text"], length)
    model = model_of(settings, VOCABULARY)

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
            batches = batches_of(test_windows, settings.batch_size or len(inputs))
            pieces = [totals_of_batch(params, *batch) for batch in batches]
            sums = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
        else:
            sums = each(totals, params, test_windows)
        total, count = (np.sum(np.asarray(x, np.float64)) for x in sums)
        return float(total / count)

    return Problem(
        init=init,
        loss=loss_of(model, settings),
        noisy=model.noisy,
        train=(inputs, targets),
        test=test,
        metric="test_loss",
        batchwise=batchwise,
    )

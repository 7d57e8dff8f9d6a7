"""Numbers with numbers to reach."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samedge.config.settings import RunSettings
from samedge.data.file import TaskData
from samedge.tasks.inputs import number_arrays
from samedge.tasks.loss import LOSSES
from samedge.tasks.probing import depends_on_batch
from samedge.tasks.problems import KINDS, Problem, loss_of, model_of


@KINDS.register("regression")
def regression(settings: RunSettings, data: TaskData, dtype: np.dtype | type) -> Problem:
    """Numbers with targets, both as they are; the test metric is the loss of the whole test set."""
    arrays = number_arrays(data, dtype)
    train, held_out = (
        tuple(jnp.asarray(arrays[f"{split}_{part}"]) for part in ("inputs", "targets"))
        for split in ("train", "test")
    )
    model = model_of(settings, train[1].shape[1])

    def init(key: jax.Array) -> Any:
        return model.init(key, train[0][:1].astype(jnp.float32))

    evaluate = LOSSES[settings.loss.name]

    @jax.jit
    def test(params: Any, inputs: jax.Array, targets: jax.Array) -> jax.Array:
        return evaluate(model.apply(params, inputs), targets)

    return Problem(
        init=init,
        loss=loss_of(model, settings),
        noisy=model.noisy,
        train=train,
        test=lambda params: float(test(params, *held_out)),
        metric="test_loss",
        batchwise=cache(lambda: depends_on_batch(model.apply, init, train[0], dtype)),
    )

"""Images with labels."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samedge.config.settings import RunSettings
from samedge.data.file import TaskData, number_of_classes
from samedge.tasks.inputs import image_arrays
from samedge.tasks.kinds.evaluating import batches_of, each
from samedge.tasks.probing import depends_on_batch
from samedge.tasks.problems import KINDS, Problem, loss_of, model_of


@KINDS.register("images")
def images(settings: RunSettings, data: TaskData, dtype: np.dtype | type) -> Problem:
    """Images with labels: pixels/256 less the mean training image, one-hot targets."""
    arrays, classes = image_arrays(data, dtype), number_of_classes(data)
    model = model_of(settings, classes)
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
            return float(jnp.mean(each(wrong, params, examples), dtype=jnp.float32))
        batches = batches_of(examples, settings.batch_size or len(inputs))
        return sum(int(count_wrong(params, *batch)) for batch in batches) / len(examples[0])

    return Problem(
        init=init,
        loss=loss_of(model, settings),
        noisy=model.noisy,
        train=(inputs, targets),
        test=test,
        metric="test_error",
        batchwise=batchwise,
    )

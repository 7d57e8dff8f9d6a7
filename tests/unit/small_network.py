"""A network of two layers and a dozen examples, on which tests train in a second."""

import jax
import jax.numpy as jnp
import numpy as np

from samedge.tasks.problems import Problem


def tanh_loss(params, inputs, targets):
    """Return the mean squared error of a network with one layer of tanh."""
    return jnp.mean(jnp.square(jnp.tanh(inputs @ params["first"]) @ params["second"] - targets))


def tanh_problem(width: int = 4) -> Problem:
    """Return the problem of that loss on random data."""
    keys = jax.random.split(jax.random.key(0), 4)
    inputs = jax.random.normal(keys[0], (12, 3), jnp.float32)
    targets = jax.random.normal(keys[1], (12, 2), jnp.float32)

    def init(key: jax.Array) -> dict[str, jax.Array]:
        del key
        return {
            "first": jax.random.normal(keys[2], (3, width), jnp.float32),
            "second": jax.random.normal(keys[3], (width, 2), jnp.float32),
        }

    return Problem(init, tanh_loss, (inputs, targets), lambda params: 0.25, "test_error")


def dense(params, data) -> tuple[np.ndarray, np.ndarray]:
    """Return the Hessian and the gradient of the loss in float64."""
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def at(point):
        return tanh_loss(unravel(point), *data)

    hessian, gradient = jax.hessian(at)(flat), jax.grad(at)(flat)
    return np.asarray(hessian, np.float64), np.asarray(gradient, np.float64)

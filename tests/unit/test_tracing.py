"""A loss that reads anything beside its arguments is measured as it is now."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samedge.curvature import tracing
from samedge.curvature.density import spectral_density
from samedge.curvature.eigenpairs import top_eigenpairs
from samedge.curvature.krylov import hessian
from samedge.updates.rule import sam_gradient

pytestmark = pytest.mark.usefixtures("strict_jax")

POINT, CURVATURE = jnp.ones(5, jnp.float32), jnp.arange(1.0, 6.0, dtype=jnp.float32)
KEY = jax.random.key(0)

number = 1.0
array = jnp.ones(5, jnp.float32)
host = np.ones(5, np.float32)
table = {"number": 1.0}


def energy(point, curvature):
    return jnp.sum(curvature * jnp.square(point)) / 2


def set_global(name, value):
    globals()[name] = value


def helped(curvature):
    return number * curvature


class Model:
    """Something with state, as a method and as a function."""

    def __init__(self):
        self.weight = 1.0

    def __call__(self, point, curvature):
        return self.weight * energy(point, curvature)

    def loss(self, point, curvature):
        return self.weight * energy(point, curvature)

    # All that it is compared by, so that it is no key to what it reads.
    def __eq__(self, other):
        return isinstance(other, Model)

    def __hash__(self):
        return 0


def closed_over():
    weight = 1.0

    def loss(point, curvature):
        return weight * energy(point, curvature)

    def change():
        nonlocal weight
        weight = 3.0

    return loss, change


METHOD, OBJECT = Model(), Model()
CLOSED, CHANGE_CLOSED = closed_over()

READING = {
    "a global number": (
        lambda point, curvature: number * energy(point, curvature),
        lambda: set_global("number", 3.0),
    ),
    "a global array": (
        lambda point, curvature: energy(point, array * curvature),
        lambda: set_global("array", 3 * array),
    ),
    "an array changed in place": (
        lambda point, curvature: energy(point, host * curvature),
        lambda: host.fill(3.0),
    ),
    "an entry of a dictionary": (
        lambda point, curvature: table["number"] * energy(point, curvature),
        lambda: table.update(number=3.0),
    ),
    "a global of a helper": (
        lambda point, curvature: energy(point, helped(curvature)),
        lambda: set_global("number", 3.0),
    ),
    "an attribute of a method": (METHOD.loss, lambda: setattr(METHOD, "weight", 3.0)),
    "an attribute of an object": (OBJECT, lambda: setattr(OBJECT, "weight", 3.0)),
    "a closed-over number": (CLOSED, CHANGE_CLOSED),
    "a global number, under jit": (
        jax.jit(lambda point, curvature: number * energy(point, curvature)),
        lambda: set_global("number", 3.0),
    ),
}


@pytest.fixture(autouse=True)
def unchanged():
    """Every test begins with the values above."""
    set_global("number", 1.0)
    set_global("array", jnp.ones(5, jnp.float32))


def largest(loss, **options):
    return top_eigenpairs(loss, POINT, (CURVATURE,), 1, key=KEY, **options).values[0]


@pytest.mark.parametrize("name", READING)
def test_eigenpairs_are_of_the_loss_as_it_is_now(name):
    loss, change = READING[name]
    assert largest(loss) == pytest.approx(5, rel=1e-3)
    change()
    assert largest(loss) == pytest.approx(15, rel=1e-3)


def test_densities_and_sam_gradients_are_too():
    def loss(point, curvature):
        return number * energy(point, curvature)

    def both():
        density = spectral_density(loss, POINT, (CURVATURE,), 2, 5, key=KEY)
        _, ascended = sam_gradient(loss, POINT, (CURVATURE,), 0.1)
        return np.nanmax(density.nodes), float(jnp.max(ascended))

    before = both()
    set_global("number", 3.0)
    np.testing.assert_allclose(both(), 3 * np.array(before), rtol=1e-4)


def test_what_has_not_changed_is_not_compiled_again():
    def loss(point, curvature):
        drawn = jax.random.uniform(KEY, (5,), jnp.float32)
        return number * energy(point, jax.nn.relu(drawn + 1) * array * curvature)

    largest(loss)
    programs = hessian.compiled_map._cache_size(), hessian._product._cache_size()
    for _ in range(2):
        largest(loss)
    set_global("array", jnp.ones(5, jnp.float32))  # another object with the same values
    largest(loss)
    assert (hessian.compiled_map._cache_size(), hessian._product._cache_size()) == programs
    set_global("number", 3.0)
    largest(loss)
    set_global("number", 1.0)  # back to a program that is there
    largest(loss)
    assert hessian.compiled_map._cache_size() == programs[0] + 1


def test_a_pure_loss_is_not_traced_again():
    traces = []

    def loss(point, curvature):
        traces.append(0)
        return energy(point, curvature)

    largest(loss, pure=True)
    once = len(traces)
    largest(loss, pure=True)
    assert len(traces) == once
    largest(loss)
    largest(loss)
    assert len(traces) > once


def test_the_digest_tells_constants_types_and_order_apart():
    one = tracing.what_it_reads(lambda w: jnp.sum(w * 2.0), POINT, ())
    assert one == tracing.what_it_reads(lambda w: jnp.sum(w * 2.0), POINT, ())
    others = [
        lambda w: jnp.sum(w * 2.0000002),
        lambda w: jnp.sum(w + 2.0),
        lambda w: jnp.sum(w) * 2.0,
        lambda w: jnp.sum(jnp.where(w > 0, w * 2.0, w)),
        lambda w: jax.lax.scan(lambda c, x: (c + x * 2.0, None), jnp.float32(0), w)[0],
        lambda w: jax.lax.scan(lambda c, x: (c + x * 3.0, None), jnp.float32(0), w)[0],
    ]
    digests = {tracing.what_it_reads(other, POINT, ()) for other in others}
    assert len(digests | {one}) == len(others) + 1


def test_a_loss_that_is_defined_at_every_call_is_warned_of_once():
    def measure(loss):
        return top_eigenpairs(loss, POINT, (CURVATURE,), k=1, key=KEY)

    with pytest.warns(UserWarning, match="Define the loss once, outside of the loop") as told:
        for _ in range(4):
            measure(lambda point, curvature: energy(point, curvature))
    [warning] = told
    text = str(warning.message)
    assert "3 function objects have come of the loss" in text
    assert f"<lambda>', defined in {__file__}, line " in text
    assert warning.filename == __file__


def test_a_partial_of_arrays_that_change_is_one_too():
    with pytest.warns(UserWarning, match="3 function objects have come of the loss 'half_energy'"):
        for scale in (1.0, 2.0, 3.0):
            top_eigenpairs(partial(half_energy, scale), POINT, (CURVATURE,), k=1, key=KEY)


def half_energy(scale, point, curvature):
    return scale * energy(point, curvature) / 2


@pytest.mark.filterwarnings("error")
def test_a_loss_that_is_one_function_is_not_warned_of():
    model = Model()
    for _ in range(4):
        top_eigenpairs(energy, POINT, (CURVATURE,), k=1, key=KEY)
        top_eigenpairs(model.loss, POINT, (CURVATURE,), k=1, key=KEY)

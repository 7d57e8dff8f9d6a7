"""What crossing Proposition 3's bounds costs a step, on quadratics whose answer is equation 2."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samedge.updates import edges

ETA, RHO = 0.5, 0.3


@pytest.fixture(scope="module")
def script(tool):
    return tool("write_step_costs")


def test_the_cost_of_each_bound_is_its_part_of_equation_2(script):
    gradient = np.array([1.0, -2.0, 0.5, 1.5, 0.7])
    norm = np.linalg.norm(gradient)
    bottom, top = edges.negative_curvature_bound(norm, RHO), edges.sam_edge(norm, ETA, RHO)
    values = np.array([1.1 * bottom, 0.5 * bottom, 0.1 * top, 0.9 * top, 1.5 * top])
    displaced = 1 + RHO * values / norm
    terms = -(gradient**2) * displaced * (1 - ETA * displaced * values / 2) / norm**2
    with jax.enable_x64(True):
        cost = script.step_cost(
            lambda point, slope, curvature: slope @ point + 0.5 * curvature @ point**2,
            jnp.zeros(5),
            (jnp.asarray(gradient), jnp.asarray(values)),
            ETA,
            RHO,
            products=20,
        )
    assert cost.below > 0 and cost.above > 0
    np.testing.assert_allclose(cost, (terms.sum(), terms.sum(), terms[0], terms[-1]), rtol=1e-9)

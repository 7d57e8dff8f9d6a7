"""Every update rule on both sides of its edge, on quadratics, through the project's own step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.training.steps import StepSpec, take_steps
from samedge.updates import edges
from samedge.updates.rule import RULES

STEPS = 4000
MARGIN = 0.01
SLOPE = 1e3  # of the loss along a direction without curvature, which holds the gradient's norm
SMALL = 1e-12


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def loss(point, curvature):
    """A quadratic in x beside a plane in y, whose slope is all but the whole gradient."""
    return 0.5 * curvature * point[0] ** 2 + SLOPE * point[1]


def amplitude_after(rule, curvature, eta, rho):
    """Return how far x is from its minimum after many steps, over where it began.

    It is infinite where steps ended before.
    """
    point = jnp.array([SMALL, 0.0])
    after, _, _, finite = take_steps(
        StepSpec(loss, rule, microbatch=None, epsilon=0.0),
        point,
        rule.optimizer(jnp.asarray(eta)).init(point),
        jnp.asarray(eta),
        jnp.asarray(rho),
        (jnp.asarray(curvature),),
        None,
        jnp.int32(STEPS),
    )
    return abs(float(after[0])) / SMALL if finite else np.inf


CASES = {
    "sam": {},
    "unnormalized_sam": {},
    "momentum": {"momentum": 0.9},
    "momentum, nesterov": {"momentum": 0.6, "nesterov": True},
    "momentum, unnormalized": {"momentum": 0.4, "displacement": "unnormalized"},
    "momentum, nesterov, unnormalized": {
        "momentum": 0.9,
        "nesterov": True,
        "displacement": "unnormalized",
    },
}
# One object each, so that its steps are compiled once.
MADE = {case: RULES[case.split(",")[0]](**given) for case, given in CASES.items()}


@pytest.mark.parametrize("case", CASES)
@settings(deadline=None, max_examples=20)
@given(
    eta=st.floats(-2, 0).map(lambda power: 10.0**power),
    rho=st.one_of(st.just(0.0), st.floats(-2, 0).map(lambda power: 10.0**power)),
)
def test_a_rule_is_stable_below_its_edge_and_not_above(case, eta, rho):
    rule = MADE[case]
    edge = rule.edge(SLOPE, eta, rho)
    assert amplitude_after(rule, (1 - MARGIN) * edge, eta, rho) < 0.5
    assert amplitude_after(rule, (1 + MARGIN) * edge, eta, rho) > 2


def test_edges_of_momentum_by_hand():
    heavy, nesterov = (RULES["momentum"](momentum=0.9, nesterov=own) for own in (False, True))
    assert heavy.edge(1.0, 0.1, 0.0) == pytest.approx(38)
    assert nesterov.edge(1.0, 0.1, 0.0) == pytest.approx(2 * 1.9 / 2.8 / 0.1)
    none = RULES["momentum"](momentum=0.0)
    assert none.edge(0.7, 0.1, 0.3) == pytest.approx(edges.sam_edge(0.7, 0.1, 0.3), rel=1e-14)
    wide = RULES["momentum"](momentum=0.0, displacement="unnormalized")
    assert wide.edge(0.7, 0.1, 0.3) == pytest.approx(
        edges.unnormalized_sam_edge(0.1, 0.3), rel=1e-14
    )


@given(
    limit=st.floats(-6, 6).map(lambda power: 10.0**power),
    slope=st.floats(-6, 6).map(lambda power: 10.0**power),
)
def test_a_displaced_edge_solves_its_equation(limit, slope):
    value = edges.displaced_edge(limit, slope)
    assert value * (1 + slope * value) == pytest.approx(limit, rel=1e-12)
    assert edges.displaced_edge(limit, 0.0) == limit


def test_displaced_edges_broadcast():
    found = edges.displaced_edge(np.array([[1.0], [2.0]]), np.array([0.0, 1.0, 2.0]))
    assert found.shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"momentum": 1.0}, "momentum: found 1.0, must be at least 0 and below 1"),
        ({"momentum": 0.9, "displacement": "asam"}, "found 'asam', must be one of sam, unnorm"),
    ],
)
def test_settings_that_a_rule_cannot_have_are_named(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        RULES["momentum"](**options)

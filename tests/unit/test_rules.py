"""Every update rule on both sides of its edge, on quadratics, through the project's own step.

With those of docs/extending.md.
"""

import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.base.registry import Registry
from samedge.training.steps import StepSpec, take_steps
from samedge.updates import edges
from samedge.updates.displacement import DISPLACEMENTS, Displacement
from samedge.updates.effective import part_of
from samedge.updates.rule import RULES, UpdateRule

STEPS = 4000
MARGIN = 0.01
SLOPE = 1e3  # of the loss along a direction without curvature, which holds the gradient's norm
SMALL = 1e-60  # Adam grows a little before its bias is corrected


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def loss(point, curvature):
    """A quadratic in x beside a plane in y, whose slope is all but the whole gradient."""
    return 0.5 * curvature * jnp.sum(point["x"] ** 2) + SLOPE * jnp.sum(point["y"])


def amplitude_after(rule, curvature, eta, rho):
    """Return how far x is from its minimum after many steps, over where it began.

    It is infinite where steps ended before.
    """
    point = {"x": jnp.full((1, 1), SMALL), "y": jnp.zeros(1)}
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
    return abs(after["x"].item()) / SMALL if finite else np.inf


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
    # Epsilon is the whole preconditioner, and the weight that is added all of ASAM's scale: 1.
    "rmsprop": {"eps": 1.0},
    "rmsprop, unnormalized": {"eps": 1.0, "displacement": "unnormalized"},
    # A second moment of many steps would remember that.
    "adam": {"b2": 0.0, "eps": 1.0},
    "adam, decay": {"b1": 0.5, "b2": 0.0, "eps": 1.0, "weight_decay": 0.5},
    "asam": {"adaptive": 1.0},
    "unified_sam": {"kappa": 0.9},
    "nadam": {"b1": 0.7, "b2": 0.0, "eps": 1.0},
}


def documented():
    """Return the update rules of docs/extending.md, by name."""
    text = (Path(__file__).parents[2] / "docs/extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(@RULES\.register.*?)```", text, flags=re.DOTALL)
    rules = Registry("rule of the example")
    shared = {"RULES": rules, "UpdateRule": UpdateRule, "part_of": part_of, "partial": partial}
    shared |= {"Displacement": Displacement, "DISPLACEMENTS": DISPLACEMENTS}
    for block in blocks:
        exec(block, shared | {"jax": jax, "jnp": jnp, "optax": optax})
    return rules


KNOWN = {**RULES, **documented()}
# One object each, so that its steps are compiled once.
MADE = {case: KNOWN[case.split(",")[0]](**given) for case, given in CASES.items()}


@pytest.mark.parametrize("case", CASES)
@settings(deadline=None, max_examples=20)
@given(
    eta=st.floats(-2, 0).map(lambda power: 10.0**power),
    rho=st.one_of(st.just(0.0), st.floats(-2, 0).map(lambda power: 10.0**power)),
)
def test_a_rule_is_stable_below_its_edge_and_not_above(case, eta, rho):
    rule = MADE[case]
    edge = rule.edge(SLOPE, eta, rho)
    for side, stable in ((1 - MARGIN, True), (1 + MARGIN, False)):
        curvature = side * edge
        if rule.effective is not None:
            # The edge is of the curvature with the displacement in it.
            slope = rho if "unnormalized" in case else rho / SLOPE
            curvature = edges.displaced_edge(curvature, slope)
        amplitude = amplitude_after(rule, curvature, eta, rho)
        assert amplitude < 0.5 if stable else amplitude > 2


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
    ("name", "options", "complaint"),
    [
        ("momentum", {"momentum": 1.0}, "momentum: found 1.0, must be at least 0 and below 1"),
        ("momentum", {"momentum": 0.9, "displacement": "x"}, "found 'x', must be one of sam, unno"),
        ("adam", {"b2": 1.0}, "b2: found 1.0, must be at least 0 and below 1"),
        ("adam", {"eps": 0.0}, "eps must be above 0 and weight_decay at least 0, found 0.0"),
        ("rmsprop", {"decay": -1.0}, "decay must be at least 0 and below 1, .* found -1.0"),
        ("asam", {"adaptive": 0.0}, "adaptive: found 0.0, must be above 0"),
    ],
)
def test_settings_that_a_rule_cannot_have_are_named(name, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        RULES[name](**options)


def test_adams_edge_is_38_over_eta():
    assert RULES["adam"]().edge(1.0, 0.001, 0.0) == pytest.approx(38000)

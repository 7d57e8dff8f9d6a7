"""How the ends of the spectrum depend on the minibatch, on losses whose Hessians are known."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import synthetic
from samedge.base.errors import UserError
from samedge.tasks.leaves import named_leaves
from samedge.updates import edges


@pytest.fixture(scope="module")
def script(tool):
    return tool("write_batch_curvature")


def loss(point, slopes, curvatures):
    """A mean over examples, each a quadratic with a diagonal Hessian."""
    return jnp.mean(slopes @ point + 0.5 * curvatures @ point**2)


@pytest.fixture
def examples():
    rng = np.random.default_rng(3)
    return rng.normal(size=(64, 12)), rng.normal(size=(64, 12)) + np.linspace(-1, 4, 12)


def test_the_ends_are_those_of_the_mean_over_the_minibatch(script, examples):
    batch = tuple(jnp.asarray(part[:16], jnp.float32) for part in examples)
    found = script.ends(loss, jnp.zeros(12, jnp.float32), batch)
    slopes, curvatures = (part[:16].mean(axis=0) for part in examples)
    expected = np.linalg.norm(slopes), curvatures.min(), curvatures.max()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_minibatches_of_every_size_are_of_the_same_examples(script):
    order = np.random.default_rng(0).permutation(1000)[:256]
    whole = script.minibatches(order, 256)
    assert whole.shape == (1, 256)
    assert (script.minibatches(order, 64).ravel() == whole[0]).all()
    assert script.minibatches(order, 8).shape == (script.MOST, 8)


def test_ends_are_given_over_their_bounds(script):
    found = [script.Ends(2.0, -3.0, 5.0), script.Ends(1.0, -4.0, 9.0), script.Ends(4.0, -1.0, 7.0)]
    cells = list(script.cells(found, eta=0.1, rho=0.5))
    assert cells[:3] == ["2", "-3", "7"]
    assert cells[3] == "0.75 (0.12 to 2.00)"
    over = [largest / edges.sam_edge(norm, 0.1, 0.5) for norm, _, largest in found]
    assert cells[4] == f"{np.median(over):.2f}"


def test_a_size_beyond_the_examples_is_refused(script, monkeypatch, examples):
    problem = SimpleNamespace(init=lambda key: jnp.zeros(12), loss=loss, train=examples)
    monkeypatch.setattr(script, "build_problem", lambda settings, data: problem)
    settings = synthetic.run_settings()
    with pytest.raises(UserError, match="--sizes: found 128, the task has 64 training examples"):
        next(script.rows(settings, [], None, [32, 128]))


def test_every_kept_check_has_a_row_for_every_size(script, monkeypatch, examples):
    parts = tuple(jnp.asarray(part, jnp.float32) for part in examples)
    problem = SimpleNamespace(init=lambda key: jnp.zeros(12), loss=loss, train=parts)
    monkeypatch.setattr(script, "build_problem", lambda settings, data: problem)
    kept = [
        SimpleNamespace(step=step, leaves=named_leaves(jnp.full(12, value)))
        for step, value in ((5, 0.0), (9, 1.0))
    ]
    settings = synthetic.run_settings()
    rows = [row.strip("| ").split(" | ") for row in script.rows(settings, kept, None, [16, 64])]
    assert [row[:4] for row in rows] == [
        [str(settings.eta), step, size, count]
        for step in ("5", "9")
        for size, count in (("16", "4"), ("64", "1"))
    ]
    for step, row in zip((5, 9), rows[1::2], strict=True):
        slopes, curvatures = (part.mean(axis=0) for part in examples)
        norm = np.linalg.norm(slopes + (0 if step == 5 else curvatures))
        expected = norm, curvatures.min(), curvatures.max()
        np.testing.assert_allclose([float(cell) for cell in row[4:7]], expected, rtol=0.02)


def test_the_lowest_eigenvalue_is_traced_to_its_example(script, monkeypatch):
    """One of forty examples bends down, within a distance of 0.02 along one direction."""
    rng = np.random.default_rng(5)
    curvatures = rng.uniform(1, 3, size=(40, 12))
    curvatures[:, 4] = 0.5
    dips = np.zeros(40)
    dips[17] = 200.0

    def loss(point, curvatures, dips):
        narrow = 0.02**2 * jnp.exp(-0.5 * (point[4] / 0.02) ** 2)
        return jnp.mean(point[0] + 0.5 * curvatures @ point**2 + dips * narrow)

    with jax.enable_x64(True):
        parts = jnp.asarray(curvatures), jnp.asarray(dips)
        problem = SimpleNamespace(init=lambda key: jnp.zeros(12), loss=loss, train=parts)
        monkeypatch.setattr(script, "build_problem", lambda settings, data, dtype: problem)
        kept = SimpleNamespace(step=3, leaves=named_leaves(jnp.zeros(12)))
        settings = synthetic.run_settings(rho="0.2")
        (row,) = script.lowest_rows(settings, [kept], None)
        found = script.lowest(loss, jnp.zeros(12), parts, 0.2)
    assert found.smallest == pytest.approx(0.5 - 200 / 40, rel=1e-6)
    assert found.example == 17
    assert found.gradient_norm == pytest.approx(1)
    assert found.part == pytest.approx((0.5 - 200) / 40, rel=1e-6)
    assert found.without == pytest.approx(0.5 * 39 / 40, rel=1e-6)
    away = np.array([share * 0.2 / 0.02 for share in script.ALONG])
    expected = 0.5 - 5 * (1 - away**2) * np.exp(-0.5 * away**2)
    np.testing.assert_allclose(found.along, np.stack([expected, expected], axis=1), rtol=1e-4)
    cells = row.strip("| ").split(" | ")
    assert cells[1:6] == ["3", "1", "-4.5", "0.90", "17"]
    assert [float(cell) for cell in cells[6:8]] == pytest.approx([-4.9875, 0.4875], 0.01)
    assert cells[8] == "-0.10"
    assert len(cells) == script.LOWEST_HEAD.count("|") - 1

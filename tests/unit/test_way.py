"""The way to the SAM point and what steps change: exact on quadratics, by hand, through a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plot_way
from samedge.base.errors import UserError
from samedge.figures.steps import way
from samedge.records import cubes, files
from samedge.records.schema import WAY_KEYS
from samedge.training import loop
from samedge.training.observers.way import (
    WAY_POINTS,
    WayObserver,
    displaced_by,
    point_on_way,
    split_step,
)
from samedge.training.steps import StepSpec
from samedge.updates.rule import RULES
from small_network import tanh_problem
from synthetic import ENVIRONMENT, grid_settings, made_cube, run, run_settings

SIZE = 5
RULE_CASES = {
    "sam": {},
    "unnormalized_sam": {},
    "asam": {},
    "momentum": {"momentum": 0.9},
    "adam": {},
}


def quadratic(params, matrix, slope):
    w = params["w"]
    return 0.5 * w @ matrix @ w + slope @ w


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    half = random.normal(size=(SIZE, SIZE))
    return half @ half.T, random.normal(size=SIZE)


@pytest.mark.parametrize("name", RULE_CASES)
def test_predictions_are_exact_on_a_quadratic(name, data):
    with jax.enable_x64(True):
        spec = StepSpec(quadratic, RULES[name](**RULE_CASES[name]), None, 1e-5)
        eta, rho = jnp.asarray(0.05), jnp.asarray(0.3)
        params = {"w": jnp.asarray(np.random.default_rng(1).normal(size=SIZE))}
        state = spec.optimizer(eta).init(params)
        batch = tuple(map(jnp.asarray, data))
        vectors = np.linalg.eigh(data[0])[1][:, ::-1].T
        principal = tuple({"w": jnp.asarray(vector)} for vector in vectors[:2])
        found = {
            key: float(value)
            for key, value in split_step(spec, params, state, eta, rho, principal, batch).items()
        }
        for part in ("", "_principal", "_rest"):
            assert found[f"step_change{part}"] == pytest.approx(
                found[f"step_predicted{part}"], rel=1e-10, abs=1e-13
            )
        parts = found["step_change_principal"] + found["step_change_rest"]
        assert found["step_change"] == pytest.approx(parts, rel=1e-10)
        assert 0 < found["step_length_principal"] < found["step_length"]

        along = displaced_by(spec, params, rho, batch)
        first = principal[0]
        ends = [
            point_on_way(spec, params, along, jnp.asarray(share), first, batch)
            for share in (0.0, 1.0)
        ]
        unit = np.asarray(along["w"]) / np.linalg.norm(along["w"])
        for share, at in zip((0.0, 1.0), ends, strict=True):
            w = np.asarray(params["w"]) + share * np.asarray(along["w"])
            gradient = data[0] @ w + data[1]
            assert float(at["way_curvature"]) == pytest.approx(unit @ data[0] @ unit, rel=1e-12)
            assert float(at["way_slope"]) == pytest.approx(unit @ gradient, rel=1e-12)
            assert float(at["way_gradient_norm"]) == pytest.approx(np.linalg.norm(gradient))
            cosine = abs(gradient @ vectors[0]) / np.linalg.norm(gradient)
            assert float(at["way_alignment"]) == pytest.approx(cosine, rel=1e-6)
        length = np.linalg.norm(along["w"])
        change = float(ends[1]["way_loss"] - ends[0]["way_loss"])
        slope, curvature = float(ends[0]["way_slope"]), float(ends[0]["way_curvature"])
        assert change == pytest.approx(length * slope + length**2 * curvature / 2, rel=1e-12)
        if name == "sam":
            assert length == pytest.approx(0.3, rel=1e-4)


def test_a_step_along_the_principal_direction_alone_has_no_rest(data):
    with jax.enable_x64(True):
        values, vectors = np.linalg.eigh(data[0])
        first = vectors[:, -1]
        lowest = -np.linalg.solve(data[0], data[1])
        spec = StepSpec(quadratic, RULES["sam"](), None, 1e-5)
        eta, rho = jnp.asarray(3 / values[-1]), jnp.asarray(0.0)
        params = {"w": jnp.asarray(lowest + 0.1 * first)}
        principal = ({"w": jnp.asarray(first)},)
        batch = tuple(map(jnp.asarray, data))
        state = spec.optimizer(eta).init(params)
        found = split_step(spec, params, state, eta, rho, principal, batch)
        # From 0.1 to -0.2 along it: the loss is four times what it was above the minimum.
        rise = 3 * values[-1] * 0.1**2 / 2
        assert float(found["step_change"]) == pytest.approx(rise, rel=1e-10)
        assert float(found["step_change_principal"]) == pytest.approx(rise, rel=1e-10)
        assert abs(float(found["step_change_rest"])) < 1e-12


@pytest.fixture(scope="module")
def problem():
    return tanh_problem()


def trained(problem, **changes):
    run = run_settings(
        **{
            "eta": "0.05",
            "rho": "0.1",
            "batch_size": None,
            "budget": {"steps": 8, "hours": None},
            "checks": {"spacing": "even", "count": 9, "minutes": None},
            "way": {"at": [0, 0.5, 1], "points": 4},
        }
        | changes
    )
    lines: list[str] = []
    observer = WayObserver(run, problem, lines.append)
    checks, outcome = loop.train(run, problem, lambda line: None, [observer])
    return observer, checks, outcome, lines


@pytest.mark.usefixtures("strict_jax")
def test_a_run_measures_its_way_and_its_next_step(problem):
    observer, checks, outcome, lines = trained(problem)
    assert len(lines) == len(observer.records) == 3
    by_step = {check["step"]: check for check in checks}
    for record in observer.records:
        assert record.keys() == {*WAY_KEYS}
        check = by_step[record["way_step"]]
        assert record["way_loss"][0] == pytest.approx(check["training_loss"], rel=1e-6)
        assert record["way_alignment"][0] == pytest.approx(check["gradient_alignment"], rel=1e-3)
        assert record["way_alignment"][-1] == pytest.approx(
            check["sam_gradient_alignment"], rel=1e-3
        )
        assert record["way_gradient_norm"][-1] == pytest.approx(
            check["sam_gradient_norm"], rel=1e-5
        )
        assert record["way_slope"][0] == pytest.approx(check["gradient_norm"], rel=1e-5)
        assert record["way_length"] == pytest.approx(0.1, rel=1e-3)
        assert record["way_products"] == 4 + 2
        after = by_step.get(record["way_step"] + 1)
        if after is not None:
            change = after["training_loss"] - check["training_loss"]
            assert record["step_change"] == pytest.approx(change, rel=1e-3, abs=1e-7)
    dataset = files.run_dataset(
        observer.settings, checks, outcome, ENVIRONMENT, ways=observer.records
    )
    assert dataset["point"].values.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    for name in WAY_KEYS:
        found = dataset[name].values[0, 0, 0]
        np.testing.assert_array_equal(found, [record[name] for record in observer.records])


@pytest.mark.usefixtures("strict_jax")
def test_without_sam_there_is_no_way_but_a_step(problem):
    observer, *_ = trained(problem, rho="0")
    for record in observer.records:
        assert record["way_length"] == 0
        assert all(np.isnan(record[name]).all() for name in WAY_POINTS)
        assert record["step_change"] < 0
        assert record["way_products"] == 2


@pytest.mark.usefixtures("strict_jax")
def test_measuring_the_way_changes_nothing_else_and_goes_on(problem):
    observer, checks, *_ = trained(problem)
    _, plain, *_ = trained(problem, way={"at": [], "points": 4})
    for one, other in zip(plain, checks, strict=True):
        for key in one.keys() - {"training_time", "wall_time"}:
            np.testing.assert_array_equal(one[key], other[key])
    again = WayObserver(observer.settings, problem, print)
    again.restore(observer.state())
    assert again.records == observer.records


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """A cube whose loss rises by a half on the way, where the quadratic has a quarter."""
    folder = tmp_path_factory.mktemp("runs")
    settings = grid_settings(eta=["0.1", "0.3"], way={"at": [0, 1], "points": 3})
    for one in settings:
        whole = run(one)
        steps = whole["step"].values[0, 0, 0]
        for place, check in enumerate((0, -1)):
            loss = whole["training_loss"].values[0, 0, 0, check]
            edge = whole["sam_edge"].values[0, 0, 0, check]
            here = {"way_check": place}
            whole["way_step"][here] = steps[check]
            whole["way_length"][here] = 0.5
            whole["way_loss"][here] = loss * np.array([1.0, 1.2, 1.5])
            whole["way_slope"][here] = loss * np.array([0.25, 1.0, 1.0])
            whole["way_curvature"][here] = np.array([loss, 2 * edge, edge])
            whole["way_alignment"][here] = [0.1, 0.2, 0.3]
            for name in ("step_change", "step_predicted"):
                for part, share in (("", -0.3), ("_principal", 0.1), ("_rest", -0.4)):
                    factor = 2 if name == "step_predicted" else 1
                    whole[f"{name}{part}"][here] = factor * share * loss
        files.write(whole, folder / f"{one.name}.nc")
    return cubes.collect(settings, folder)


def test_the_figure_shows_the_way_and_the_steps(cube, tmp_path):
    files.write(cube, tmp_path / "mnist.nc")
    outputs = ["--output-pdf", str(tmp_path / "w.pdf"), "--output-png", str(tmp_path / "w.png")]
    plot_way.main(["--cube", str(tmp_path / "mnist.nc"), "--rho", "0.1", *outputs])
    assert (tmp_path / "w.pdf").stat().st_size > 1000
    figure = way.draw(cube, "0.1")
    for row in np.reshape(figure.axes, (2, 4)):
        lines = [{line.get_gid(): line for line in ax.lines} for ax in row]
        for place in (0, 1):
            np.testing.assert_allclose(lines[0][f"loss {place}"].get_ydata(), [0, 0.2, 0.5])
            # 0.5 t / 4 + (0.5 t)^2 / 2 at t = 0, 1/2, 1.
            found = lines[0][f"quadratic {place}"].get_ydata()
            np.testing.assert_allclose(found, [0, 0.0625 + 0.03125, 0.125 + 0.125])
            np.testing.assert_allclose(lines[1][f"curvature {place}"].get_ydata()[1:], [2, 1])
            np.testing.assert_allclose(lines[2][f"alignment {place}"].get_ydata(), [0.1, 0.2, 0.3])
        np.testing.assert_allclose(lines[3]["found_rest"].get_ydata(), -0.4)
        np.testing.assert_allclose(lines[3]["predicted_principal"].get_ydata(), 0.2)
        np.testing.assert_allclose(lines[1]["sam_edge"].get_ydata(), 1)
    with pytest.raises(UserError, match=r"nothing of the way to the SAM point; give way\.at"):
        way.draw(made_cube(), "0.1")

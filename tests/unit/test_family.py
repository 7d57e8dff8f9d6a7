"""Figures of tasks of a family: over their batch sizes, and along training."""

import numpy as np
import pytest
import yaml

import plot_family
from samedge.base.errors import UserError
from samedge.config import experiment as configuration
from samedge.figures import family
from samedge.records import cubes, files
from samedge.records.schema import STOCHASTIC_KEYS
from synthetic import grid_settings, made_cube, run

ETAS = ["0.1", "0.3"]


def cube_of(folder, task, batch_size, ratio):
    """Return a cube of a task all of whose minibatch quantities are at a ratio to 2/eta."""
    changes = {"dataset": {"name": "mnist", "train_examples": 100, "test_examples": 50}}
    settings = grid_settings(
        task,
        eta=ETAS,
        rho=["0", "0.1"],
        seeds=(0, 1),
        batch_size=batch_size,
        stochastic={"batches": 4, "examples": None},
        **changes,
    )
    for one in settings:
        whole = run(one)
        factor = 1 + one.seed  # seed 1 lies at twice of it
        for name in STOCHASTIC_KEYS:
            whole[name][:] = np.full(whole.sizes["check"], factor * ratio * 2 / float(one.eta))
        files.write(whole, folder / task / f"{one.name}.nc")
    return cubes.collect(settings, folder / task)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for task in ("mnist", "cifar10"):
        (folder / task).mkdir()
    return {
        "mnist": cube_of(folder, "mnist", 10, 0.4),
        "cifar10": cube_of(folder, "cifar10", None, 0.8),
    }


def test_over_batch_sizes_medians_stand_at_each(members, tmp_path):
    for task, cube in members.items():
        files.write(cube, tmp_path / f"{task}.nc")
    outputs = ["--output-pdf", str(tmp_path / "f.pdf"), "--output-png", str(tmp_path / "f.png")]
    paths = [str(tmp_path / f"{task}.nc") for task in members]
    plot_family.main(["--cubes", *paths, "--along", "batch_size", "--name", "mine", *outputs])
    assert (tmp_path / "f.pdf").stat().st_size > 1000
    figure = family.draw(members, "batch_size", "mine")
    rows = np.reshape(figure.axes, (5, 2))
    for ax in rows[0]:
        lines = {line.get_gid(): line for line in ax.lines if line.get_gid() != "seeds 0"}
        np.testing.assert_allclose(lines["median 0"].get_xdata(), [10, 100])
        # The seeds are at 0.4 and 0.8, at 0.8 and 1.6.
        np.testing.assert_allclose(lines["median 0"].get_ydata(), [0.6, 1.2])
        np.testing.assert_allclose(lines["threshold"].get_ydata(), 1)
    for ax in rows[-1]:
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["10", "all"]
    assert rows[0, 1].get_title(loc="left") == r"$\eta$ = 0.3"


def test_along_training_every_run_is_drawn_at_its_eta(members):
    moved = {"mnist": members["mnist"], "cifar10": members["cifar10"].isel(eta=[1])}
    figure = family.draw(moved, "step", "mine")
    rows = np.reshape(figure.axes, (4, 2))
    low = {line.get_gid() for line in rows[0, 0].lines}
    assert low == {r"mnist, $\rho$ = 0", r"mnist, $\rho$ = 0.1"}
    high = [line for line in rows[0, 1].lines if line.get_gid() == r"cifar10, $\rho$ = 0.1"]
    own = members["cifar10"].isel(eta=1, rho=1)
    for seed, line in enumerate(high):
        np.testing.assert_allclose(line.get_ydata(), np.abs(own["eigenvalue"].values[seed, :, 0]))
        np.testing.assert_allclose(line.get_xdata(), own["step"].values[seed])
    # Without minibatches measured the rows that need them are left out, no more.
    plain = family.draw({"mnist": made_cube()}, "batch_size", "mine")
    assert len(plain.axes) == made_cube().sizes["eta"]
    gone = members["mnist"].copy(deep=True)
    gone["status"][:] = 1
    with pytest.raises(UserError, match="family mine: no run of mnist has completed"):
        family.draw({"mnist": gone}, "step", "mine")


@pytest.fixture
def config(repository):
    return yaml.safe_load((repository / "config.yaml").read_text())


@pytest.mark.parametrize(
    ("one", "problem"),
    [
        (
            {"tasks": ["mnits"], "along": "step"},
            r"one\.tasks: .*no task 'mnits'.*'mnist'",
        ),
        (
            {"tasks": ["mnist", "mnist"], "along": "step"},
            r"one\.tasks: mnist is listed 2",
        ),
        ({"tasks": ["mnist"], "along": "steps"}, r"families\.one\.along"),
        (
            {"tasks": ["tiny_shakespeare"], "along": "batch_size"},
            r"families\.one\.along: batch_size, and .*train_examples is null.*give their number",
        ),
    ],
)
def test_a_family_that_cannot_be_is_named(config, one, problem):
    with pytest.raises(UserError, match=problem):
        configuration.validate(config | {"families": {"one": one}})


def test_families_come_back_and_can_be_left_out(config, tmp_path):
    families = {"one": {"tasks": ["mnist", "cifar10"], "along": "step"}, "none": None}
    experiment = configuration.validate(config | {"families": families})
    assert [*experiment.families] == ["one"]
    again = tmp_path / "config.json"
    again.write_text(configuration.resolved(experiment))
    assert configuration.load([again]).families == experiment.families

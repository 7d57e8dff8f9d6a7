"""Two experiments side by side: what differs beyond seed noise, and what does not."""

import math

import numpy as np
import pytest

import compare_experiments
from samedge.analysis import comparison
from samedge.analysis.claims import load_claims
from samedge.analysis.quantities import STOCHASTIC
from samedge.base.errors import UserError
from samedge.records import files
from synthetic import made_cube, paper_like

CLAIMS = load_claims()
SEEDS = (0, 1, 2)


def changed(**changes):
    """Return paper-like curves, some of them changed: functions of the old curve, eta and rho."""

    def curves(task, eta, rho, seed, t):
        made = paper_like(task, eta, rho, seed, t)
        return made | {name: change(made[name], eta, rho) for name, change in changes.items()}

    return curves


def compared(first, second):
    """Return what is said of two cubes of one task."""
    return comparison.compare({"mnist": first}, {"mnist": second}, CLAIMS)


def test_an_experiment_does_not_differ_from_itself():
    cube = made_cube(seeds=SEEDS)
    text = compared(cube, cube)
    assert text.count("no difference") == 3
    assert "- 0 of " in text


def test_a_difference_beyond_the_seeds_is_found_in_its_cell_alone():
    # The loss differs by 0.1 % between seeds; here by a factor of two at one eta and rho.
    second = made_cube(
        seeds=SEEDS,
        curves=changed(
            training_loss=lambda old, eta, rho: old * (2 if (eta, rho) == (0.1, 0.1) else 1)
        ),
    )
    lines = list(comparison.statistic_lines({"mnist": made_cube(seeds=SEEDS)}, {"mnist": second}))
    named = [line for line in lines[1:] if ", final_loss:" in line]
    assert len(named) == 1
    assert named[0].startswith("mnist, η = 0.1, ρ = 0.1, final_loss: ")
    assert all("η = 0.1, ρ = 0.1" in line for line in lines[1:])


def test_what_is_within_the_seeds_is_no_difference():
    # Shifted by half of the distance between seeds: the ranges overlap.
    second = made_cube(
        seeds=SEEDS, curves=changed(training_loss=lambda old, eta, rho: old * 1.0005)
    )
    lines = list(comparison.statistic_lines({"mnist": made_cube(seeds=SEEDS)}, {"mnist": second}))
    assert not [line for line in lines if "final_loss" in line]


def test_the_number_expected_by_chance_is_that_of_random_draws():
    generator = np.random.default_rng(0)
    draws = generator.normal(size=(20_000, 2, 3))
    low, high = draws.min(axis=2), draws.max(axis=2)
    apart = (high[:, 0] < low[:, 1]) | (high[:, 1] < low[:, 0])
    assert apart.mean() == pytest.approx(2 / math.comb(6, 3), rel=0.1)
    cube = made_cube(seeds=SEEDS, eta=("0.1",), rho=("0",))
    # One compares η, of which there is one; those of minibatches were not measured.
    count = len(comparison.STATISTICS) - 1 - len(STOCHASTIC)
    (line,) = comparison.statistic_lines({"mnist": cube}, {"mnist": cube})
    assert line.startswith(f"0 of {count} are apart, where by chance about {count / 10:.3g} would")


def test_a_seed_each_is_not_compared():
    cube = made_cube()
    (line,) = comparison.statistic_lines({"mnist": cube}, {"mnist": cube})
    assert line.startswith("not compared")


def test_settings_data_endings_and_verdicts_that_differ_are_named():
    first = made_cube(seeds=SEEDS)
    curves = changed(eigenvalue=lambda old, eta, rho: old * [1, 0.9, 0.5])
    second = made_cube(
        eta=("0.03", "0.1", "0.3", "1.0"),
        seeds=SEEDS,
        curves=lambda task, eta, rho, seed, t: (
            None if (eta, rho, seed) == (0.3, 0.1, 2) else curves(task, eta, rho, seed, t)
        ),
    ).assign_attrs(data_checksum="decaf")
    text = compared(first, second)
    assert 'mnist: eta is ["0.03", "0.1", "0.3"] in the first' in text
    assert "data_checksum is c0ffee in the first, decaf in the second" in text
    assert "η = 0.3, ρ = 0.1: 3 of 3 seeds completed in the first, 2 of 3 in the second" in text
    assert "top_three_close, mnist: holds (0.95) in the first, fails (0.475) in the second" in text
    assert "tiny_shakespeare" not in text
    alone = comparison.compare(
        {"mnist": first}, {"mnist": first, "cifar10": made_cube("cifar10")}, CLAIMS
    )
    assert "cifar10: only in the second" in alone


def test_the_script_reads_results_a_folder_or_a_file(tmp_path, capsys):
    cube = made_cube(seeds=SEEDS)
    folder = tmp_path / "results/cubes"
    files.write(cube, folder / "mnist.nc")
    files.write(cube, folder / "mnist.converged.nc")
    for path in (folder.parent, folder, folder / "mnist.nc"):
        compare_experiments.main([str(path), str(folder)])
        assert capsys.readouterr().out.count("no difference") == 3
    with pytest.raises(UserError, match="no cubes in it"):
        compare_experiments.main([str(tmp_path), str(folder)])
    with pytest.raises(UserError, match="no such file"):
        compare_experiments.main([str(tmp_path / "absent.nc"), str(folder)])
    files.write(cube, folder / "again.nc")
    with pytest.raises(UserError, match=r"both hold the task 'mnist'; give one cube a task"):
        compare_experiments.main([str(folder), str(folder)])

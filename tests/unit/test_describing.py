"""A cube in words: the same facts for the report, the explorer and the archive."""

import dataclasses
from typing import Any

import pytest

from samedge.config.settings import StartSettings
from samedge.records import describe, files
from synthetic import made_cube, run, run_settings


def test_a_caption_says_what_was_trained_how_and_what_came_of_it(tmp_path):
    cube = made_cube(curves=lambda *place: None)
    files.write(cube, tmp_path / "cube.nc")
    text = describe.caption(tmp_path / "cube.nc")
    assert (
        "**Model:** mlp (depth 4, width 20); loss squared\\_error; full batch; 400 steps." in text
    )
    assert "**Runs:** η = 0.03, 0.1, 0.3; ρ = 0, 0.1; seeds 0." in text
    assert "eta0.03\\_rho0\\_seed0 (diverged at step 7: )" in text
    assert "They stand in for the paper's." in text


def test_a_caption_without_a_cube_says_why(tmp_path):
    assert describe.caption(tmp_path / "none.nc").endswith("none.nc: no such file")


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"steps": 12_000, "hours": None}, "12,000 steps"),
        ({"steps": None, "hours": 1.0}, "1 hours"),
        ({"steps": 1_000_000, "hours": 0.5}, "1,000,000 steps or 0.5 hours"),
    ],
)
def test_every_description_has_one_wording_of_a_budget(budget, words):
    cube = run(run_settings(budget=budget))
    assert ["Budget", words] in describe.facts(cube)
    assert f"{words}." in describe.caption_of(cube)


def test_a_fork_says_which_runs_it_starts_from():
    template: dict[str, Any] = dict.fromkeys(("eta", "rho", "seed"), "")
    start = StartSettings(0.5, dataclasses.replace(run_settings(), **template), rho="0")
    fork = dataclasses.replace(run_settings(), start_from=start)
    facts = dict(describe.facts(run(fork)))
    assert facts["Starts from"] == "mnist with rho = 0, at 0.5 of its budget"
    assert "Starts from" not in dict(describe.facts(run(run_settings())))


def test_values_in_which_runs_differ_are_joined():
    cube = made_cube().assign_attrs(device='["NVIDIA H100", "cpu"]', git_commit='["", "c0ffee"]')
    facts = dict(describe.facts(cube))
    assert (facts["Device"], facts["Revision"]) == ("NVIDIA H100, cpu", "c0ffee")
    assert "Device: NVIDIA H100, cpu." in describe.training_description(cube)

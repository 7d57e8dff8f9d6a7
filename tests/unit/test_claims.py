"""The paper's claims, each on a cube made to satisfy it and on one made to violate it."""

import csv
import json
import math

import numpy as np
import pytest
from matplotlib.backends import backend_agg

import judge_claims
from samedge.analysis.claims import TABLE, load_claims
from samedge.analysis.quantities import median_over_seeds
from samedge.analysis.statistics import STATISTICS
from samedge.analysis.verdicts import (
    FAILS,
    FORMULA,
    HOLDS,
    MIXED,
    NOT_TESTABLE,
    judge,
    judge_all,
    report,
)
from samedge.base.errors import UserError
from samedge.config import experiment as configuration
from samedge.config.paper_figures import FIGURES
from samedge.figures import claims, edge_map, paper
from samedge.records import files
from samedge.records.schema import MISSING
from synthetic import GRIDS, made_cube, paper_like

CLAIMS = {claim.name: claim for claim in load_claims()}
RHO = {task: rho[-1] for task, (_, rho) in GRIDS.items()}


def changed(**changes):
    """Return paper-like curves with some variables changed: functions of run and old curve."""

    def curves(task, eta, rho, seed, t):
        made = paper_like(task, eta, rho, seed, t)
        return made | {name: change(made[name], eta, rho, t) for name, change in changes.items()}

    return curves


def scaled(factor):
    """Return a change that multiplies a curve by a function of (eta, rho)."""
    return lambda old, eta, rho, t: old * factor(eta, rho)


# What breaks each claim, and nothing that is meant to: curves of every run.
VIOLATIONS = {
    "gd_at_edge_at_largest_eta": {"eigenvalue": scaled(lambda eta, rho: 1 if rho else 0.5)},
    "gd_reaches_edge_at_larger_eta": {
        "eigenvalue": scaled(lambda eta, rho: 0.5 if eta == 0.003 else 1)
    },
    "gd_below_edge_at_smallest_eta": {"eigenvalue": scaled(lambda eta, rho: 1 if rho else 1.6)},
    "sam_tracks_edge": {"eigenvalue": scaled(lambda eta, rho: 0.6 if rho else 1)},
    "sam_tracks_edge_at_many_eta_and_rho": {
        "eigenvalue": scaled(lambda eta, rho: 0.6 if rho else 1)
    },
    "sam_at_edge_at_more_eta": {"eigenvalue": scaled(lambda eta, rho: 0.6 if rho else 1)},
    "sam_at_edge_where_gd_is_not": {
        "eigenvalue": scaled(lambda eta, rho: 0.6 if rho and eta < 0.003 else 1)
    },
    "sam_edge_far_below_gd_edge_early": {
        "sam_edge": lambda old, eta, rho, t: np.where(t < 0.25, 2 / eta, old)
    },
    "sam_order_below_gd": {"eigenvalue": scaled(lambda eta, rho: 4 if rho else 1)},
    "sam_orders_below_gd_edge": {"eigenvalue": scaled(lambda eta, rho: 4 if rho else 1)},
    "sam_well_below_sgd": {"eigenvalue": scaled(lambda eta, rho: 6 if rho else 1)},
    "sam_flatter_early": {
        "eigenvalue": lambda old, eta, rho, t: (
            old * np.where((t < 0.25) & (rho > 0), 50, 1)[:, None]
        )
    },
    "sam_minima_wider": {"eigenvalue": scaled(lambda eta, rho: 60 if rho else 1)},
    "edge_tends_to_fall": {"sam_edge": lambda old, eta, rho, t: old * np.exp(t)},
    "edge_falls_with_gradient": {"gradient_norm": lambda old, eta, rho, t: 1 + t},
    "sam_flat_while_loss_high": {
        "eigenvalue": lambda old, eta, rho, t: old * np.where((t < 0.7) & (rho > 0), 20, 1)[:, None]
    },
    "top_three_close": {"eigenvalue": lambda old, eta, rho, t: old * [1, 0.9, 0.5]},
    "loss_like_gd": {"training_loss": scaled(lambda eta, rho: 3 if rho else 1)},
    "loss_not_sacrificed": {"training_loss": scaled(lambda eta, rho: 6 if rho else 1)},
    "loss_better_at_larger_eta": {"training_loss": scaled(lambda eta, rho: 4 if rho else 1)},
    "loss_later_than_sgd": {"training_loss": lambda old, eta, rho, t: 2 + 2 * np.exp(-9 * t)},
    "loss_similar_to_sgd": {"training_loss": lambda old, eta, rho, t: old + (t > 0.5) * (rho > 0)},
    "gradients_align": {"gradient_alignment": scaled(lambda eta, rho: 0.1)},
    "alignment_stronger_at_larger_eta": {
        "sam_gradient_alignment": scaled(lambda eta, rho: 0.8 if eta >= 0.003 else 1)
    },
    "sam_gradient_aligns_more": {"sam_gradient_alignment": scaled(lambda eta, rho: 0.5)},
    "sam_gradient_aligns_more_at_larger_eta": {
        "sam_gradient_alignment": scaled(lambda eta, rho: 0.5)
    },
    "sam_gradient_aligns_less_at_smaller_eta": {
        "sam_gradient_alignment": scaled(lambda eta, rho: 2)
    },
    "sgd_partly_at_edge": {"eigenvalue": scaled(lambda eta, rho: 1 if rho else 0.5)},
    "negative_eigenvalues_small": {"smallest_eigenvalue": scaled(lambda eta, rho: 10)},
}
JUDGED = [(claim, task) for claim in CLAIMS.values() for task in claim.tasks]


@pytest.fixture(scope="module")
def cubes():
    """Return cubes of three seeds in which every claim holds."""
    return {task: made_cube(task, seeds=(0, 1, 2)) for task in GRIDS}


@pytest.mark.parametrize(("claim", "task"), JUDGED, ids=lambda one: getattr(one, "name", one))
def test_a_claim_holds_where_it_is_made_to_and_fails_where_it_is_violated(claim, task, cubes):
    held = judge(claim, task, cubes[task], RHO[task])
    assert held.verdict == HOLDS, held
    assert list(held.effects) == [0, 1, 2]
    assert held.low <= held.effect <= held.high
    assert held.coverage == 0.75
    violated = made_cube(task, seeds=(0, 1), curves=changed(**VIOLATIONS[claim.name]))
    broken = judge(claim, task, violated, RHO[task])
    assert broken.verdict == FAILS, broken


def test_every_claim_about_runs_has_a_violation():
    assert VIOLATIONS.keys() == {name for name, claim in CLAIMS.items() if claim.tasks}


def test_the_formula_is_judged_without_a_cube(monkeypatch):
    claim = CLAIMS["edge_ratio_limits"]
    assert judge(claim, FORMULA, None, "0").verdict == HOLDS
    monkeypatch.setattr("samedge.analysis.claims.edge_ratio", lambda alpha: alpha / (1 + alpha))
    assert judge(claim, FORMULA, None, "0").verdict == FAILS


def test_every_combination_is_of_every_radius_that_is_not_zero():
    claim = CLAIMS["sam_tracks_edge_at_many_eta_and_rho"]
    off = changed(eigenvalue=scaled(lambda eta, rho: 0.6 if rho == 0.3 and eta < 0.1 else 1))
    judged = judge(claim, "mnist", made_cube(rho=("0", "0.1", "0.3"), curves=off), "0.1")
    assert judged.effect == pytest.approx(5 / 6)
    assert "the runs with every ρ > 0 and every η" in claim.definition


def test_seeds_that_disagree_are_mixed():
    claim = CLAIMS["top_three_close"]

    def curves(task, eta, rho, seed, t):
        violation = changed(**VIOLATIONS[claim.name]) if seed == 1 else paper_like
        return violation(task, eta, rho, seed, t)

    judged = judge(claim, "mnist", made_cube(seeds=(0, 1, 2), curves=curves), "0.1")
    assert judged.verdict == MIXED
    assert judged.low < 0.9 < judged.effect


def diverges(unlucky):
    """Return paper-like curves of which those runs diverge: a function of (eta, rho, seed)."""
    return lambda task, eta, rho, seed, t: (
        None if unlucky(eta, rho, seed) else paper_like(task, eta, rho, seed, t)
    )


def test_a_run_that_diverged_is_named_and_counts_as_off_the_edge():
    cube = made_cube(curves=diverges(lambda eta, rho, seed: (eta, rho) == (0.3, 0.1)))
    tracks = judge(CLAIMS["sam_tracks_edge"], "mnist", cube, "0.1")
    assert tracks.effect == pytest.approx(2 / 3)
    close = judge(CLAIMS["top_three_close"], "mnist", cube, "0.1")
    assert close.verdict == HOLDS
    assert close.left_out == ("eta0.3_rho0.1_seed0",)
    largest = judge(CLAIMS["gd_at_edge_at_largest_eta"], "mnist", cube, "0.1")
    assert largest.verdict == HOLDS and not largest.left_out


@pytest.mark.parametrize(
    ("name", "task", "cube", "reason"),
    [
        ("top_three_close", "mnist", None, "no task 'mnist'; add it to tasks"),
        ("top_three_close", "mnist", {"rho": ("0", "0.3")}, "no runs with ρ = 0.1; add it to"),
        ("loss_like_gd", "mnist", {"rho": ("0.1",)}, "no runs with ρ = 0 beside it; add 0 to"),
        ("sgd_partly_at_edge", "tiny_shakespeare", {"rho": ("0.3",)}, "no runs with ρ = 0; add"),
        ("gd_at_edge_at_largest_eta", "mnist", {"eta": ("0.3",)}, "one η alone; give tasks.mnist"),
        (
            "sam_tracks_edge_at_many_eta_and_rho",
            "mnist",
            {"rho": ("0",)},
            "no runs with ρ > 0; add",
        ),
        ("top_three_close", "mnist", {"checks": 3}, "raise checks.count"),
        (
            "top_three_close",
            "mnist",
            {"curves": diverges(lambda eta, rho, seed: rho > 0)},
            "eta0.3_rho0.1_seed0 diverged at step 7); lower η or ρ",
        ),
    ],
)
def test_what_is_not_testable_says_why_and_what_would_make_it_so(name, task, cube, reason):
    cube = None if cube is None else made_cube(task, **cube)
    judged = judge(CLAIMS[name], task, cube, RHO[task])
    assert judged.verdict == NOT_TESTABLE
    assert reason in judged.reason
    assert math.isnan(judged.effect)


def test_chance_needs_the_number_of_parameters_that_a_density_brings():
    cube = made_cube()
    cube = cube.drop_vars([name for name in cube.data_vars if name.startswith("density")])
    judged = judge(CLAIMS["gradients_align"], "mnist", cube, "0.1")
    assert judged.verdict == NOT_TESTABLE and "density.at" in judged.reason


def test_missing_runs_are_to_be_trained():
    cube = made_cube()
    cube["status"][:] = MISSING
    judged = judge(CLAIMS["top_three_close"], "mnist", cube, "0.1")
    assert "missing" in judged.reason and "train them" in judged.reason


def test_the_table_refers_to_what_there_is():
    for claim in CLAIMS.values():
        assert set(claim.figures) <= FIGURES.keys()
        for number in claim.figures:
            assert FIGURES[number].task in (claim.tasks or ("",)), claim.name
        assert claim.why.endswith(".") and claim.claim.endswith(".")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'statistic = "edge_ratio"',
            'statistic = "edge_ration"',
            "statistic is 'edge_ration'; did you mean 'edge_ratio'",
        ),
        ('rho = "zero"', 'rho = "none"', "rho is 'none'.*known: all, figure, sam, zero"),
        ("holds = { at_least", "holds = { atleast", "holds must have some of at_least"),
        ('over = "median"', 'ower = "median"', "missing or unknown: over, ower"),
        ("[gd_at", "gd_at", "not a table of claims"),
        (
            'section = "4.1"\n',
            "",
            "gd_at_edge_at_largest_eta: says not who claims it; give section",
        ),
        ("[gd_at_edge", "extra = 3\n[gd_at_edge", r"extra: must be a table of its own, \[extra\]"),
    ],
)
def test_a_mistake_in_the_table_is_named(tmp_path, old, new, message):
    (tmp_path / "claims.toml").write_text(TABLE.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        load_claims(tmp_path / "claims.toml")


def outputs(folder):
    """Return the options of the script that say where to write."""
    options = {"csv": "csv", "json": "json", "output-pdf": "pdf", "output-png": "png"}
    return [
        word
        for option, kind in options.items()
        for word in (f"--{option}", str(folder / f"claims.{kind}"))
    ]


def written(folder, cubes):
    """Judge cubes by the script; return rows of the CSV and the JSON."""
    paths = []
    for task, cube in cubes.items():
        paths.append(folder / f"{task}.nc")
        files.write(cube, paths[-1])
    judge_claims.main(
        ["--cubes", *map(str, paths), "--rho", *(RHO[task] for task in cubes), *outputs(folder)]
    )
    with (folder / "claims.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file)), json.loads((folder / "claims.json").read_text())


def test_the_script_writes_what_was_judged(tmp_path, cubes):
    rows, whole = written(tmp_path, cubes)
    assert len(rows) == len(JUDGED) + 1 == len(whole["claims"])
    assert {row["verdict"] for row in rows} == {HOLDS}
    by_name = {(one["claim"], one["task"]): one for one in whole["claims"]}
    found = by_name["sam_tracks_edge", "mnist"]
    assert found["effects"] == {"0": 1.0, "1": 1.0, "2": 1.0}
    assert found["stand_in"] is True
    runs = whole["runs"]["tiny_shakespeare"]
    assert len(runs) == 6 * 2 * 3
    assert set(STATISTICS) <= runs[0].keys()
    assert runs[0]["eta"] == "0.01" and runs[0]["ending"] == "completed"
    assert whole["statistics"]["edge_ratio"].startswith("median over")


def test_the_same_cubes_give_the_same_files(tmp_path, cubes):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, {"mnist": cubes["mnist"]})
    for kind in ("csv", "json", "png", "pdf"):
        first, second = (tmp_path / name / f"claims.{kind}" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_a_radius_for_each_cube_is_asked_for(tmp_path):
    with pytest.raises(UserError, match="2 cubes, 1 radii"):
        judge_claims.main(["--cubes", "a.nc", "b.nc", "--rho", "0.1", *outputs(tmp_path)])


def texts(figure):
    """Return all that is written on a figure."""
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_the_page_shows_every_verdict_with_its_effect(cubes):
    some = {task: cubes[task] for task in ("mnist", "cifar10")}
    judged = judge_all(list(CLAIMS.values()), list(some.values()), RHO)
    shown = texts(claims.draw(judged, list(some)))
    for one in judged:
        sign = claims.LOOKS[one.verdict][1]
        cell = f"{sign} {one.verdict}"
        if one.effects:
            cell = f"{sign} {claims.number(one.effect)}"
        assert cell in shown, one.claim.name
    assert {one.verdict for one in judged if one.task == "tiny_shakespeare"} == {NOT_TESTABLE}
    assert any(
        "stand-ins for the paper's data: cifar10, mnist" in " ".join(t.split()) for t in shown
    )


def test_the_report_keeps_effects_that_are_infinite_or_not_there():
    cube = made_cube(
        "tiny_shakespeare", curves=changed(training_loss=lambda old, e, rho, t: 4 - t * (not rho))
    )
    judged = judge(CLAIMS["loss_later_than_sgd"], "tiny_shakespeare", cube, "0.3")
    assert judged.effect == math.inf
    entry = report([judged], [])["claims"][0]
    assert entry["effect"] == "inf"
    json.dumps(entry, allow_nan=False)


def test_the_edge_map_has_a_number_for_every_run_and_says_what_diverged():
    cube = made_cube(seeds=(0, 1, 2), curves=diverges(lambda eta, rho, seed: eta == 0.3 and seed))
    figure = edge_map.draw(cube)
    shown = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert [len(cells) for cells in shown] == [6, 6, 6, 6]
    ratio = np.nanmedian(STATISTICS["edge_ratio"].compute(cube), axis=2)
    assert shown[0][0] == f"{ratio[2, 0]:.2f}\n2 of 3 diverged"
    assert shown[0][-1] == f"{ratio[0, 1]:.2f}"
    assert "never" in shown[2]
    gone = edge_map.draw(made_cube(curves=lambda *run: None))
    assert {text.get_text() for ax in gone.axes for text in ax.texts} == {"diverged"}


def test_a_large_edge_map_has_colours_for_numbers_and_crosses_for_what_diverged(monkeypatch):
    monkeypatch.setattr(edge_map, "MOST_ROWS", 3)
    etas = tuple(str(number) for number in range(1, 6))
    gone = {(1.0, 0.0), (4.0, 0.1)}
    cube = made_cube(eta=etas, curves=diverges(lambda eta, rho, seed: (eta, rho) in gone))
    figure = edge_map.draw(cube)
    assert len(figure.axes) == 8  # a bar for each map
    for ax in figure.axes[:4]:
        assert not ax.texts
        colours, crosses = ax.collections
        assert colours.get_array().shape == (5, 2)
        assert {tuple(place) for place in crosses.get_offsets()} == {(0.5, 4.5), (1.5, 1.5)}
        assert [label.get_text() for label in ax.get_yticklabels()] == ["5", "", "3", "", "1"]
    numbers = edge_map.draw(made_cube())
    assert len(numbers.axes) == 4
    assert tuple(figure.get_size_inches()) == tuple(numbers.get_size_inches())


def test_the_labels_of_an_edge_map_are_measured_with_one_renderer(monkeypatch):
    # Each is as large as the picture, and they outlive their use.
    renderers = []

    class Counted(backend_agg.RendererAgg):
        def __init__(self, *size: float) -> None:
            renderers.append(size)
            super().__init__(*size)

    monkeypatch.setattr(backend_agg, "RendererAgg", Counted)
    edge_map.draw(made_cube())
    assert len(renderers) == 1


@pytest.mark.parametrize(
    ("values", "median"),
    [([1, 2, 9], 2), ([1, 2], 1.5), ([1, math.inf], math.inf), ([math.nan, 3], 3)],
)
def test_the_median_over_seeds_knows_infinity_and_what_is_missing(values, median):
    assert median_over_seeds(np.array([values], float)) == [median]
    assert math.isnan(median_over_seeds(np.array([[math.nan] * 2]))[0])


def test_several_seeds_are_a_median_and_its_range():
    cube = made_cube(seeds=(0, 1, 2), eta=("0.1",))
    for number in (4, 5, 6):
        figure = paper.draw(FIGURES[number], cube, "0.1", "step")
        ax = figure.axes[0]
        assert {line.get_alpha() for line in ax.lines} <= {1.0, None}
        assert any("medians over 3 seeds; bands: their range" in t.get_text() for t in figure.texts)
    magnitudes = np.abs(cube["eigenvalue"].values[0, 1, :, :, 0])
    ax = paper.draw(FIGURES[4], cube, "0.1", "step").axes[0]
    lines = {line.get_gid(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["eigenvalue 1"].get_ydata(), np.median(magnitudes, axis=0))
    (band,) = [patch for patch in ax.collections if patch.get_gid() == "range 1"]
    corners = band.get_paths()[0].vertices[:, 1]
    assert corners.max() == magnitudes.max() and corners.min() == magnitudes.min()


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("sam_orders_below_gd_edge", HOLDS), ("sam_flat_while_loss_high", NOT_TESTABLE)],
)
def test_whether_a_claim_needs_runs_without_sam_is_not_a_matter_of_spelling(name, verdict):
    """2/η is no run; progress_when_flat compares with runs, and has no "gd" in its name."""
    claim = CLAIMS[name]
    [task] = claim.tasks
    judged = judge(claim, task, made_cube(task, rho=("0.1",)), "0.1")
    assert judged.verdict == verdict, judged
    if verdict == NOT_TESTABLE:
        assert judged.reason == f"there are no runs with ρ = 0 beside it; add 0 to tasks.{task}.rho"


MINE = """
[flatter]
claim = "SAM leads to lower sharpness."
source = "Foret et al. 2021, arXiv 2010.01412"
tasks = ["mnist"]
statistic = "gd_sharpness_over_sam"
rho = "figure"
eta = "all"
over = "median"
effect = "|λ1| without over with SAM"
holds = { above = 1 }
why = "Lower is lower."
"""


def test_a_table_of_ones_own_is_judged_in_place_of_the_papers(tmp_path, cubes):
    (tmp_path / "mine.toml").write_text(MINE, encoding="utf-8")
    files.write(cubes["mnist"], tmp_path / "mnist.nc")
    options = ["--cubes", str(tmp_path / "mnist.nc"), "--rho", RHO["mnist"], *outputs(tmp_path)]
    judge_claims.main(["--claims", str(tmp_path / "mine.toml"), *options])
    with (tmp_path / "claims.csv").open(encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert (row["claim"], row["verdict"], row["section"]) == ("flatter", HOLDS, "")
    assert row["source"] == "Foret et al. 2021, arXiv 2010.01412"
    judged = judge_all(load_claims(tmp_path / "mine.toml"), [cubes["mnist"]], RHO)
    written = " ".join(texts(claims.draw(judged, ["mnist"])))
    assert "Claims, judged" in written and "The paper" not in written
    assert (
        "Foret et al. 2021, arXiv 2010.01412. Holds for |λ1| without over with SAM > 1" in written
    )
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(UserError, match="has no claim; give one in a table of its own"):
        load_claims(tmp_path / "empty.toml")


def test_a_claim_may_be_against_the_same_runs_of_another_task(tmp_path):
    (tmp_path / "mine.toml").write_text(
        MINE.replace('rho = "figure"', 'rho = "all"\nagainst = "cifar10"')
        .replace('"gd_sharpness_over_sam"', '"sharpness"')
        .replace("above = 1", "at_least = 2.9, at_most = 3.1")
    )
    [claim] = load_claims(tmp_path / "mine.toml")
    assert claim.definition.endswith("over that of the same run of cifar10")

    def tripled(eta, rho, seed, t):
        found = paper_like("mnist", eta, rho, seed, t)
        return found | {"eigenvalue": 3 * found["eigenvalue"]}

    def plain(eta, rho, seed, t):
        return paper_like("mnist", eta, rho, seed, t)

    grid = {"eta": ("0.1", "0.3"), "rho": ("0", "0.1"), "seeds": (0, 1)}
    cube = made_cube(**grid, curves=lambda task, *point: tripled(*point))
    other = made_cube(
        "cifar10",
        eta=("0.3", "0.1", "1.0"),
        rho=("0.1", "0"),
        seeds=(1, 0, 2),
        curves=lambda task, *point: plain(*point),
    )
    [verdict] = judge_all([claim], [cube, other], RHO)
    assert verdict.verdict == HOLDS and not verdict.left_out
    assert verdict.effect == pytest.approx(3, rel=1e-6)
    # A run that the other task lacks has no number.
    [verdict] = judge_all([claim], [cube, other.isel(eta=other["eta"] != 0.1)], RHO)
    assert {name.partition("_")[0] for name in verdict.left_out} == {"eta0.1"}
    [verdict] = judge_all([claim], [cube], RHO)
    assert verdict.verdict == NOT_TESTABLE
    assert verdict.reason == "the experiment has no task 'cifar10'; add it to tasks"


@pytest.mark.parametrize("name", ["optimizers", "minibatches", "late"])
def test_claims_of_a_configuration_are_about_its_tasks(repository, name):
    paths = [repository / "config.yaml", repository / f"config/{name}.yaml"]
    experiment = configuration.load(paths)
    table = load_claims(experiment.claims)
    named = {task for claim in table for task in claim.tasks}
    assert named <= {*experiment.tasks}
    # Of late runs those that others start from are claimed nothing of.
    assert named == {*experiment.tasks} or name == "late"
    assert {claim.against for claim in table} <= {"", *experiment.tasks}
    assert all(claim.source and not claim.section for claim in table)


def test_a_sharpness_that_rises_is_kept_above_1():
    rising = {
        "mnist": made_cube(
            curves=lambda *point: (
                paper_like(*point) | {"eigenvalue": (1 + 4 * point[-1])[:, None] * [1.0, 0.9, 0.8]}
            )
        )
    }["mnist"]
    kept = STATISTICS["sharpness_kept"].compute(rising)
    # Medians at 0.125 and 0.875 of the way: (1 + 3.5) / (1 + 0.5), but for where checks lie.
    np.testing.assert_allclose(kept, 4.5 / 1.4, rtol=0.05)

"""Claims, judged: a table of claims and the cubes of an experiment in, verdicts out.

Of a claim (:mod:`samedge.analysis.claims`) the runs of one seed give one number, its *effect*, and
the claim holds in that seed if the effect lies in the claim's range. Over seeds it *holds* if it
does in each, *fails* if it does in none, and is *mixed* otherwise; where a needed run or
measurement is not there it is *not testable*.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from samedge.analysis.claims import ETAS, FORMULAS, OVER, Claim
from samedge.analysis.quantities import FEWEST
from samedge.analysis.statistics import STATISTICS
from samedge.records.cubes import ending, run_name
from samedge.records.files import settings_of
from samedge.records.schema import COMPLETED, MISSING

HOLDS, FAILS, MIXED, NOT_TESTABLE = "holds", "fails", "mixed", "not testable"
#: The column of claims about formulas, which need no task.
FORMULA = "formula"


@dataclass(frozen=True)
class Verdict:
    """A claim judged for one task.

    ``effects`` holds the effect of every seed that could be tested. ``low`` and ``high`` are the
    least and the greatest of them; the median of the population of seeds lies between with the
    probability ``coverage``, whatever its distribution.  ``reason`` says why the claim is not
    testable and what would make it so; ``left_out`` names runs that were needed and have no number.
    """

    claim: Claim
    task: str
    verdict: str
    effects: Mapping[int, float] = field(default_factory=dict)
    reason: str = ""
    left_out: tuple[str, ...] = ()
    stand_in: bool = False

    @property
    def effect(self) -> float:
        """The median effect over seeds, NaN without any."""
        return float(np.median([*self.effects.values()])) if self.effects else math.nan

    @property
    def low(self) -> float:
        """The least effect of a seed."""
        return min(self.effects.values(), default=math.nan)

    @property
    def high(self) -> float:
        """The greatest effect of a seed."""
        return max(self.effects.values(), default=math.nan)

    @property
    def coverage(self) -> float:
        """The probability that the population's median lies between ``low`` and ``high``."""
        return 1 - 0.5 ** (len(self.effects) - 1) if self.effects else math.nan


class UntestableError(Exception):
    """Some claim cannot be tested: the message says why, and what would make it testable."""


def judge_all(
    claims: Sequence[Claim], cubes: Sequence[xr.Dataset], figure_rho: Mapping[str, str]
) -> list[Verdict]:
    """Judge every claim for every task that it is made for.

    Parameters
    ----------
    claims
        From :func:`load_claims`.
    cubes
        The cube of each task of the experiment, the diverged runs included.
    figure_rho
        For each task the radius of the SAM runs that the paper's figures show.
    """
    by_task = {settings_of(cube)["task"]: cube for cube in cubes}
    return [
        judge(
            claim,
            task,
            by_task.get(task),
            figure_rho.get(task, "0"),
            against=by_task.get(claim.against),
        )
        for claim in claims
        for task in claim.tasks or (FORMULA,)
    ]


def judge(
    claim: Claim,
    task: str,
    cube: xr.Dataset | None,
    figure_rho: str,
    against: xr.Dataset | None = None,
) -> Verdict:
    """Judge one claim for one task.

    ``cube`` and that of the task that the claim is ``against``, if it is against one, are None
    where the experiment lacks the task.
    """
    if not claim.tasks:
        effect = float(FORMULAS[claim.statistic][1]())
        return Verdict(claim, task, HOLDS if claim.holds_at(effect) else FAILS, {0: effect})
    stand_in = cube is not None and str(cube.attrs["data_stand_in"]) not in ("0", "False")
    try:
        if cube is None:
            raise UntestableError(f"the experiment has no task '{task}'; add it to tasks")
        if claim.against and against is None:
            raise UntestableError(f"the experiment has no task '{claim.against}'; add it to tasks")
        values, names = _selected(claim, task, cube, figure_rho, against)
    except UntestableError as error:
        return Verdict(claim, task, NOT_TESTABLE, reason=str(error), stand_in=stand_in)
    effects, left_out = {}, []
    for number, seed in enumerate(cube["seed"].values):
        found = values[..., number].ravel()
        known = ~np.isnan(found)
        left_out += [name for name, good in zip(names[number], known, strict=True) if not good]
        if known.any():
            effects[int(seed)] = float(OVER[claim.over](found[known]))
    if not effects:
        reason = _missing_measurements(cube, left_out)
        return Verdict(claim, task, NOT_TESTABLE, {}, reason, tuple(left_out), stand_in)
    held = [claim.holds_at(effect) for effect in effects.values()]
    verdict = HOLDS if all(held) else MIXED if any(held) else FAILS
    return Verdict(claim, task, verdict, effects, "", tuple(left_out), stand_in)


def run_table(cube: xr.Dataset) -> list[dict[str, Any]]:
    """Return every statistic of every run of a cube, one dictionary per run; NaN is None."""
    computed = {name: entry.compute(cube) for name, entry in STATISTICS.items()}
    return [
        {
            "eta": str(cube["eta_label"].values[point[0]]),
            "rho": str(cube["rho_label"].values[point[1]]),
            "seed": int(cube["seed"].values[point[2]]),
            "ending": ending(cube, *point),
        }
        | {name: json_number(float(values[point])) for name, values in computed.items()}
        for point in np.ndindex(cube["status"].shape)
    ]


def json_number(number: float) -> float | str | None:
    """Return six digits of a number as JSON knows it: None for NaN, "inf" for infinity."""
    if math.isnan(number):
        return None
    return float(f"{number:.6g}") if math.isfinite(number) else "inf" if number > 0 else "-inf"


def as_row(judged: Verdict) -> dict[str, Any]:
    """Return a judged claim as plain values, as both output files have it."""
    claim = judged.claim
    return {
        "claim": claim.name,
        "task": judged.task,
        "verdict": judged.verdict,
        "effect": json_number(judged.effect),
        "low": json_number(judged.low),
        "high": json_number(judged.high),
        "coverage": json_number(judged.coverage),
        "seeds": len(judged.effects),
        "seeds_held": sum(claim.holds_at(effect) for effect in judged.effects.values()),
        "effect_is": claim.effect,
        "range": claim.range,
        "wording": claim.claim,
        "section": claim.section,
        "figures": " ".join(map(str, claim.figures)),
        "source": claim.source,
        "statistic": claim.definition,
        "why": claim.why,
        "stand_in": judged.stand_in,
        "reason": judged.reason,
        "left_out": "; ".join(judged.left_out),
    }


def _selected(
    claim: Claim, task: str, cube: xr.Dataset, figure_rho: str, against: xr.Dataset | None
) -> tuple[np.ndarray, list[list[str]]]:
    """Return the statistic of the claim's runs, (eta, rho, seed), and their names by seed."""
    radii = cube["rho"].values
    rhos = np.arange(len(radii))
    if claim.rho == "sam":
        rhos = np.flatnonzero(radii > 0)
        if not rhos.size:
            raise UntestableError(f"there are no runs with ρ > 0; add one to tasks.{task}.rho")
    elif claim.rho != "all":
        wanted = 0.0 if claim.rho == "zero" else float(figure_rho)
        rhos = np.flatnonzero(np.isclose(radii, wanted, rtol=1e-12, atol=0))
        if not rhos.size or (claim.rho == "figure" and wanted == 0):
            raise UntestableError(
                f"there are no runs with ρ = {wanted:g}; add it to tasks.{task}.rho"
            )
    if STATISTICS[claim.statistic].needs_gd and not (radii == 0).any():
        raise UntestableError(f"there are no runs with ρ = 0 beside it; add 0 to tasks.{task}.rho")
    count = cube.sizes["eta"]
    if claim.eta != "all" and count < 2:
        raise UntestableError(f"there is one η alone; give tasks.{task}.eta two or more")
    etas = np.arange(count)[ETAS[claim.eta](count)]
    values = STATISTICS[claim.statistic].compute(cube)
    if against is not None:
        values = values / _of_same_runs(claim.statistic, cube, against)
    values = values[np.ix_(etas, rhos)]
    names = [
        [run_name(cube, int(eta), int(rho), seed) for eta in etas for rho in rhos]
        for seed in range(cube.sizes["seed"])
    ]
    return values, names


def _of_same_runs(statistic: str, cube: xr.Dataset, other: xr.Dataset) -> np.ndarray:
    """Return a statistic of another cube at this one's η, ρ and seeds, NaN where it has no run.

    The shape is (eta, rho, seed).
    """
    computed = STATISTICS[statistic].compute(other)
    places = [
        [np.flatnonzero(np.isclose(other[axis].values, value, rtol=1e-12, atol=0)) for value in own]
        for axis, own in ((axis, cube[axis].values) for axis in ("eta", "rho", "seed"))
    ]
    found = np.full(cube["status"].shape, np.nan)
    for point in np.ndindex(found.shape):
        where = [axis[place] for axis, place in zip(places, point, strict=True)]
        if all(place.size for place in where):
            found[point] = computed[tuple(int(place[0]) for place in where)]
    return found


def _missing_measurements(cube: xr.Dataset, left_out: Sequence[str]) -> str:
    """Return why no seed of a cube has the numbers that a claim needs."""
    status = cube["status"].values
    endings = {
        run_name(cube, *point): ending(cube, *point)
        for point in np.argwhere(status != COMPLETED).tolist()
    }
    gone = [f"{name} {endings[name].partition(':')[0]}" for name in left_out if name in endings]
    if gone:
        remedy = "train them" if (status == MISSING).any() else "lower η or ρ"
        return f"the runs it needs did not complete ({'; '.join(gone)}); {remedy}"
    if "density_size" not in cube:
        return "not measured; claims about chance need density.at, others more checks.count"
    return (
        f"fewer than {FEWEST} checks in the second half of the runs, or fewer eigenvalues than it "
        "needs; raise checks.count or curvature.eigenvalues"
    )


def report(judged: Sequence[Verdict], cubes: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Return everything about the claims of an experiment as JSON-ready values."""
    return {
        "claims": [
            as_row(one)
            | {
                "figures": list(one.claim.figures),
                "left_out": list(one.left_out),
                "holds": dict(one.claim.holds),
                "effects": {str(seed): json_number(effect) for seed, effect in one.effects.items()},
                "selection": {key: getattr(one.claim, key) for key in ("rho", "eta", "over")},
            }
            for one in judged
        ],
        "runs": {settings_of(cube)["task"]: run_table(cube) for cube in cubes},
        "statistics": {name: entry.definition for name, entry in STATISTICS.items()},
    }

r"""Differences of two experiments larger than seed noise: settings, endings, statistics, verdicts.

A statistic of a cell (eta, rho) is *apart* in the two if every seed of one lies below every seed
of the other. Were the seeds of both draws from one distribution, that would happen with the
probability :math:`2 / \binom{m + n}{m}` for m and n seeds, in whatever distribution without ties
(the extreme of Wilcoxon's rank-sum test); so a table also says how many cells would be apart by
chance. With a seed each nothing is known of the noise, and nothing is called apart.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from samedge.analysis.claims import Claim
from samedge.analysis.statistics import STATISTICS
from samedge.analysis.verdicts import judge_all
from samedge.base.errors import UserError
from samedge.config.paper_figures import FIGURES
from samedge.records.cubes import differences, ending
from samedge.records.files import read_cubes, settings_of

#: Attributes of a cube that may differ with equal settings.
ATTRIBUTES = (
    "data_checksum",
    "device",
    "matmul_precision",
    "jax_settings",
    "package_versions",
    "git_commit",
)
FILTERED = ".converged.nc"
IN_WORDS = ("is {} in the first", "{} in the second")
Cubes = Mapping[str, xr.Dataset]


@dataclass(frozen=True)
class SeparatedStatistic:
    """A statistic of a cell of which every seed of one experiment is below all of the other."""

    task: str
    eta: str
    rho: str
    statistic: str
    first: tuple[float, ...]
    second: tuple[float, ...]

    def __str__(self) -> str:
        values = (", ".join(f"{value:.4g}" for value in side) for side in (self.first, self.second))
        return (
            f"{self.task}, η = {self.eta}, ρ = {self.rho}, {self.statistic}: {' | '.join(values)}"
        )


def read_experiment(path: Path) -> dict[str, xr.Dataset]:
    """Return the cubes of an experiment by task, from its results, their ``cubes``, or one file.

    Raises
    ------
    UserError
        If there is no cube, a file is none, or two are of one task.
    """
    if path.is_dir():
        folder = path / "cubes" if (path / "cubes").is_dir() else path
        files = [file for file in sorted(folder.glob("*.nc")) if not file.name.endswith(FILTERED)]
    else:
        files = [path]
    if not files:
        raise UserError(
            f"{path}: no cubes in it; give the results of an experiment (results/<name>), the "
            "folder of its cubes, or one cube"
        )
    return read_cubes(files)


def compare(first: Cubes, second: Cubes, claims: Sequence[Claim]) -> str:
    """Return, as Markdown, everything in which two experiments differ by more than seed noise.

    The verdicts that are compared are those on ``claims``.
    """
    sections = {
        "Settings": list(setting_lines(first, second)),
        "Endings": list(ending_lines(first, second)),
        "Statistics": list(statistic_lines(first, second)),
        "Verdicts": list(verdict_lines(first, second, claims)),
    }
    return "\n\n".join(
        "\n".join([f"## {title}", "", *(f"- {line}" for line in lines or ["no difference"])])
        for title, lines in sections.items()
    )


def setting_lines(first: Cubes, second: Cubes) -> Iterator[str]:
    """Yield tasks that one lacks, settings that differ, and what else decides a run."""
    for task in dict.fromkeys([*first, *second]):
        if task not in first or task not in second:
            yield f"{task}: only in the {'first' if task in first else 'second'}"
            continue
        settings = (settings_of(first[task]), settings_of(second[task]))
        for line in differences(*settings, between=IN_WORDS):
            yield f"{task}: {line}"
        for name in ATTRIBUTES:
            values = [str(cubes[task].attrs.get(name, "")) for cubes in (first, second)]
            # The files of earlier versions lack some.
            if all(values) and values[0] != values[1]:
                yield f"{task}: {name} is {values[0]} in the first, {values[1]} in the second"


def ending_lines(first: Cubes, second: Cubes) -> Iterator[str]:
    """Yield cells (eta, rho) in which other numbers of seeds completed."""
    for task, eta, rho, cells in _cells(first, second):
        ends = [
            [ending(cube, e, r, seed) for seed in range(cube.sizes["seed"])]
            for cube, (e, r) in cells
        ]
        completed = [f"{end.count('completed')} of {len(end)}" for end in ends]
        if completed[0] != completed[1]:
            reasons = {one for end in ends for one in end} - {"completed"}
            yield (
                f"{task}, η = {eta}, ρ = {rho}: {completed[0]} seeds completed in the first, "
                f"{completed[1]} in the second ({'; '.join(sorted(reasons))})"
            )


def statistic_lines(first: Cubes, second: Cubes) -> Iterator[str]:
    """Yield the statistics that are apart, after a line that says how many would be by chance."""
    compared, expected, found = 0, 0.0, []
    computed = [
        {
            (task, name): entry.compute(cube)
            for task, cube in cubes.items()
            for name, entry in STATISTICS.items()
        }
        for cubes in (first, second)
    ]
    for task, eta, rho, cells in _cells(first, second):
        for name in STATISTICS:
            sides = []
            for (_, place), values in zip(cells, computed, strict=True):
                known = values[task, name][place]
                sides.append(tuple(known[~np.isnan(known)].tolist()))
            seeds = [len(side) for side in sides]
            if min(seeds) == 0 or max(seeds) < 2:
                continue
            compared += 1
            expected += 2 / math.comb(sum(seeds), seeds[0])
            if max(sides[0]) < min(sides[1]) or max(sides[1]) < min(sides[0]):
                found.append(SeparatedStatistic(task, eta, rho, name, *sides))
    if not compared:
        yield "not compared: with a seed each nothing is known of the noise; train several seeds"
        return
    yield (f"{len(found)} of {compared} are apart, where by chance about {expected:.3g} would be")
    yield from map(str, found)


def verdict_lines(first: Cubes, second: Cubes, claims: Sequence[Claim]) -> Iterator[str]:
    """Yield the claims on which the verdicts are not the same, of tasks that both have."""
    shared = [task for task in first if task in second]
    judged = [
        judge_all(claims, [cubes[task] for task in shared], _radii(cubes))
        for cubes in (first, second)
    ]
    for one, other in zip(*judged, strict=True):
        if one.verdict != other.verdict:
            yield (
                f"{one.claim.name}, {one.task}: {one.verdict} ({one.effect:.3g}) in the first, "
                f"{other.verdict} ({other.effect:.3g}) in the second"
            )


def _radii(cubes: Cubes) -> dict[str, str]:
    """Return the radius that the paper shows of each task, the least above 0 where there is none.

    Cubes do not say which radius their experiment's figures show.
    """
    paper = {spec.task: spec.paper_rho for spec in FIGURES.values() if spec.is_sam}
    found = {}
    for task, cube in cubes.items():
        labels = [label for label in map(str, cube["rho_label"].values) if float(label) > 0]
        found[task] = paper.get(task) or min(labels, key=float, default="0")
    return found


def _cells(first: Cubes, second: Cubes) -> Iterator[tuple]:
    """Yield task, eta, rho and, in both experiments, the cube and place of a cell they share."""
    for task in first:
        if task not in second:
            continue
        cubes = (first[task], second[task])
        for eta in _shared(cubes, "eta"):
            for rho in _shared(cubes, "rho"):
                places = [
                    tuple(
                        int(np.flatnonzero(cube[axis].values == value)[0])
                        for axis, value in (("eta", eta), ("rho", rho))
                    )
                    for cube in cubes
                ]
                labels = (
                    str(cubes[0]["eta_label"].values[places[0][0]]),
                    str(cubes[0]["rho_label"].values[places[0][1]]),
                )
                yield task, *labels, list(zip(cubes, places, strict=True))


def _shared(cubes: Sequence[xr.Dataset], axis: str) -> np.ndarray:
    """Return the numbers that an axis has in both cubes."""
    return np.intersect1d(cubes[0][axis].values, cubes[1][axis].values)

"""Claims as data: what the entries of a table such as ``claims.toml`` mean, and how they are read.

``claims.toml`` has those of the paper. A configuration may name another table.

What a claim measures is in :mod:`samedge.analysis.statistics`, how it is judged in
:mod:`samedge.analysis.verdicts`.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from samedge.analysis.statistics import STATISTICS
from samedge.base.errors import UserError, did_you_mean
from samedge.updates.edges import edge_ratio

TABLE = Path(__file__).with_name("claims.toml")

#: Statistics without a cube, by name: each a number.
FORMULAS = {
    "edge_ratio_limits": (
        "the larger of |ratio - 1| at α = 10^13 and |ratio/√α - 1| at α = 10^-13",
        lambda: max(abs(edge_ratio(1e13) - 1), abs(edge_ratio(1e-13) / 1e-13**0.5 - 1)),
    )
}
ETAS = {
    "all": lambda count: slice(None),
    "smallest": lambda count: slice(0, 1),
    "smaller": lambda count: slice(0, count // 2 or count),
    "largest": lambda count: slice(count - 1, None),
    "larger": lambda count: slice(-(count // 2) or count, None),
}
OVER: Mapping[str, Callable[[np.ndarray], Any]] = {
    "median": np.median,
    "min": np.min,
    "max": np.max,
    "sum": np.sum,
    "mean": np.mean,
}
RHO = ("zero", "figure", "sam", "all")
# What a range may say of an effect, and how messages spell it.
BOUNDS = {
    "at_least": (lambda effect, bound: effect >= bound, "≥"),
    "at_most": (lambda effect, bound: effect <= bound, "≤"),
    "above": (lambda effect, bound: effect > bound, ">"),
    "below": (lambda effect, bound: effect < bound, "<"),
}


@dataclass(frozen=True)
class Claim:
    """One claim of a table; see the head of ``claims.toml`` for the fields."""

    name: str
    claim: str
    tasks: tuple[str, ...]
    statistic: str
    rho: str
    eta: str
    over: str
    effect: str
    holds: Mapping[str, float]
    why: str
    section: str = ""
    figures: tuple[int, ...] = ()
    source: str = ""
    against: str = ""

    @property
    def where(self) -> str:
        """Who makes the claim: section and figures of the paper, or else the source."""
        if not self.section:
            return self.source
        found = f"Section {self.section}"
        if self.figures:
            several = "s" * (len(self.figures) > 1)
            found += f", Figure{several} {', '.join(map(str, self.figures))}"
        return found

    @property
    def definition(self) -> str:
        """How the effect of a seed is computed, in words."""
        if not self.tasks:
            return FORMULAS[self.statistic][0]
        radius = {
            "zero": "ρ = 0",
            "figure": "the ρ of the figures",
            "sam": "every ρ > 0",
            "all": "every ρ",
        }[self.rho]
        etas = "every η" if self.eta == "all" else f"the {self.eta} η"
        definition = STATISTICS[self.statistic].definition
        if self.against:
            definition += f", over that of the same run of {self.against}"
        return f"{self.over} over the runs with {radius} and {etas} of: {definition}"

    @property
    def range(self) -> str:
        """The range in which the claim holds, as text."""
        return ", ".join(f"{BOUNDS[name][1]} {bound:.3g}" for name, bound in self.holds.items())

    def holds_at(self, effect: float) -> bool:
        """Return whether an effect lies in the claim's range."""
        return all(BOUNDS[name][0](effect, bound) for name, bound in self.holds.items())


def load_claims(path: Path = TABLE) -> list[Claim]:
    """Read a table of claims.

    Raises
    ------
    UserError
        If it is no TOML, has no claim, or a claim has a field that is missing or unknown, or an
        unknown name in one.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a table of claims ({error})") from error
    if not table:
        raise UserError(f"{path}: has no claim; give one in a table of its own, such as [my_claim]")
    return [_claim(path, name, entry) for name, entry in table.items()]


def _claim(path: Path, name: str, entry: Mapping[str, Any]) -> Claim:
    """Return a claim of the table, its names checked."""
    if not isinstance(entry, Mapping):
        raise UserError(f"{path}: {name}: must be a table of its own, [{name}], found {entry!r}")
    needed = {one.name for one in fields(Claim) if one.default is MISSING} - {"name"}
    known = {one.name for one in fields(Claim)} - {"name"}
    wrong = sorted((needed - entry.keys()) | (entry.keys() - known))
    if wrong:
        raise UserError(f"{path}: {name}: missing or unknown: {', '.join(wrong)}")
    if not (entry.get("section") or entry.get("source")):
        raise UserError(f"{path}: {name}: says not who claims it; give section, or source")
    statistics = STATISTICS if entry["tasks"] else FORMULAS
    for key, choices in (
        ("statistic", statistics),
        ("rho", RHO),
        ("eta", ETAS),
        ("over", OVER),
    ):
        if entry[key] not in tuple(choices):
            raise UserError(
                f"{path}: {name}.{key} is '{entry[key]}'{did_you_mean(entry[key], choices)} "
                f"(known: {', '.join(sorted(choices))})"
            )
    if not entry["holds"] or not entry["holds"].keys() <= BOUNDS.keys():
        raise UserError(f"{path}: {name}.holds must have some of {', '.join(BOUNDS)}")
    lists = {key: tuple(entry[key]) for key in ("figures", "tasks") if key in entry}
    return Claim(**{**entry, **lists, "name": name})

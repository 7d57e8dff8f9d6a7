"""``samedge edges``: where update rules turn unstable."""

import argparse
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from samedge.base.components import add_plugins_option, settings_of, use_plugins
from samedge.base.errors import UserError, did_you_mean
from samedge.updates import edges

if TYPE_CHECKING:
    from samedge.updates.rule import UpdateRule

DESCRIPTION = """\
Print the edges of update rules: the curvature at which a step turns unstable, by the formulas of
samedge.edge. What reaches it is the largest Hessian eigenvalue λ1 or, of rules that precondition or
adapt, the effective curvature that a run records beside it."""
EXAMPLES = """\
samedge edges --eta 0.1 0.3 --rho 0 0.1
samedge edges --eta 0.1 --rho 0.1 --gradient-norm 0.5 1 2 --rule sam
samedge edges --eta 0.1 --rule momentum adam --set momentum=0.95 b1=0.8"""
INSTALL = "samedge"
#: What stands for a setting that a rule needs, and that is not given.
USUAL = {"momentum": 0.9}
#: Where a rule's edge is compared with formulas: no two of them agree there.
PROBE = {"gradient_norm": 0.7, "eta": 0.37, "rho": 0.21}
HEADER = ("rule", "eta", "rho", "|g|", "edge", "reached by", "formula")

Edge = Callable[[float, float, float], float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command line name rules and points."""
    numbers: dict[str, Any] = {"type": float, "nargs": "+", "metavar": "NUMBER"}
    parser.add_argument("--eta", required=True, help="learning rates", **numbers)
    parser.add_argument("--rho", default=[0.0], help="radii; 0, if not given, is no SAM", **numbers)
    parser.add_argument(
        "--gradient-norm",
        default=[1.0],
        help="norms of the loss gradient, which SAM's edge depends on (default: 1)",
        **numbers,
    )
    parser.add_argument(
        "--rule", nargs="+", default=[], metavar="NAME", help="update rules (default: all)"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="settings of the rules, as in a configuration's update.settings",
    )
    add_plugins_option(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the table."""
    from samedge.updates.rule import RULES

    use_plugins(arguments.plugins)
    _require("--eta", arguments.eta, zero=False)
    _require("--rho", arguments.rho, zero=True)
    _require("--gradient-norm", arguments.gradient_norm, zero=False)
    given = dict(map(_setting, arguments.set))
    names = arguments.rule or sorted(RULES)
    for name in names:
        RULES[name]  # which names the nearest one, if there is none
    rules = {name: _settings(name, given) for name in names}
    _require_used(given, rules)
    rows: list[tuple[str, ...]] = [HEADER]
    for name, settings in rules.items():
        try:
            rule = RULES.made(name, settings)
        except (TypeError, ValueError) as error:
            raise UserError(f"--set: {name}: {error}") from error
        label = ", ".join(f"{key}={value}" for key, value in settings.items())
        title = f"{name} ({label})" if label else name
        points = itertools.product(arguments.eta, arguments.rho, arguments.gradient_norm)
        rows += [(title, *row) for row in _rows(rule, points)]
    print(table(rows))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of words as lines in which columns are aligned, the first row under a line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = {HEADER.index(name) for name in ("eta", "rho", "|g|", "edge")}
    lines = [
        "  ".join(
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def formula(edge: Edge) -> str:
    """Return by which function of :mod:`samedge.updates.edges` a rule has its edge, in words.

    Its own one is told from them by its value at :data:`PROBE`.
    """
    norm, eta, rho = PROBE["gradient_norm"], PROBE["eta"], PROBE["rho"]
    limit = edge(norm, eta, 0.0)
    known = {
        "gd_edge": edges.gd_edge(eta),
        "sam_edge": edges.sam_edge(norm, eta, rho),
        "unnormalized_sam_edge": edges.unnormalized_sam_edge(eta, rho),
        f"displaced_edge({limit * eta:.4g}/eta, rho/|g|)": edges.displaced_edge(limit, rho / norm),
        f"displaced_edge({limit * eta:.4g}/eta, rho)": edges.displaced_edge(limit, rho),
        f"{limit * eta:.4g}/eta": limit,
    }
    found = edge(norm, eta, rho)
    return next((name for name, value in known.items() if math.isclose(value, found)), "its own")


def _rows(rule: "UpdateRule", points: Iterator[tuple[float, ...]]) -> Iterator[tuple[str, ...]]:
    reached = "λ1" if rule.effective is None else "effective curvature"
    words = formula(rule.edge)
    for eta, rho, norm in points:
        edge = float(rule.edge(norm, eta, rho))
        yield f"{eta:g}", f"{rho:g}", f"{norm:g}", f"{edge:.6g}", reached, words


def _settings(rule: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a rule: those given, and what is usual where it needs one."""
    known = settings_of("update")[rule]
    found = {key: value for key, value in given.items() if key in known}
    for key, has_default in known.items():
        if not has_default and key not in found:
            if key not in USUAL:
                raise UserError(f"the update rule '{rule}' needs a setting: give --set {key}=VALUE")
            found[key] = USUAL[key]
    return found


def _require_used(given: Mapping[str, Any], rules: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a setting that none of the rules has."""
    known = {key for name in rules for key in settings_of("update")[name]}
    for key in given:
        if key not in known:
            raise UserError(
                f"--set: none of these rules has a setting '{key}'{did_you_mean(key, known)}"
            )


def _setting(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not (key and sign and value):
        raise UserError(f"--set: '{text}' must be KEY=VALUE, such as momentum=0.9")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _require(option: str, values: Sequence[float], zero: bool) -> None:
    for value in values:
        if not (0 < value < math.inf or (zero and value == 0)):
            bound = "at least 0" if zero else "above 0"
            raise UserError(f"{option}: {value:g} must be a number {bound}")

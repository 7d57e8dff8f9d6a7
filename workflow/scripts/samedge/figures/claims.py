"""The verdicts on claims on one page: claims by tasks, effects printed."""

import math
import textwrap
from collections.abc import Sequence

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from samedge.analysis.claims import Claim
from samedge.analysis.verdicts import FAILS, FORMULA, HOLDS, MIXED, NOT_TESTABLE, Verdict
from samedge.figures import paper

#: Fill and sign of each verdict; the sign says it without colour.
LOOKS = {
    HOLDS: ("#9fd8c3", "✓"),
    MIXED: ("#f6df9a", "~"),
    FAILS: ("#f2b59b", "✗"),
    NOT_TESTABLE: ("#e4e4e4", "?"),
}
WRAP = 80  # characters of a claim per line
WRAP_SMALL = 92  # of who makes it, and when it holds
# The most characters of a task's name that fit in its column in letters of each size.
LETTERS = ((16, "medium"), (20, "small"), (math.inf, "x-small"))
ROW, WORDING, COLUMN, HEAD, FOOT = 0.46, 3.9, 1.25, 0.62, 0.62  # inches
FURTHER = 0.11  # for each further line in a row


def draw(judged: Sequence[Verdict], tasks: Sequence[str]) -> Figure:
    """Return the page of verdicts.

    Parameters
    ----------
    judged
        Every claim for every task that it is made for, claim by claim.
    tasks
        The experiment's tasks; the columns, with those of the paper that it lacks.
    """
    claims = list({one.claim.name: one.claim for one in judged}.values())
    columns = list(dict.fromkeys([*tasks, *(one.task for one in judged)]))
    columns = [task for task in columns if any(one.task == task for one in judged)]
    cells = {(one.claim.name, one.task): one for one in judged}
    width = WORDING + COLUMN * len(columns)
    heights = [_height(claim) for claim in claims]
    tops = [HEAD + sum(heights[:row]) for row in range(len(claims))]
    height = HEAD + sum(heights) + FOOT
    with matplotlib.style.context(paper.STYLE):
        figure = Figure(figsize=(width, height), layout="none")  # type: ignore[arg-type]
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, width), ylim=(height, 0))
        ax.set_axis_off()
        title = "The paper's claims, judged" if claims[0].section else "Claims, judged"
        ax.text(0.08, 0.2, title, fontsize="large", va="center")
        for number, task in enumerate(columns):
            x = WORDING + COLUMN * (number + 0.5)
            size = next(name for most, name in LETTERS if len(task) <= most)
            bold = ax.text(x, HEAD - 0.14, task, ha="center", va="center", fontweight="bold")
            bold.set_fontsize(size)
        for claim, y, tall in zip(claims, tops, heights, strict=True):
            _wording(ax, claim, y, tall)
            for number, task in enumerate(columns):
                if (claim.name, task) in cells:
                    _cell(ax, WORDING + COLUMN * number, y, tall, cells[claim.name, task])
        _legend(ax, height - FOOT + 0.2, judged)
        return figure


def _notes(claim: Claim) -> list[str]:
    """Return the lines that say who makes a claim and what the number has to be."""
    return textwrap.wrap(f"{claim.where}. Holds for {claim.effect} {claim.range}", WRAP_SMALL)


def _height(claim: Claim) -> float:
    """Return the inches of a claim's row, in which two lines of it and one of notes have room."""
    lines = max(2, len(textwrap.wrap(claim.claim, WRAP))) + len(_notes(claim))
    return ROW + FURTHER * max(0, lines - 3)


def _wording(ax: Axes, claim: Claim, y: float, height: float) -> None:
    """Write a claim, who makes it, and what the number has to be."""
    lines = textwrap.wrap(claim.claim, WRAP)
    ax.axhline(y, color="0.88", linewidth=0.6)
    ax.text(0.08, y + 0.04, "\n".join(lines), va="top", fontsize="small", linespacing=1.05)
    ax.text(
        0.08,
        y + height - 0.04,
        "\n".join(_notes(claim)),
        va="bottom",
        fontsize="x-small",
        color="0.4",
        linespacing=1.05,
    )


def _cell(ax: Axes, x: float, y: float, height: float, judged: Verdict) -> None:
    """Draw the verdict of one claim for one task: colour, sign, effect, and range over seeds."""
    fill, sign = LOOKS[judged.verdict]
    ax.add_patch(
        Rectangle((x + 0.03, y + 0.03), COLUMN - 0.06, height - 0.06, facecolor=fill, linewidth=0)
    )
    middle = x + COLUMN / 2
    if math.isnan(judged.effect):
        ax.text(middle, y + height / 2, f"{sign} {judged.verdict}", ha="center", va="center")
        return
    several = judged.low != judged.high
    ax.text(
        middle,
        y + height * (0.33 if several else 0.5),
        f"{sign} {number(judged.effect)}",
        ha="center",
        va="center",
    )
    if several:
        text = f"{number(judged.low)} to {number(judged.high)}"
        ax.text(middle, y + height * 0.74, text, ha="center", va="center", fontsize="x-small")


def number(value: float) -> str:
    """Return a number with three digits, infinity as a sign."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _legend(ax: Axes, y: float, judged: Sequence[Verdict]) -> None:
    """Explain colours and numbers below the table."""
    x = 0.08
    for verdict, (fill, sign) in LOOKS.items():
        ax.add_patch(Rectangle((x, y - 0.09), 0.22, 0.18, facecolor=fill, linewidth=0))
        ax.text(x + 0.11, y, sign, ha="center", va="center")
        ax.text(x + 0.28, y, verdict, va="center", fontsize="small")
        x += 1.25
    seeds = {len(one.effects) for one in judged if one.task != FORMULA} - {0}
    text = "Number: the effect of the claim's statistic (see claims.csv for definition and range)"
    if max(seeds, default=0) > 1:
        counts = " to ".join(map(str, sorted({min(seeds), max(seeds)})))
        text += f", median over {counts} seeds, and its range"
    stand_ins = sorted({one.task for one in judged if one.stand_in})
    if stand_ins:
        text += f". Judged on stand-ins for the paper's data: {', '.join(stand_ins)}"
    ax.text(
        0.08,
        y + 0.15,
        # The axes are as wide as the figure, and in inches.
        "\n".join(textwrap.wrap(f"{text}.", int(19 * ax.get_xlim()[1]))),
        va="top",
        fontsize="x-small",
        color="0.35",
    )

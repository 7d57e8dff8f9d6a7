"""Runs as they stand, on a terminal: a line for each that is of interest, the rest summed up."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.text import Text

from samedge.analysis.quantities import WIDTH
from samedge.base.errors import UserError
from samedge.watching.run import (
    DAMAGED,
    DIVERGED,
    FAILED,
    FINISHED,
    KILLED,
    SILENT,
    STATES,
    STOPPED,
    TRAINING,
    WAITING,
    Curve,
    WatchedRun,
    in_words,
)
from samedge.watching.runs import count

#: Of a run in one of these states a line of its own says why.
EXPLAINED = (SILENT, FAILED, KILLED, STOPPED, DAMAGED)
COLORS = {
    TRAINING: "green",
    SILENT: "yellow",
    FAILED: "bold red",
    KILLED: "bold red",
    DAMAGED: "red",
    STOPPED: "yellow",
    DIVERGED: "magenta",
    FINISHED: "blue",
    WAITING: "bright_black",
}
#: Levels of a curve from 0 on, and how many of them the edge, 1, is above 0.
LEVELS, ASCII_LEVELS, EDGE_LEVEL = "▁▂▃▄▅▆▇█", "_.-~=+*#", 5
NARROWEST, WIDEST, BAR = 8, 48, 10
#: From so many characters on a line columns are further apart.
WIDE = 100
#: Lines of a note at most.
LINES = 4
#: The places of the columns that are drawn, and of those that a narrow terminal does without.
STATE, CURVE, LEAST = 3, 8, (6, 5, 4, 2)
#: Finished runs that are listed where no height is given.
FEW = 20
NOTHING = Curve(np.array([]))
MARGIN = "  "


@dataclass(frozen=True)
class Signs:
    """The characters to draw with, of Unicode where the terminal has it."""

    levels: str
    full: str
    empty: str
    header: tuple[str, ...]
    separator: str
    ellipsis: str

    @classmethod
    def of(cls, encoding: str) -> "Signs":
        """Return those of a terminal's encoding."""
        names = ("seed", "state", "step", "loss")
        if encoding.lower().replace("-", "").startswith("utf"):
            greek = ("η", "ρ", *names, "λ1", "λ1/edge", "", "left")
            return cls(LEVELS, "━", "─", greek, " · ", "…")
        latin = ("eta", "rho", *names, "l1", "l1/edge", "", "left")
        return cls(ASCII_LEVELS, "=", "-", latin, ", ", "...")


def screen(
    title: str,
    runs: Sequence[WatchedRun],
    width: int,
    height: int | None,
    signs: Signs,
    footer: Sequence[str] = (),
) -> list[Text]:
    """Return the lines that show runs, no wider and no more than asked for.

    First come the runs in progress, then those that went wrong, then the others as there is room;
    ``height`` None is room for all but those that have not started, and those that have finished if
    there are more than :data:`FEW`. What has no line is counted in one.
    """
    counts = signs.separator.join(f"{number} {state}" for state, number in count(runs).items())
    many = f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
    summary = f"{many}: {counts}" if runs else "no runs yet"
    head = [Text(title, style="bold"), *map(Text, textwrap.wrap(summary, max(NARROWEST, width)))]
    tail = [Text(line, style="bright_black") for line in (legend(signs), *footer)]
    room = None if height is None else height - len(head) - len(tail) - 4
    shown = _chosen(runs, room, width, signs)
    lines = table(shown, width, signs) if shown else []
    listed = {id(run) for run in shown}
    rest = count(run for run in runs if id(run) not in listed)
    if rest and shown:
        also = signs.separator.join(f"{number} {state}" for state, number in rest.items())
        lines.append(Text(f"and {also}", style="bright_black"))
    whole = [*head, Text(""), *lines, *([Text("")] if lines else []), *tail]
    for line in whole:
        line.truncate(width, overflow="crop" if signs.levels.isascii() else "ellipsis")
    return whole


def legend(signs: Signs) -> str:
    """Return what the curve's signs mean."""
    low, edge, top = signs.levels[0], signs.levels[EDGE_LEVEL], signs.levels[-1]
    ratio = signs.header[CURVE - 1]
    return f"{ratio}: {low} 0, {edge} 1 (at the edge), {top} 1.3 and more; green within {WIDTH:.0%}"


def _chosen(
    runs: Sequence[WatchedRun], room: int | None, width: int, signs: Signs
) -> list[WatchedRun]:
    """Return the runs that get lines, of which there are so many."""
    order = sorted(runs, key=lambda run: STATES.index(run.state))
    if room is None:
        finished = sum(run.state == FINISHED for run in runs)
        left_out = (WAITING,) if finished <= FEW else (WAITING, FINISHED)
        return [run for run in order if run.state not in left_out]
    shown: list[WatchedRun] = []
    used, tasks = 0, set()
    for run in order:
        if run.state == WAITING:
            break
        used += 1 + len(_notes(run, width, signs)) + (run.task not in tasks)
        tasks.add(run.task)
        if used > room:
            break
        shown.append(run)
    return shown


def table(runs: Sequence[WatchedRun], width: int, signs: Signs) -> list[Text]:
    """Return the lines of a table of runs, by task, under a header."""
    curves = [_curve(run) for run in runs]
    cells = [_cells(run, curve) for run, curve in zip(runs, curves, strict=True)]
    layout = Layout.of([signs.header, *cells], width)
    header = layout.line(signs.header, {})
    header.stylize("bright_black")
    lines = [header]
    for task in dict.fromkeys(run.task for run in runs):
        lines.append(Text(task or "by hand", style="bold"))
        for run, curve, row in zip(runs, curves, cells, strict=True):
            if run.task == task:
                bar = _bar(run, layout.widths[STATE], signs)
                drawn = sparkline(curve.ratios, layout.widths[CURVE], signs.levels)
                lines.append(layout.line(row, {STATE: bar, CURVE: drawn}))
                lines += [Text(note, style=COLORS[run.state]) for note in _notes(run, width, signs)]
    return lines


@dataclass(frozen=True)
class Layout:
    """Where the columns of a table are: their widths by place, and what is between them."""

    widths: Mapping[int, int]
    margin: str

    @classmethod
    def of(cls, rows: Sequence[Sequence[str]], width: int) -> "Layout":
        """Return the layout of rows of cells; the curve has what they leave of the width.

        Where that is too little, columns are left out.
        """
        widths = {
            place: max(map(len, column)) for place, column in enumerate(zip(*rows, strict=True))
        }
        margin = MARGIN if width >= WIDE else " "
        widths[STATE] = max(widths[STATE], BAR)
        for left_out in (None, *LEAST):
            widths.pop(-1 if left_out is None else left_out, None)
            left = width - sum(widths.values()) - len(margin) * len(widths)
            if left >= NARROWEST:
                break
        widths[CURVE] = max(NARROWEST, min(WIDEST, left))
        return cls(widths, margin)

    def line(self, cells: Sequence[str], drawn: Mapping[int, Text]) -> Text:
        """Return a line of cells: words to the left, numbers to the right, and what is drawn."""
        line = Text()
        for place, width in self.widths.items():
            line.append(self.margin)
            if place in drawn:
                line.append_text(drawn[place])
            else:
                words = place in (STATE, CURVE)
                line.append(cells[place].ljust(width) if words else cells[place].rjust(width))
        line.rstrip()
        return line


def sparkline(ratios: np.ndarray, width: int, levels: str) -> Text:
    """Return a curve of so many characters at most, each the mean of some checks.

    The edge, 1, is the sixth of eight levels, and what is above 1.3 the last one.
    """
    text = Text()
    count = min(width, len(ratios))
    for part in np.array_split(ratios, count) if count else ():
        known = part[np.isfinite(part)]
        if not len(known):
            text.append(" ")
            continue
        value = float(known.mean())
        level = min(len(levels) - 1, round(EDGE_LEVEL * value))
        color = "green" if abs(value - 1) <= WIDTH else "red" if value > 1 else "cyan"
        text.append(levels[level], style=color)
    text.append(" " * (width - count))
    return text


def _cells(run: WatchedRun, curve: Curve) -> tuple[str, ...]:
    """Return the cells of a run's line; those of the state and of the curve are drawn."""
    of = "" if run.steps is None else f"/{run.steps}"
    step = f"{run.step}{of}" if run.step or run.state != WAITING else ""
    ratio = curve.ratios[-1] if len(curve.ratios) else math.nan
    left = "" if run.left is None else in_words(run.left)
    if run.state == SILENT:
        left = "?"
    return (
        run.eta,
        run.rho,
        run.seed,
        "" if run.state == TRAINING else run.state,
        step,
        _number(curve.loss),
        _number(curve.eigenvalue),
        f"{ratio:.2f}" if ratio < 10 else _number(ratio),
        "",
        left,
    )


def _curve(run: WatchedRun) -> Curve:
    try:
        return run.curve
    except UserError:
        return NOTHING


def _number(value: float) -> str:
    return "" if not math.isfinite(value) else f"{value:.3g}"


def _bar(run: WatchedRun, width: int, signs: Signs) -> Text:
    """Return how far a run in training is, and of any other one how it stands."""
    if run.state != TRAINING or math.isnan(run.share):
        return Text(run.state.ljust(width), style=COLORS.get(run.state, ""))
    percent = f"{run.share:4.0%}"
    full = round(run.share * (width - len(percent)))
    bar = Text(signs.full * full, style="green")
    bar.append(signs.empty * (width - len(percent) - full), style="bright_black")
    return bar.append(percent)


def _notes(run: WatchedRun, width: int, signs: Signs) -> list[str]:
    """Return the lines that say why a run stands as it does, for one of which that is of use."""
    if run.state not in EXPLAINED or not run.note:
        return []
    return textwrap.wrap(
        run.note,
        max(NARROWEST, width),
        initial_indent=3 * MARGIN,
        subsequent_indent=3 * MARGIN,
        max_lines=LINES,
        placeholder=f" {signs.ellipsis}",
    )

"""Which figures there are: the sixteen of Long & Bartlett (2024), and their like for any task.

Imports neither NumPy nor Matplotlib.

Kinds: ``edge_ratio`` needs no cube; ``eigenvalues`` shows the magnitudes of the largest
eigenvalues with both edges; ``eigenvalues_zoom`` leaves 2/eta out and scales on the SAM edge;
``loss`` compares rho = 0 with the SAM run; ``alignment`` shows how far the gradients point along
the principal eigenvector.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True)
class FigureSpec:
    """One figure: its number in the paper, what it draws, of which task and radius.

    ``task`` is "" for the figure that needs no cube. ``paper_rho`` is the radius of the SAM runs
    that the paper shows, "0" where it shows gradient descent alone.
    """

    number: int
    kind: str
    task: str
    paper_rho: str

    @property
    def name(self) -> str:
        """The figure's name, which is also its target and the stem of its files."""
        return f"figure_{self.number:02d}"

    @property
    def is_sam(self) -> bool:
        """Whether the figure shows SAM runs, whose radius the config chooses."""
        return Decimal(self.paper_rho) != 0

    def rho(self, figure_rho: str) -> str:
        """Return the radius to draw when ``figure_rho`` is the one chosen for the task."""
        return figure_rho if self.is_sam else "0"

    def rho_in(self, tasks: Mapping[str, "Radii"]) -> str:
        """Return the radius to draw in an experiment with these tasks, of which this is one."""
        return self.rho(tasks[self.task].figure_rho) if self.is_sam else "0"

    def needs_rho(self, figure_rho: str) -> set[Decimal]:
        """Return every radius that the figure draws; a loss figure shows rho = 0 as well."""
        if not self.task:
            return set()
        drawn = {Decimal(self.rho(figure_rho))}
        return drawn | {Decimal(0)} if self.kind == "loss" else drawn


def _task_figures(first: int, task: str, paper_rho: str) -> list[FigureSpec]:
    """Return the five figures that the paper shows of every task, numbered from ``first``."""
    kinds = [
        ("eigenvalues", "0"),
        ("eigenvalues", paper_rho),
        ("eigenvalues_zoom", paper_rho),
        ("loss", paper_rho),
        ("alignment", paper_rho),
    ]
    return [
        FigureSpec(number, kind, task, rho) for number, (kind, rho) in enumerate(kinds, start=first)
    ]


FIGURES: dict[int, FigureSpec] = {
    spec.number: spec
    for spec in [
        FigureSpec(1, "edge_ratio", "", "0"),
        *_task_figures(2, "mnist", "0.1"),
        *_task_figures(7, "cifar10", "0.1"),
        *_task_figures(12, "tiny_shakespeare", "0.3"),
    ]
}


#: What is drawn of every task at each of its radii, by name: the kinds of the paper's figures.
TASK_KINDS = {
    "eigenvalues": "eigenvalues",
    "zoom": "eigenvalues_zoom",
    "loss": "loss",
    "alignment": "alignment",
}


@dataclass(frozen=True)
class TaskFigure:
    """A figure of a task at a radius: its name, a key of :data:`TASK_KINDS`, task and radius."""

    name: str
    task: str
    rho: str

    @property
    def kind(self) -> str:
        """What it draws."""
        return TASK_KINDS[self.name]

    @property
    def stem(self) -> str:
        """The stem of its files: ``alignment_mnist_rho0.1``."""
        return f"{self.name}_{self.task}_rho{self.rho}"


def task_figures(task: str, rho: Sequence[str]) -> list[TaskFigure]:
    """Return the figures of a task with these radii.

    A loss is drawn beside that of gradient descent, and scaling on the SAM edge is for SAM: these
    are of radii above zero, where there are any.
    """
    above = [radius for radius in rho if Decimal(radius)] or list(rho)
    return [
        TaskFigure(name, task, radius)
        for name in TASK_KINDS
        for radius in (above if name in ("zoom", "loss") else rho)
    ]


def task_figure(stem: str) -> TaskFigure | None:
    """Return the figure of a task whose files have this stem, None for any other stem."""
    named = re.fullmatch(rf"({'|'.join(TASK_KINDS)})_(\w+)_rho([0-9.]+)", stem)
    return TaskFigure(*named.groups()) if named else None


def unnumbered(tasks: Mapping[str, "Radii"]) -> list[TaskFigure]:
    """Return the figures of an experiment's tasks that none of the paper's numbers stands for."""
    numbered = {
        (spec.kind, spec.task, Decimal(spec.rho_in(tasks)))
        for spec in (FIGURES[number] for number in drawable(tasks))
        if spec.task
    }
    return [
        figure
        for task, radii in tasks.items()
        for figure in task_figures(task, radii.rho)
        if (figure.kind, figure.task, Decimal(figure.rho)) not in numbered
    ]


def described(stem: str) -> tuple[str, str]:
    """Return the task of a figure by the stem of its files, and what to call it there.

    Both are "" where the stem is that of no figure of a task.
    """
    number = re.fullmatch(r"figure_(\d\d)", stem)
    if number and (spec := FIGURES.get(int(number[1]))) is not None and spec.task:
        who = "SAM" if spec.is_sam else "gradient descent"
        return spec.task, f"Figure {spec.number}: {spec.kind.replace('_', ', ')}, {who}"
    figure = task_figure(stem)
    return (figure.task, f"{figure.name}, ρ = {figure.rho}") if figure else ("", "")


class Radii(Protocol):
    """What decides which figures of a task can be drawn."""

    @property
    def rho(self) -> tuple[str, ...]:
        """The radii of its runs."""
        ...

    @property
    def figure_rho(self) -> str:
        """The radius that stands for SAM in the paper's figures."""
        ...


def drawable(tasks: Mapping[str, Radii]) -> list[int]:
    """Return the numbers of the figures whose task and radii are in an experiment's tasks."""
    return [
        number
        for number, spec in FIGURES.items()
        if not spec.task
        or (
            spec.task in tasks
            and spec.needs_rho(tasks[spec.task].figure_rho)
            <= {Decimal(rho) for rho in tasks[spec.task].rho}
        )
    ]

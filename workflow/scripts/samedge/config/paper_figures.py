"""The sixteen figures of Long & Bartlett (2024) as a table; imports neither NumPy nor Matplotlib.

Kinds: ``edge_ratio`` needs no cube; ``eigenvalues`` shows the magnitudes of the largest
eigenvalues with both edges; ``eigenvalues_zoom`` leaves 2/eta out and scales on the SAM edge;
``loss`` compares rho = 0 with the SAM run; ``alignment`` shows how far the gradients point along
the principal eigenvector.
"""

from collections.abc import Mapping
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

"""The parts of the settings of a run and of an experiment, each a key of a configuration."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Where data sets come from that have a source of their own.
OWN_SOURCES = {"tfds": "tfds", "arrays": "file"}


@dataclass(frozen=True)
class DatasetSettings:
    """Which data set, how much of it (examples, or characters of text; None: all), and for the data
    set ``arrays`` the file that holds it, as the configuration has it, which came later.
    """

    name: str
    train_examples: int | None
    test_examples: int | None
    file: str | None = None

    @property
    def component(self) -> str:
        """The name in the registry: ``tfds`` of ``tfds:fashion_mnist``."""
        return self.name.partition(":")[0]

    def source(self, source: str) -> str:
        """Return where the data come from, where those of other data sets come from ``source``."""
        return OWN_SOURCES.get(self.component, source)


@dataclass(frozen=True)
class ModelSettings:
    """Which model, and the keyword arguments of its function in the registry."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class LossSettings:
    """Which loss, by its name in the registry."""

    name: str


@dataclass(frozen=True)
class ScheduleSettings:
    """Which learning-rate schedule, and the keyword arguments of its function in the registry."""

    name: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class UpdateSettings:
    """Which update rule, the epsilon added to the gradient norm that it divides by, and, which
    came later, the keyword arguments of its function in the registry, and a schedule of eta.
    """

    name: str
    epsilon: float
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    schedule: ScheduleSettings | None = None


@dataclass(frozen=True)
class BudgetSettings:
    """When training ends: after so many steps or hours of training time, whichever is first."""

    steps: int | None
    hours: float | None


@dataclass(frozen=True)
class CheckSettings:
    """When to measure: ``count`` checks, spaced evenly, geometrically or first the one and then
    the other, or every ``minutes``.
    """

    spacing: str
    count: int | None
    minutes: float | None


@dataclass(frozen=True)
class CurvatureSettings:
    """How many eigenvalues, the residual over the operator norm to reach, the caps on products
    of a check and on vectors that the solver keeps, the probability of a larger eigenvalue still
    unseen that is put up with, the share of the operator norm to which both ends of the spectrum
    are known, and every how many checks this is certified.

    ``ends`` and ``certify`` came later; their defaults are what was in effect before.
    """

    eigenvalues: int
    tolerance: float
    max_products: int
    max_vectors: int
    overlook: float
    ends: float = 0.001
    certify: int = 1


@dataclass(frozen=True)
class DensitySettings:
    """At which shares of the budget the spectral density is estimated, and with what effort."""

    at: tuple[float, ...]
    probes: int
    steps: int


@dataclass(frozen=True)
class BlockSettings:
    """At which shares of the budget the sharpness of blocks of the Hessian is measured, and the
    pattern of the names of each block's parameters, by the block's name; without any it is layers.
    """

    at: tuple[float, ...] = ()
    patterns: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class StochasticSettings:
    """By how many minibatches a check measures what they make of the edge, none if 0, and on how
    many examples that are held fixed; None for all.
    """

    batches: int = 0
    examples: int | None = None


@dataclass(frozen=True)
class WaySettings:
    """At which shares of the budget the way to the SAM point is measured, at how many points."""

    at: tuple[float, ...] = ()
    points: int = 5


@dataclass(frozen=True)
class AuditSettings:
    """At which shares of the budget the parameters are kept, to be audited in float64."""

    at: tuple[float, ...]


@dataclass(frozen=True)
class DivergenceSettings:
    """Diverged: a loss above ``loss_factor`` times the first one at ``checks`` checks in a row."""

    loss_factor: float
    checks: int


@dataclass(frozen=True)
class ForkSettings:
    """Where the runs of a task start: at the check of another task's runs that first reaches a
    share ``at`` of their budget; of that task the run of equal seed, and of this learning rate and
    radius, the run's own where they are None.
    """

    task: str
    at: float
    eta: str | None = None
    rho: str | None = None


@dataclass(frozen=True)
class FigureSettings:
    """How figures are drawn: the quantity on x, ``training_time`` (s) or ``step``."""

    time_axis: str


@dataclass(frozen=True)
class FamilySettings:
    """Which tasks stand in one figure, and along what: ``batch_size`` or ``step``."""

    tasks: tuple[str, ...]
    along: str


@dataclass(frozen=True)
class CheckpointSettings:
    """How far apart a run's checkpoints are: in minutes of the job's time, in steps, or both."""

    minutes: float | None
    steps: int | None


@dataclass(frozen=True)
class TogetherSettings:
    """Along which axes one job has all runs of its task, and how many of them train at once.

    ``axes`` are some of ``seed``, ``eta`` and ``rho``; with none, every run is a job of its own.
    ``most`` is None where the device decides: :data:`MOST_TOGETHER`, on a CPU 1.
    """

    axes: tuple[str, ...]
    most: int | None

"""Frozen settings: everything that determines a run, and the grid of runs of an experiment.

Learning rates and radii are kept as the decimal strings that the configuration holds, so that a
file name, a coordinate and a number printed in a figure are spelled alike.
"""

import dataclasses
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from samedge.config.building import as_before, build

# Runs that train at once where neither the configuration nor a CPU says otherwise.
MOST_TOGETHER = 8
#: The table of claims that a configuration names, among the results and in an archive.
CLAIMS_FILE = "claims.toml"
#: Where data sets come from that have a source of their own.
OWN_SOURCES = {"tfds": "tfds", "arrays": "file"}
# The numbers of float32 that are not zero and keep all their digits.
LEAST_FLOAT32, LARGEST_FLOAT32 = 2.0**-126, (2 - 2.0**-23) * 2.0**127


def float32_problem(value: int | float, zero: bool) -> str | None:
    """Return what is wrong with a number that runs take as float32, None if nothing is.

    ``zero`` says whether it may be zero.
    """
    if LEAST_FLOAT32 <= value <= LARGEST_FLOAT32 or (zero and value == 0):
        return None
    return (
        f"{Decimal(str(value)):.6g} is beyond the numbers of float32, in which runs are trained; "
        f"give {'0 or one' if zero else 'one'} from {LEAST_FLOAT32:.3g} to {LARGEST_FLOAT32:.2g}"
    )


def decimal_string(value: int | float | str) -> str:
    """Spell a number of the configuration as a plain decimal: ``"1e-3"`` becomes ``"0.001"``."""
    number = Decimal(str(value))
    # Zero has a sign in both types, which would end up in file names.
    return format(number if number else abs(number), "f")


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
    """When to measure: ``count`` checks, evenly or geometrically spaced, or every ``minutes``."""

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
class AuditSettings:
    """At which shares of the budget the parameters are kept, to be audited in float64."""

    at: tuple[float, ...]


@dataclass(frozen=True)
class DivergenceSettings:
    """Diverged: a loss above ``loss_factor`` times the first one at ``checks`` checks in a row."""

    loss_factor: float
    checks: int


@dataclass(frozen=True)
class TrainingSettings:
    """How a task is trained and measured, the same for every run of its grid."""

    kind: str
    dataset: DatasetSettings
    model: ModelSettings
    loss: LossSettings
    update: UpdateSettings
    batch_size: int | None
    microbatch: int | None
    budget: BudgetSettings
    checks: CheckSettings

    @property
    def components(self) -> dict[str, str]:
        """The names of what a run is made of, by sort, see :mod:`samedge.base.components`."""
        named = {
            "kind": self.kind,
            "model": self.model.name,
            "loss": self.loss.name,
            "update": self.update.name,
        }
        schedule = self.update.schedule
        return named if schedule is None else named | {"schedule": schedule.name}


@dataclass(frozen=True)
class TaskSettings(TrainingSettings):
    """One task of the configuration with its grid of learning rates and radii, and the patterns of
    its blocks.
    """

    eta: tuple[str, ...]
    rho: tuple[str, ...]
    figure_rho: str
    blocks: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class RunSettings(TrainingSettings):
    """Everything that determines one training run (but for the machine).

    ``blocks`` and ``stochastic`` came later.
    """

    task: str
    eta: str
    rho: str
    seed: int
    source: str
    curvature: CurvatureSettings
    density: DensitySettings
    audit: AuditSettings
    divergence: DivergenceSettings
    precision: str
    blocks: BlockSettings = BlockSettings()
    stochastic: StochasticSettings = StochasticSettings()

    @property
    def name(self) -> str:
        """The run's name within its task, as in its file name: ``eta0.3_rho0.1_seed0``."""
        return f"eta{self.eta}_rho{self.rho}_seed{self.seed}"

    def to_json(self) -> str:
        """Return the canonical JSON text: equal settings give equal text.

        What came later is left out where it says what was in effect before, so that the text is
        that of files from before too.
        """
        return json.dumps(as_before(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "RunSettings":
        """Read what :meth:`to_json` wrote; any other text raises :class:`ValueError`."""
        return build(cls, json.loads(text))


@dataclass(frozen=True)
class FigureSettings:
    """How figures are drawn: the quantity on x, ``training_time`` (s) or ``step``."""

    time_axis: str


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


@dataclass(frozen=True)
class Experiment:
    """A validated configuration."""

    name: str
    source: str
    seeds: tuple[int, ...]
    device: str
    precision: str
    compilation_cache: str | None
    jobs_per_gpu: int
    together: TogetherSettings
    checkpoints: CheckpointSettings
    curvature: CurvatureSettings
    density: DensitySettings
    audit: AuditSettings
    divergence: DivergenceSettings
    figures: FigureSettings
    tasks: Mapping[str, TaskSettings]
    blocks: BlockSettings = BlockSettings()
    stochastic: StochasticSettings = StochasticSettings()
    claims: Path | None = None
    container: str | None = None
    plugins: tuple[Path, ...] = ()
    data_files: Mapping[str, Path] = dataclasses.field(default_factory=dict)  # by task

    def run(self, task: str, eta: str, rho: str, seed: int) -> RunSettings:
        """Return one run of a task; its learning rate, radius and seed may lie off the grid."""
        settings = self.tasks[task]
        shared = {f.name: getattr(settings, f.name) for f in dataclasses.fields(TrainingSettings)}
        return RunSettings(
            task=task,
            eta=eta,
            rho=rho,
            seed=seed,
            source=settings.dataset.source(self.source),
            curvature=self.curvature,
            density=self.density,
            audit=self.audit,
            divergence=self.divergence,
            precision=self.precision,
            blocks=BlockSettings(self.blocks.at, settings.blocks if self.blocks.at else {}),
            stochastic=self.stochastic if self.stochastic.batches else StochasticSettings(),
            **shared,
        )

    def at_once(self, runs: int) -> int:
        """Return how many of a job's runs may train at once, on a GPU unless ``device`` is cpu."""
        most = self.together.most or (1 if self.device == "cpu" else MOST_TOGETHER)
        return min(runs, most)

    def runs(self, task: str) -> list[RunSettings]:
        """Return the runs of a task: every learning rate, radius and seed of its grid."""
        settings = self.tasks[task]
        grid = itertools.product(settings.eta, settings.rho, self.seeds)
        return [self.run(task, eta, rho, seed) for eta, rho, seed in grid]

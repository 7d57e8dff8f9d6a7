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
from samedge.config.parts import (
    AuditSettings,
    BlockSettings,
    BudgetSettings,
    CheckpointSettings,
    CheckSettings,
    CurvatureSettings,
    DatasetSettings,
    DensitySettings,
    DivergenceSettings,
    FamilySettings,
    FigureSettings,
    ForkSettings,
    LossSettings,
    ModelSettings,
    StochasticSettings,
    TogetherSettings,
    UpdateSettings,
    WaySettings,
)

# Runs that train at once where neither the configuration nor a CPU says otherwise.
MOST_TOGETHER = 8
#: The table of claims that a configuration names, among the results and in an archive.
CLAIMS_FILE = "claims.toml"
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
    """One task of the configuration with its grid of learning rates and radii, the patterns of its
    blocks, and the runs that its own start from, None if they start at the beginning.
    """

    eta: tuple[str, ...]
    rho: tuple[str, ...]
    figure_rho: str
    blocks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    start_from: ForkSettings | None = None


@dataclass(frozen=True)
class StartSettings:
    """At which check of another run a run starts.

    Attributes
    ----------
    at
        The share of the other run's budget that this check is the first to have reached.
    run
        The settings of the other run but for its place in its grid, which is left empty.
    eta, rho
        Its learning rate and radius, None where they are those of the run that starts.
    """

    at: float
    run: "RunSettings"
    eta: str | None = None
    rho: str | None = None


@dataclass(frozen=True)
class RunSettings(TrainingSettings):
    """Everything that determines one training run (but for the machine).

    ``blocks``, ``stochastic``, ``start_from`` and ``way`` came later.
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
    blocks: BlockSettings = dataclasses.field(default_factory=BlockSettings)
    stochastic: StochasticSettings = dataclasses.field(default_factory=StochasticSettings)
    start_from: StartSettings | None = None
    way: WaySettings = dataclasses.field(default_factory=WaySettings)

    @property
    def parent(self) -> "RunSettings | None":
        """The run that this one starts from, which has its seed; None if at the beginning."""
        start = self.start_from
        if start is None:
            return None
        eta, rho = start.eta or self.eta, start.rho or self.rho
        return dataclasses.replace(start.run, eta=eta, rho=rho, seed=self.seed)

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
    blocks: BlockSettings = dataclasses.field(default_factory=BlockSettings)
    stochastic: StochasticSettings = dataclasses.field(default_factory=StochasticSettings)
    way: WaySettings = dataclasses.field(default_factory=WaySettings)
    families: Mapping[str, FamilySettings] = dataclasses.field(default_factory=dict)
    claims: Path | None = None
    container: str | None = None
    plugins: tuple[Path, ...] = ()
    data_files: Mapping[str, Path] = dataclasses.field(default_factory=dict)  # by task

    def run(self, task: str, eta: str, rho: str, seed: int) -> RunSettings:
        """Return one run of a task; its learning rate, radius and seed may lie off the grid."""
        settings = self.tasks[task]
        shared = {f.name: getattr(settings, f.name) for f in dataclasses.fields(TrainingSettings)}
        fork, start = settings.start_from, None
        if fork is not None:
            nowhere: dict[str, Any] = dict.fromkeys(("eta", "rho", "seed"), "")
            start = StartSettings(
                fork.at, self.run(fork.task, **nowhere), eta=fork.eta, rho=fork.rho
            )
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
            start_from=start,
            way=self.way if self.way.at else WaySettings(),
            **shared,
        )

    def states_at(self, task: str) -> tuple[float, ...]:
        """Return the shares of its budget at which a task's runs keep what others start from."""
        forks = [settings.start_from for settings in self.tasks.values()]
        return tuple(sorted({fork.at for fork in forks if fork and fork.task == task}))

    def at_once(self, runs: int) -> int:
        """Return how many of a job's runs may train at once, on a GPU unless ``device`` is cpu."""
        most = self.together.most or (1 if self.device == "cpu" else MOST_TOGETHER)
        return min(runs, most)

    def runs(self, task: str) -> list[RunSettings]:
        """Return the runs of a task: every learning rate, radius and seed of its grid."""
        settings = self.tasks[task]
        grid = itertools.product(settings.eta, settings.rho, self.seeds)
        return [self.run(task, eta, rho, seed) for eta, rho, seed in grid]

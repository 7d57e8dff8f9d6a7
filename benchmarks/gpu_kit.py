"""What the GPU's benchmark carries to a machine without a network: settings, data, CPU numbers.

A kit is a folder. ``settings.json`` has the runs by name ("default/mnist", "paper/mnist", …),
``sizes.json`` how much of everything is measured, ``operations.json`` the floating-point operations
of a step of each paper-size run, ``data/`` a data file for each run, and ``cpu/`` the run files of
the default runs, trained on a CPU. It is written where the whole
environment, ``TFDS_DATA_DIR`` and a CPU are; reading it takes NumPy and xarray alone.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr

from samedge.config.parts import BudgetSettings, CheckSettings
from samedge.config.settings import RunSettings
from samedge.data.file import TaskData, read_data, write_data

TRAIN = Path(__file__).resolve().parents[1] / "workflow" / "scripts" / "train_run.py"

#: Learning rate and radius of the run that stands for a task, in every size.
POINTS = {
    "mnist": ("0.3", "0.1"),
    "cifar10": ("0.003", "0.1"),
    "tiny_shakespeare": ("0.2", "0.3"),
}


#: Stores what a part has measured, by its key.
Store = Callable[[str, Any], None]


@dataclass(frozen=True)
class Sizes:
    """How much the benchmark does.

    Attributes
    ----------
    product
        Rows and columns of the matrix product that gives the card's rate.
    seconds
        How long each timing repeats what it times, at least (s).
    warm_up_steps, between_checks
        SAM steps before the cold check of a paper-size run, and from there to the warm one.
    together
        Numbers of runs whose steps are taken at once.
    sharing
        Jobs that share the card.
    traps
        How many of the planted spectra the solver is held to.
    references
        The problems of ``tests/reference`` that it is held to.
    tasks
        The tasks that parts go through.
    run_seconds
        How long a run of paper size may take, at most (s).
    """

    product: int
    seconds: float
    warm_up_steps: int
    between_checks: int
    together: tuple[int, ...]
    sharing: int
    traps: int
    references: tuple[str, ...]
    tasks: tuple[str, ...]
    run_seconds: float


REFERENCES = ("mnist_mlp", "cifar10_cnn", "tiny_shakespeare_transformer")
WHOLE = Sizes(8192, 0.5, 60, 10, (1, 2, 4, 8, 16), 3, 30, REFERENCES, tuple(POINTS), 3600.0)
SMALL = Sizes(256, 0.01, 2, 1, (1, 2), 2, 1, REFERENCES[:1], ("mnist",), 4.0)

# What is cut down in the small kit, which shows on a CPU that everything works.
SMALL_DATA = {"mnist": (100, 50), "cifar10": (20, 20), "tiny_shakespeare": (4000, 2000)}
SMALL_MODELS = {
    "mnist": {"depth": 3, "width": 16},
    "cifar10": {"blocks": 1, "channels": 4},
    "tiny_shakespeare": {
        "layers": 1,
        "heads": 2,
        "key_size": 4,
        "model_size": 8,
        "sequence_length": 16,
        "widening_factor": 2,
    },
}
SMALL_STEPS, SMALL_BATCH = 6, 8


@dataclass(frozen=True)
class Kit:
    """A kit that has been written; ``quick`` takes every time once, which compiles everything."""

    folder: Path
    quick: bool = False

    @property
    def sizes(self) -> Sizes:
        """How much to measure."""
        values = json.loads((self.folder / "sizes.json").read_text(encoding="utf-8"))
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        sizes = Sizes(**values | lists)
        return replace(sizes, seconds=0.0) if self.quick else sizes

    def settings(self, name: str) -> RunSettings:
        """Return a run by its name, such as "paper/mnist"."""
        runs = json.loads((self.folder / "settings.json").read_text(encoding="utf-8"))
        return RunSettings.from_json(json.dumps(runs[name]))

    def operations(self, task: str) -> float:
        """Return the floating-point operations of a paper-size SAM step of a task."""
        return json.loads((self.folder / "operations.json").read_text(encoding="utf-8"))[task]

    def data_file(self, name: str) -> Path:
        """Return the data file of a run."""
        return self.folder / "data" / f"{name.replace('/', '_')}.npz"

    def data(self, name: str) -> TaskData:
        """Return the data of a run."""
        return read_data(self.data_file(name))

    def cpu_run(self, task: str) -> xr.Dataset:
        """Return the default run of a task as a CPU trained it, in memory."""
        with xr.open_dataset(self.folder / "cpu" / f"{task}.nc") as file:
            return file.isel(eta=0, rho=0, seed=0).load()


def write_kit(
    folder: Path,
    small: bool,
    cache: Path | None = None,
    report: Callable[[str], None] = print,
) -> Kit:
    """Write a kit and train its default runs on this machine's CPU.

    Parameters
    ----------
    folder
        Where it is to lie.
    small
        Whether everything is cut down to what a CPU does in a minute.
    cache
        Where to keep the programs of the default runs; None keeps none.
    report
        Called with a line for each thing made.

    Raises
    ------
    UserError
        If the data are not where ``TFDS_DATA_DIR`` points to.
    RuntimeError
        If a run fails; the message is its log.
    """
    # Configurations and prepared data take packages that the machine with the GPU may lack.
    from benchmarks import jobs

    kit = Kit(folder)
    for part in ("data", "cpu"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    runs = {}
    for task, point in POINTS.items():
        for size, configurations in (("default", ()), ("paper", (jobs.PAPER,))):
            run = jobs.settings_of(task, *point, *configurations)
            runs[f"{size}/{task}"] = _cut_down(run) if small else run
    operations = {}
    for name, run in runs.items():
        data = jobs.data_of(run)
        write_data(kit.data_file(name), data.arrays, data.attributes)
        if name.startswith("paper"):
            operations[run.task] = step_operations(run, data)
        report(f"{name}: data of {kit.data_file(name).stat().st_size / 1e6:.1f} MB")
    _write_json(folder / "settings.json", {name: asdict(run) for name, run in runs.items()})
    _write_json(folder / "operations.json", operations)
    sizes = SMALL if small else WHOLE
    for task in sizes.tasks:
        name = f"default/{task}"
        report(f"{name}: training on the CPU")
        output = folder / "cpu" / f"{task}.nc"
        options = () if cache is None else ("--cache", str(cache))
        train_job(runs[name], kit.data_file(name), output, "cpu", *options)
    # Last: a kit that has it is whole.
    _write_json(folder / "sizes.json", asdict(sizes))
    return kit


def step_operations(settings: RunSettings, data: TaskData) -> float:
    """Return the floating-point operations of a SAM step, two gradients, as XLA counts them.

    XLA counts before it compiles, and on a CPU alone.
    """
    import jax

    from samedge.tasks.problems import build_problem, measured_batch

    problem = build_problem(settings, data)
    params = jax.eval_shape(problem.init, jax.random.key(0))
    batch = measured_batch(settings, problem, 0)
    lowered = jax.jit(jax.value_and_grad(problem.loss)).lower(params, *batch)
    return 2 * lowered.cost_analysis()["flops"]


def train_job(
    settings: RunSettings, data: Path, output: Path, device: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Train a run in a process of its own, as the workflow does.

    Raises
    ------
    RuntimeError
        If it fails; the message is its log.
    """
    done = subprocess.run(
        train_command(settings, data, output, device, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout)
    return done


def train_command(
    settings: RunSettings, data: Path, output: Path, device: str, *options: str
) -> list[str]:
    """Return the command of a training job."""
    command = [sys.executable, str(TRAIN), "--settings", settings.to_json(), "--data", str(data)]
    return [*command, "--output", str(output), "--device", device, *options]


def cut_to_steps(settings: RunSettings, steps: int, checks: int) -> RunSettings:
    """Return the same run with a budget of steps and evenly spaced checks, without densities."""
    return replace(
        settings,
        budget=BudgetSettings(steps=steps, hours=None),
        checks=CheckSettings(spacing="even", count=checks, minutes=None),
        density=replace(settings.density, at=()),
        audit=replace(settings.audit, at=()),
    )


def _cut_down(run: RunSettings) -> RunSettings:
    train, test = SMALL_DATA[run.task]
    return replace(
        cut_to_steps(run, SMALL_STEPS, 3),
        dataset=replace(run.dataset, train_examples=train, test_examples=test),
        model=replace(run.model, settings=SMALL_MODELS[run.task]),
        batch_size=None if run.batch_size is None else SMALL_BATCH,
        microbatch=None,
    )


def _write_json(path: Path, values: Mapping[str, object]) -> None:
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

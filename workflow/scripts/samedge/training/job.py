"""A job of training: from runs and paths to written files, going on from checkpoints.

Importing this imports no JAX: what needs it is imported once the device is prepared.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from samedge.base.errors import UserError
from samedge.base.files import require_file_path
from samedge.base.imports import sources_digest
from samedge.base.log import say
from samedge.config.grid import grid_runs
from samedge.config.settings import RunSettings
from samedge.machine.device import explain_out_of_memory, prepare_jax
from samedge.machine.signals import listening, raise_if_signalled
from samedge.training.checkpoints import Checkpoints, Interval, sole_writer
from samedge.training.observers.progress import ProgressFile, progress_files

if TYPE_CHECKING:
    from samedge.tasks.problems import Problem
    from samedge.training.forks import Start
    from samedge.training.observers.blocks import BlockObserver
    from samedge.training.observers.density import DensityObserver
    from samedge.training.observers.observer import Observer
    from samedge.training.observers.parameters import ParameterKeeper
    from samedge.training.observers.states import StateKeeper
    from samedge.training.observers.stochastic import StochasticObserver
    from samedge.training.observers.way import WayObserver
    from samedge.training.run import Result


@dataclass(frozen=True)
class PlannedRun:
    """One run of a job: its settings, its files, the folder of its checkpoints.

    Attributes
    ----------
    parameters
        The file of parameters to write, None if the run is to keep none.
    states
        The file to write of what other runs start from, None if none do; it is kept at the shares
        ``states_at`` of the budget.
    start
        The file of states that the run starts from, if its settings have a ``start_from``.
    """

    settings: RunSettings
    output: Path
    parameters: Path | None
    checkpoints: Path
    states: Path | None = None
    states_at: tuple[float, ...] = ()
    start: Path | None = None

    @property
    def outputs(self) -> list[Path]:
        """The files to write."""
        files = (self.output, self.parameters, self.states)
        return [path for path in files if path is not None]


@dataclass(frozen=True)
class JobOptions:
    """How a job trains its runs; nothing here changes what they come to, but for rounding.

    Attributes
    ----------
    data
        The task's data file.
    device, jobs_per_gpu
        See :func:`samedge.machine.device.prepare_jax`.
    cache
        The folder where compiled programs are kept; None keeps none.
    interval
        How far apart checkpoints are.
    most
        How many runs to train at once, see :func:`samedge.training.loop.batch_limit`.
    """

    data: Path
    device: str = "auto"
    jobs_per_gpu: int = 1
    cache: Path | None = None
    interval: Interval = field(default_factory=Interval)
    most: int | None = None


@dataclass(frozen=True)
class _Ended:
    """A run that has ended, and what was recorded of it."""

    run: PlannedRun
    density: "DensityObserver"
    blocks: "BlockObserver"
    stochastic: "StochasticObserver"
    way: "WayObserver"
    keeper: "ParameterKeeper | None"
    states: "StateKeeper | None"
    result: "Result"


def plan_grid(
    grid: str,
    output: Path,
    parameters: Path | None,
    checkpoints: Path,
    states: Path | None = None,
    states_at: tuple[float, ...] = (),
    start: Path | None = None,
) -> list[PlannedRun]:
    """Return the runs of a grid (:func:`samedge.config.grid.grid_json`), each with its files.

    The paths are folders, in which the files and the folder of checkpoints have the run's name;
    ``start`` is the folder of the folders of states of each task.

    Raises
    ------
    UserError
        If the text is no grid, or has no run.
    """
    runs = grid_runs(grid)
    if not runs:
        raise UserError("--grid: has no run; give at least one eta, rho and seed")
    return [
        PlannedRun(
            run,
            output / f"{run.name}.nc",
            None if parameters is None else parameters / f"{run.name}.nc",
            checkpoints / run.name,
            None if states is None else states / f"{run.name}.npz",
            states_at,
            None if start is None else start / of.task / f"{of.name}.npz",
        )
        for run in runs
        for of in [run.parent or run]
    ]


def run_job(runs: Sequence[PlannedRun], options: JobOptions) -> None:
    """Train runs of one task, or go on with them, and write their files.

    Where another process is at these runs, its end is waited for, and what it has made is taken.

    Raises
    ------
    UserError
        If a file cannot be written where it is to be, if parameters are to be kept of no check, if
        data and settings do not fit, or if the device is missing or has too little memory.
    Interrupted
        When SIGTERM or SIGINT has asked the process to end, with checkpoints written.
    """
    _require_outputs(runs)
    settings, several = runs[0].settings, len(runs) > 1
    outputs = [path for run in runs for path in run.outputs]
    before = [path.exists() for path in outputs]
    with ExitStack() as stack:
        waited = [stack.enter_context(sole_writer(run.checkpoints, say)) for run in runs]
        if any(waited) and not any(before) and all(path.exists() for path in outputs):
            place = runs[0].output.parent if several else runs[0].output
            say(f"the other process has finished this run: {place}")
            return
        progress = stack.enter_context(progress_files(runs, say))
        # From here on JAX is there, in which an exception of a signal's handler can be lost.
        stack.enter_context(listening())
        prepare_jax(settings.precision, options.device, jobs=options.jobs_per_gpu, report=say)
        with explain_out_of_memory(memory_advice(settings, together=several)):
            _train_and_write(runs, options, progress)


def memory_advice(run: RunSettings, together: bool) -> str:
    """Return what to change in the configuration for a job, of several runs or one, to take less.

    For :func:`samedge.machine.device.explain_out_of_memory`.
    """
    task = f"tasks.{run.task}"
    return (
        f"lower {task}.microbatch (now {run.microbatch or 'null, all examples at once'}), "
        f"curvature.max_vectors (now {run.curvature.max_vectors}), jobs_per_gpu, "
        f"{'together.most, ' if together else ''}or the size of {task}.model"
    )


def _require_outputs(runs: Sequence[PlannedRun]) -> None:
    """Refuse files that cannot be written, parameters of no check, and forks without a start."""
    if runs[0].parameters is not None and not runs[0].settings.audit.at:
        raise UserError(
            "--parameters: audit.at is empty, so that the parameters of no check are kept; give it "
            "shares of the budget, such as [1], or leave out --parameters"
        )
    for run in runs:
        for kind in ("output", "parameters", "states"):
            if (path := getattr(run, kind)) is not None:
                require_file_path(path, f"--{kind}")
        parent = run.settings.parent
        if parent is not None and run.start is None:
            raise UserError(
                f"{run.settings.task} {run.settings.name} starts from {parent.task} {parent.name}; "
                "give --start-from the states that it has kept (--states)"
            )


def _train_and_write(
    runs: Sequence[PlannedRun], options: JobOptions, progress: Sequence[ProgressFile]
) -> None:
    """Train runs on the device that JAX was prepared for, and write their files."""
    from samedge.data.file import read_data
    from samedge.machine.compilation_cache import count_programs, shared_programs
    from samedge.machine.provenance import provenance
    from samedge.tasks.problems import build_problem
    from samedge.training.forks import read_start
    from samedge.training.loop import batch_limit, split_evenly

    raise_if_signalled()
    programs = count_programs()
    data = read_data(options.data, raise_if_signalled)
    attributes = provenance(data)
    for file in progress:
        file.ready(attributes)
    # The date stands here, in the log, so that run files of equal settings can be equal.
    started = datetime.now(UTC).isoformat(timespec="seconds")
    names = ", ".join(run.settings.name for run in runs)
    say(f"{runs[0].settings.task} {names} on {attributes['device']}, started {started}")
    if attributes["unlocked_packages"]:
        say(f"warning: packages not of the lock's versions: {attributes['unlocked_packages']}")
    starts = [
        None if run.start is None else read_start(run.start, run.settings, data.checksum)
        for run in runs
    ]
    checkpoints = [
        checkpoints_of(run, attributes, options.interval, start)
        for run, start in zip(runs, starts, strict=True)
    ]
    limit, several = batch_limit(options.most), len(runs) > 1
    together = f"trained by samedge in a job of {len(runs)} runs, at most {limit} at once"
    history = together if several else "trained and measured by samedge"
    taken = 0.0
    with shared_programs(options.cache, say) as share:

        def share_and_say(line: str) -> None:
            share()
            say(line)

        problem = build_problem(runs[0].settings, data)
        members = [*zip(runs, checkpoints, starts, progress, strict=True)]
        for group in split_evenly(members, limit):
            raise_if_signalled()
            begun, ready = perf_counter(), programs.seconds
            trained = _train_group(group, problem, share_and_say, several)
            taken += perf_counter() - begun - (programs.seconds - ready)
            for ended in trained:
                _write(ended, attributes, history)
    say(f"trained and measured for {taken:.1f} s; {programs}")
    # Only now: what a job that fails has written so far is deleted.
    for kept in checkpoints:
        kept.remove()


def checkpoints_of(
    run: PlannedRun,
    attributes: Mapping[str, object],
    interval: Interval,
    start: "Start | None" = None,
) -> Checkpoints:
    """Return the checkpoints of a run, which belong to all that decides its numbers.

    ``attributes`` are what :func:`samedge.machine.provenance.provenance` says of data and machine.
    """
    identity = {
        "settings": run.settings.to_json(),
        "parameters": run.parameters is not None,
        "states": [run.states is not None, *run.states_at],
        "start": None if start is None else start.digest,
        "sources": sources_digest(Path(__file__), **run.settings.components),
        **{name: value for name, value in attributes.items() if name != "git_commit"},
    }
    return Checkpoints(run.checkpoints, identity, interval, say)


def _train_group(
    group: Sequence[tuple[PlannedRun, Checkpoints, "Start | None", ProgressFile]],
    problem: "Problem",
    report: Callable[[str], None],
    several: bool,
) -> list[_Ended]:
    """Train a group of runs at once.

    Of ``several`` runs in the job each line names its own, and what has ended is kept until all
    have.
    """
    from samedge.training.loop import Member, train_together
    from samedge.training.observers.blocks import BlockObserver
    from samedge.training.observers.density import DensityObserver
    from samedge.training.observers.parameters import ParameterKeeper
    from samedge.training.observers.states import StateKeeper
    from samedge.training.observers.stochastic import StochasticObserver
    from samedge.training.observers.way import WayObserver

    members, recorded = [], []
    for run, checkpoints, start, progress in group:
        settings = run.settings
        report_run = partial(_report_of, settings.name, report) if several else report
        density = DensityObserver(settings, problem, report_run)
        blocks = BlockObserver(settings, problem, report_run)
        stochastic = StochasticObserver(settings, problem, report_run)
        way = WayObserver(settings, problem, report_run)
        keeper = None if run.parameters is None else ParameterKeeper(settings.audit.at)
        states = None if run.states is None else StateKeeper(run.states_at)
        kept = [one for one in (keeper, states) if one is not None]
        observers: list[Observer] = [density, blocks, stochastic, way, *kept]
        members.append(Member(settings, report_run, observers, checkpoints, start, progress))
        recorded.append((run, density, blocks, stochastic, way, keeper, states))
    results = train_together(members, problem, save_results=several)
    return [_Ended(*parts, result) for parts, result in zip(recorded, results, strict=True)]


def _report_of(name: str, report: Callable[[str], None], line: str) -> None:
    report(f"{name}  {line}")


def _write(ended: _Ended, attributes: Mapping[str, object], history: str) -> None:
    """Write the files of a run that has ended."""
    from samedge.records import files
    from samedge.records.parameters import write_parameters
    from samedge.records.states import write_states

    run, (checks, outcome) = ended.run, ended.result
    if run.parameters is not None and ended.keeper is not None:
        write_parameters(run.parameters, run.settings, ended.keeper.kept, attributes)
    if run.states is not None and ended.states is not None:
        data = str(attributes["data_checksum"])
        write_states(run.states, run.settings, data, ended.states.kept, outcome)
    dataset = files.run_dataset(
        run.settings,
        checks,
        outcome,
        attributes,
        ended.density.records,
        history,
        ended.blocks.records,
        ended.stochastic.records,
        ended.way.records,
    )
    files.write(dataset, run.output)

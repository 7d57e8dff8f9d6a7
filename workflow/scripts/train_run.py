"""Train one run, or several of one task, measure their curvature, and write their NetCDF files.

Under Snakemake the settings come resolved as JSON; by hand they come from configuration files:

    python workflow/scripts/train_run.py --configfile config.yaml --task mnist \
        --eta 0.3 --rho 0.1 --seed 0 \
        --data results/default/data/mnist.npz --output run.nc
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, UserError, did_you_mean, run_script
from samedge.base.files import require_file_path
from samedge.base.imports import sources_digest
from samedge.base.log import say
from samedge.config.grid import grid_runs
from samedge.config.settings import RunSettings, decimal_string, float32_problem
from samedge.machine.device import explain_out_of_memory, prepare_jax
from samedge.machine.signals import listening, raise_if_signalled
from samedge.training.checkpoints import Checkpoints, Interval, sole_writer

if TYPE_CHECKING:
    from samedge.tasks.problems import Problem
    from samedge.training.run import Observer, Result

LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Job:
    """One run that this process trains: its settings, its files, the folder of its checkpoints."""

    settings: RunSettings
    output: Path
    parameters: Path | None
    checkpoints: Path

    @property
    def outputs(self) -> list[Path]:
        """The files to write."""
        return [path for path in (self.output, self.parameters) if path is not None]


def main(argv: list[str] | None = None) -> None:
    """Unpack the arguments, train or go on with it, write."""
    arguments = parse(argv)
    jobs = resolve_jobs(arguments)
    settings = jobs[0].settings
    if arguments.parameters is not None and not settings.audit.at:
        raise UserError(
            "--parameters: audit.at is empty, so that the parameters of no check are kept; give it "
            "shares of the budget, such as [1], or leave out --parameters"
        )
    outputs = [path for job in jobs for path in job.outputs]
    for job in jobs:
        require_file_path(job.output, "--output")
        if job.parameters is not None:
            require_file_path(job.parameters, "--parameters")
    before = [path.exists() for path in outputs]
    with ExitStack() as stack:
        waited = [stack.enter_context(sole_writer(job.checkpoints, say)) for job in jobs]
        if any(waited) and not any(before) and all(path.exists() for path in outputs):
            say(f"the other process has finished this run: {arguments.output}")
            return
        # From here on JAX is there, in which an exception of a signal's handler can be lost.
        stack.enter_context(listening())
        prepare_jax(settings.precision, arguments.device, jobs=arguments.jobs_per_gpu, report=say)
        with explain_out_of_memory(_lower(settings, together=len(jobs) > 1)):
            run(arguments, jobs)


def run(arguments: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Train runs on the device that JAX was prepared for, and write their files."""
    from samedge.data.file import read_data
    from samedge.machine.compilation_cache import count_programs, shared_programs
    from samedge.machine.provenance import provenance
    from samedge.tasks.problems import build_problem

    raise_if_signalled()
    programs = count_programs()
    data = read_data(arguments.data, raise_if_signalled)
    attributes = provenance(data)
    # The date stands here, in the log, so that run files of equal settings can be equal.
    started = datetime.now(UTC).isoformat(timespec="seconds")
    names = ", ".join(job.settings.name for job in jobs)
    say(f"{jobs[0].settings.task} {names} on {attributes['device']}, started {started}")
    if attributes["unlocked_packages"]:
        say(f"warning: packages not of the lock's versions: {attributes['unlocked_packages']}")
    interval = Interval(arguments.checkpoint_minutes or None, arguments.checkpoint_steps or None)
    together = len(jobs) > 1
    checkpoints = [_checkpoints(job, attributes, interval) for job in jobs]
    members = [*zip(jobs, checkpoints, strict=True)]
    parts, history = [members], "trained and measured by samedge"
    if together:
        from samedge.training.loop import groups, most_at_once

        most = most_at_once(arguments.most or None)
        parts = groups(members, most)
        history = f"trained by samedge in a job of {len(jobs)} runs, at most {most} at once"
    taken = 0.0
    with shared_programs(arguments.cache, say) as share:

        def progress(line: str) -> None:
            share()
            say(line)

        problem = build_problem(jobs[0].settings, data)
        for group in parts:
            raise_if_signalled()
            begun, ready = time.perf_counter(), programs.seconds
            trained = train(group, problem, progress, together)
            taken += time.perf_counter() - begun - (programs.seconds - ready)
            for (job, _), (observers, result) in zip(group, trained, strict=True):
                write(job, observers, result, attributes, history)
    say(f"trained and measured for {taken:.1f} s; {programs}")
    # Only now: what a job that fails has written so far is deleted.
    for kept in checkpoints:
        kept.remove()


def train(
    group: Sequence[tuple[Job, Checkpoints]],
    problem: "Problem",
    report: Callable[[str], None],
    together: bool,
) -> list[tuple[Sequence["Observer"], "Result"]]:
    """Train a group of runs at once; return the observers of each, and what came of it."""
    from samedge.training import run as training
    from samedge.training.observers import DensityObserver

    members = []
    for job, checkpoints in group:
        say_of = partial(_say_of, job.settings.name, report) if together else report
        observers: list[Observer] = [DensityObserver(job.settings, problem, say_of)]
        if job.parameters is not None:
            from samedge.records.parameters import ParameterKeeper

            observers.append(ParameterKeeper(job.settings.audit.at))
        members.append((job.settings, say_of, observers, checkpoints))
    if together:
        from samedge.training.loop import Member, train_together

        results = train_together([Member(*member) for member in members], problem)
    else:
        [(settings, say_of, observers, checkpoints)] = members
        results = [training.train(settings, problem, say_of, observers, checkpoints)]
    return [(member[2], result) for member, result in zip(members, results, strict=True)]


def write(
    job: Job,
    observers: Sequence["Observer"],
    result: "Result",
    attributes: Mapping[str, object],
    history: str,
) -> None:
    """Write the files of a run that has ended."""
    from samedge.records import files

    (density, *keepers), (checks, outcome) = observers, result
    for keeper in keepers:
        from samedge.records.parameters import write_parameters

        write_parameters(job.parameters, job.settings, keeper.kept, attributes)
    dataset = files.run_dataset(job.settings, checks, outcome, attributes, density.records, history)
    files.write(dataset, job.output)


def _say_of(name: str, report: Callable[[str], None], line: str) -> None:
    report(f"{name}  {line}")


def _checkpoints(job: Job, attributes: Mapping[str, object], interval: Interval) -> Checkpoints:
    """Return the checkpoints of a run, of which those of a job of several runs are not its own."""
    identity = {
        "settings": job.settings.to_json(),
        "parameters": job.parameters is not None,
        "sources": sources_digest(Path(__file__), **job.settings.components),
        **{name: value for name, value in attributes.items() if name != "git_commit"},
    }
    return Checkpoints(job.checkpoints, identity, interval, say)


def _lower(settings: RunSettings, together: bool) -> str:
    """Return what to change in the configuration for a job that takes less memory."""
    task = f"tasks.{settings.task}"
    return (
        f"lower {task}.microbatch (now {settings.microbatch or 'null, all examples at once'}), "
        f"curvature.max_vectors (now {settings.curvature.max_vectors}), jobs_per_gpu, "
        f"{'together.most, ' if together else ''}or the size of {task}.model"
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = Parser(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the task's data file (.npz)")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="the run file to write (.nc); with --grid the folder of run files, each by its name",
    )
    parser.add_argument(
        "--parameters",
        type=Path,
        help="file to keep the parameters in that audit.at asks for (.nc); with --grid a folder",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument(
        "--jobs-per-gpu", type=int, default=1, help="jobs that share one GPU and its memory"
    )
    parser.add_argument("--cache", type=Path, help="folder where compiled programs are kept")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        help="folder for this run's checkpoints, from which it goes on; beside the run file if not "
        "given; with --grid the folder of those folders",
    )
    parser.add_argument(
        "--checkpoint-minutes",
        type=float,
        default=10.0,
        help="minutes from one checkpoint to the next, 10 if not given; 0 for no limit",
    )
    parser.add_argument(
        "--checkpoint-steps",
        type=int,
        default=0,
        help="steps from one checkpoint to the next; 0, if not given, for no limit",
    )
    parser.add_argument("--settings", help="a run's settings as JSON, instead of the following")
    parser.add_argument(
        "--grid",
        help="the settings of several runs of a task as JSON, with lists of eta, rho and seed, to "
        "train them all",
    )
    parser.add_argument(
        "--most",
        type=int,
        default=0,
        help="runs of a grid to train at once, 1 for one after the other; 0, if not given, for 8, "
        "on a CPU 1",
    )
    parser.add_argument(
        "--configfile", type=Path, nargs="+", help="configuration, each file over the ones before"
    )
    parser.add_argument("--task", help="name of a task of the configuration")
    parser.add_argument("--eta", help="learning rate")
    parser.add_argument("--rho", help="radius of SAM's perturbation; 0 is gradient descent")
    parser.add_argument("--seed", help="of initial weights and minibatches; 0 if not given")
    arguments = parser.parse_args(argv)
    by_hand = ("configfile", "task", "eta", "rho")
    given = [name for name in (*by_hand, "seed") if getattr(arguments, name) is not None]
    missing = [name for name in by_hand if name not in given]
    whole = [name for name in ("settings", "grid") if getattr(arguments, name) is not None]
    if not whole and missing:
        parser.error(f"needs --settings, or else --{', --'.join(missing)}")
    given = [*whole[1:], *given]
    if whole and given:
        parser.error(f"--{whole[0]} says it all; leave out --{', --'.join(given)}")
    least = {"jobs_per_gpu": 1, "checkpoint_minutes": 0, "checkpoint_steps": 0, "most": 0}
    for name, bound in least.items():
        value = getattr(arguments, name)
        if not value >= bound:
            option = name.replace("_", "-")
            parser.error(f"argument --{option}: {value:g} must be at least {bound}")
    if arguments.checkpoints is None:
        arguments.checkpoints = arguments.output.with_suffix(".checkpoints")
    return arguments


def resolve_jobs(arguments: argparse.Namespace) -> list[Job]:
    """Return the runs that the arguments ask for, with their files."""
    if arguments.grid is None:
        settings = resolve(arguments)
        return [Job(settings, arguments.output, arguments.parameters, arguments.checkpoints)]
    jobs = []
    runs = grid_runs(arguments.grid)
    if not runs:
        raise UserError("--grid: has no run; give at least one eta, rho and seed")
    for settings in runs:
        file = f"{settings.name}.nc"
        parameters = None if arguments.parameters is None else arguments.parameters / file
        checkpoints = arguments.checkpoints / settings.name
        jobs.append(Job(settings, arguments.output / file, parameters, checkpoints))
    return jobs


def resolve(arguments: argparse.Namespace) -> RunSettings:
    """Return the settings of the run that the arguments ask for.

    By hand, learning rate, radius and seed need not be in the configuration's grid.
    """
    if arguments.settings is not None:
        return _from_json(arguments.settings)
    # Reading YAML and checking it against a schema takes imports that a job of the workflow spares.
    from samedge.config.experiment import load

    experiment = load(arguments.configfile)
    if arguments.task not in experiment.tasks:
        known = ", ".join(experiment.tasks)
        raise UserError(
            f"--task: the configuration has no task '{arguments.task}'"
            f"{did_you_mean(arguments.task, experiment.tasks)} (it has: {known})"
        )
    return experiment.run(
        arguments.task,
        _positive("--eta", arguments.eta, zero=False),
        _positive("--rho", arguments.rho, zero=True),
        _seed("0" if arguments.seed is None else arguments.seed),
    )


def _from_json(text: str) -> RunSettings:
    try:
        return RunSettings.from_json(text)
    except ValueError as error:
        raise UserError(
            f"--settings: must be the JSON of one run's settings ({error}); by hand, give "
            "--configfile, --task, --eta and --rho instead"
        ) from error


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= LARGEST_SEED):
        raise UserError(f"--seed: '{text}' must be a whole number from 0 to {LARGEST_SEED}")
    return int(text)


def _positive(option: str, text: str, zero: bool) -> str:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        bound = "at least 0" if zero else "greater than 0"
        raise UserError(f"{option}: '{text}' must be a number {bound}")
    problem = float32_problem(value, zero)
    if problem:
        raise UserError(f"{option}: {problem}")
    # As the configuration spells it: a whole number stays one, 1.0e-3 and 0.0010 become 0.001.
    return decimal_string(text if text.strip().isdecimal() else value)


if __name__ == "__main__":
    run_script(main)

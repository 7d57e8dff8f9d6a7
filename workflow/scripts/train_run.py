"""Train one run, measure its curvature on the way, and write its NetCDF file.

Under Snakemake the settings come resolved as JSON; by hand they come from configuration files:

    python workflow/scripts/train_run.py --configfile config.yaml --task mnist \
        --eta 0.3 --rho 0.1 --seed 0 \
        --data results/default/data/mnist.npz --output run.nc
"""

import argparse
import math
import time
from datetime import UTC, datetime
from pathlib import Path

from samedge.checkpoint import Checkpoints, Interval, sole_writer
from samedge.device import named_memory, prepare_jax
from samedge.errors import Parser, UserError, nearest, run_script
from samedge.logs import say
from samedge.run_modules import sources_digest
from samedge.settings import RunSettings, decimal_string

LARGEST_SEED = 2**32 - 1


def main(argv: list[str] | None = None) -> None:
    """Unpack the arguments, train or go on with it, write."""
    arguments = parse(argv)
    settings = resolve(arguments)
    if arguments.parameters is not None and not settings.audit.at:
        raise UserError(
            "--parameters: audit.at is empty, so that the parameters of no check are kept; give it "
            "shares of the budget, such as [1], or leave out --parameters"
        )
    outputs = [path for path in (arguments.output, arguments.parameters) if path is not None]
    before = [path.exists() for path in outputs]
    with sole_writer(arguments.checkpoints, say) as waited:
        if waited and not any(before) and all(path.exists() for path in outputs):
            say(f"the other process has finished this run: {arguments.output}")
            return
        prepare_jax(settings.precision, arguments.device, jobs=arguments.jobs_per_gpu, report=say)
        with named_memory(_lower(settings)):
            run(arguments, settings)


def run(arguments: argparse.Namespace, settings: RunSettings) -> None:
    """Train one run on the device that JAX was prepared for, and write its files."""
    from samedge import records
    from samedge.datasets import read_data
    from samedge.observers import DensityObserver
    from samedge.parameters import ParameterKeeper, write_parameters
    from samedge.problems import build_problem
    from samedge.programs import count_programs, shared_programs
    from samedge.provenance import provenance
    from samedge.training import train

    programs = count_programs()
    data = read_data(arguments.data)
    attributes = provenance(data)
    # The date stands here, in the log, so that run files of equal settings can be equal.
    started = datetime.now(UTC).isoformat(timespec="seconds")
    say(f"{settings.task} {settings.name} on {attributes['device']}, started {started}")
    if attributes["unlocked_packages"]:
        say(f"warning: other packages than the lock's: {attributes['unlocked_packages']}")
    checkpoints = Checkpoints(
        arguments.checkpoints,
        {
            "settings": settings.to_json(),
            "parameters": arguments.parameters is not None,
            "sources": sources_digest(),
            **{name: value for name, value in attributes.items() if name != "git_commit"},
        },
        Interval(arguments.checkpoint_minutes or None, arguments.checkpoint_steps or None),
        say,
    )
    with shared_programs(arguments.cache, say) as share:

        def progress(line: str) -> None:
            share()
            say(line)

        problem = build_problem(settings, data)
        density = DensityObserver(settings, problem, progress)
        keeper = ParameterKeeper(settings.audit.at if arguments.parameters else ())
        begun, ready = time.perf_counter(), programs.seconds
        checks, outcome = train(settings, problem, progress, [density, keeper], checkpoints)
        taken = time.perf_counter() - begun - (programs.seconds - ready)
    say(f"trained and measured for {taken:.1f} s; {programs}")
    if arguments.parameters is not None:
        write_parameters(arguments.parameters, settings, keeper.kept, attributes)
    dataset = records.run_dataset(settings, checks, outcome, attributes, density.records)
    records.write(dataset, arguments.output)
    checkpoints.remove()


def _lower(settings: RunSettings) -> str:
    """Return what to change in the configuration for a run that takes less memory."""
    task = f"tasks.{settings.task}"
    return (
        f"lower {task}.microbatch (now {settings.microbatch or 'null, all examples at once'}), "
        f"curvature.max_vectors (now {settings.curvature.max_vectors}), jobs_per_gpu, or the size "
        f"of {task}.model"
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = Parser(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the task's data file (.npz)")
    parser.add_argument("--output", type=Path, required=True, help="the run file to write (.nc)")
    parser.add_argument(
        "--parameters",
        type=Path,
        help="file to keep the parameters in that audit.at asks for (.nc)",
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
        "given",
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
    if arguments.settings is None and missing:
        parser.error(f"needs --settings, or else --{', --'.join(missing)}")
    if arguments.settings is not None and given:
        parser.error(f"--settings says it all; leave out --{', --'.join(given)}")
    least = {"jobs_per_gpu": 1, "checkpoint_minutes": 0, "checkpoint_steps": 0}
    for name, bound in least.items():
        value = getattr(arguments, name)
        if not value >= bound:
            option = name.replace("_", "-")
            parser.error(f"argument --{option}: {value:g} must be at least {bound}")
    if arguments.checkpoints is None:
        arguments.checkpoints = arguments.output.with_suffix(".checkpoints")
    return arguments


def resolve(arguments: argparse.Namespace) -> RunSettings:
    """Return the settings of the run that the arguments ask for.

    By hand, learning rate, radius and seed need not be in the configuration's grid.
    """
    if arguments.settings is not None:
        return _from_json(arguments.settings)
    # Reading YAML and checking it against a schema takes imports that a job of the workflow spares.
    from samedge.configuration import load

    experiment = load(arguments.configfile)
    if arguments.task not in experiment.tasks:
        known = ", ".join(experiment.tasks)
        raise UserError(
            f"--task: the configuration has no task '{arguments.task}'"
            f"{nearest(arguments.task, experiment.tasks)} (it has: {known})"
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
    # As the configuration spells it: a whole number stays one, 1.0e-3 and 0.0010 become 0.001.
    return decimal_string(text if text.strip().isdecimal() else value)


if __name__ == "__main__":
    run_script(main)

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
from functools import partial
from pathlib import Path

from samedge.device import prepare_jax
from samedge.errors import UserError, nearest, run_script
from samedge.settings import RunSettings, decimal_string

LARGEST_SEED = 2**32 - 1

say = partial(print, flush=True)  # a line of the log, at once


def main(argv: list[str] | None = None) -> None:
    """Unpack the arguments, train, write."""
    arguments = parse(argv)
    settings = resolve(arguments)
    if arguments.parameters is not None and not settings.audit.at:
        raise UserError(
            "--parameters: audit.at is empty, so that the parameters of no check are kept; give it "
            "shares of the budget, such as [1], or leave out --parameters"
        )
    prepare_jax(settings.precision, arguments.device)

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
    with shared_programs(arguments.cache, say) as share:

        def progress(line: str) -> None:
            share()
            say(line)

        problem = build_problem(settings, data)
        density = DensityObserver(settings, problem, progress)
        keeper = ParameterKeeper(settings.audit.at if arguments.parameters else ())
        begun, ready = time.perf_counter(), programs.seconds
        checks, outcome = train(settings, problem, progress, [density, keeper])
        taken = time.perf_counter() - begun - (programs.seconds - ready)
    say(f"trained and measured for {taken:.1f} s; {programs}")
    dataset = records.run_dataset(settings, checks, outcome, attributes, density.records)
    records.write(dataset, arguments.output)
    if arguments.parameters is not None:
        write_parameters(arguments.parameters, settings, keeper.kept, attributes)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the task's data file (.npz)")
    parser.add_argument("--output", type=Path, required=True, help="the run file to write (.nc)")
    parser.add_argument(
        "--parameters",
        type=Path,
        help="file to keep the parameters in that audit.at asks for (.nc)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--cache", type=Path, help="folder where compiled programs are kept")
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

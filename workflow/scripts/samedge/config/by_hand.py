"""The settings of a run that somebody names on a command line."""

import math
from collections.abc import Sequence
from pathlib import Path

from samedge.base.errors import UserError, did_you_mean
from samedge.config.settings import RunSettings, decimal_string, float32_problem

LARGEST_SEED = 2**32 - 1


def settings_from_json(text: str) -> RunSettings:
    """Return the settings that the option ``--settings`` gives.

    Raises
    ------
    UserError
        If the text is not the JSON of one run's settings.
    """
    try:
        return RunSettings.from_json(text)
    except ValueError as error:
        raise UserError(
            f"--settings: must be the JSON of one run's settings ({error}); by hand, give "
            "--configfile, --task, --eta and --rho instead"
        ) from error


def settings_by_hand(
    configfiles: Sequence[Path], task: str, eta: str, rho: str, seed: str
) -> RunSettings:
    """Return the settings of a run of a configuration's task.

    Learning rate, radius and seed are as written on the command line; they need not be in the
    configuration's grid.

    Raises
    ------
    UserError
        If a file is no configuration, or has no such task, or a number is out of range.
    """
    # Reading YAML and checking it against a schema takes imports that a job of the workflow spares.
    from samedge.config.experiment import load

    experiment = load(configfiles)
    if task not in experiment.tasks:
        known = ", ".join(experiment.tasks)
        raise UserError(
            f"--task: the configuration has no task '{task}'"
            f"{did_you_mean(task, experiment.tasks)} (it has: {known})"
        )
    return experiment.run(
        task, _positive("--eta", eta, zero=False), _positive("--rho", rho, zero=True), _seed(seed)
    )


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

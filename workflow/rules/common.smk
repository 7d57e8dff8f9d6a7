# What the rules share: the validated experiment, its grid, its paths. No rules.

import sys

from snakemake.exceptions import WorkflowError

sys.path.insert(0, f"{workflow.basedir}/workflow/scripts")

from samedge.configuration import validate
from samedge.errors import UserError

try:
    EXPERIMENT = validate(config)
except UserError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{EXPERIMENT.name}"
PACKAGE = "workflow/scripts/samedge"
TASKS = list(EXPERIMENT.tasks)


wildcard_constraints:
    task="|".join(TASKS),


def modules(*names):
    """Return the sources of these modules of the package, for a rule's input.

    Snakemake sees edits of a script, not of what the script imports.
    """
    return [f"{PACKAGE}/{name}.py" for name in names]


def runs_of(task):
    """Return the settings of every run of a task."""
    return EXPERIMENT.runs(task)


def run_path(run):
    """Return the path of a run's file."""
    return f"{RESULTS}/runs/{run.task}/{run.name}.nc"


def figure_paths(number):
    """Return both files of a figure."""
    return [f"{RESULTS}/figures/figure_{number}.{kind}" for kind in ("pdf", "png")]


def supplement_paths():
    """Return the folder of each task's plots of every run."""
    return [f"{RESULTS}/supplement/{task}" for task in TASKS]

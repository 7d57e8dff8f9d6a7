# What the rules share: the validated experiment, its grid, its paths. No rules.

import sys
from functools import cache
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.io import sourcecache_entry
from snakemake.utils import update_config

# The checkout, wherever Snakemake runs: in it, in another folder, or for a workflow that uses this
# one as a module.
ROOT = Path(str(workflow.current_basedir)).parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from samedge.config.experiment import validate
from samedge.base.errors import UserError
from samedge.config.paper_figures import (
    FIGURES,
    TASK_KINDS,
    drawable,
    task_figures,
    unnumbered,
)
from samedge.config.grid import AXES, grid_json, grid_runs
from samedge.base.log import say, spell_out
from samedge.base.plugins import require_importable
from samedge.base.process import put_python_first
from samedge.records.progress.plan import write_plan
from samedge.tasks.memory import audit_mb, together_mb
from samedge.base.components import PLUGIN_FOLDER, plugins_of
from samedge.base.imports import sources_of

# Snakemake's own output too: a message may quote any character of a configuration.
spell_out()

if workflow.modifier.skip_configfile:
    # Used as a module: what it is given lies over the default experiment, as an overlay does.
    given, config = config, load_configfile(ROOT / "config.yaml")
    update_config(config, given)

# In the order in which they were merged: Snakemake lists those of the command line first.
CONFIGFILES = [
    *(
        path
        for path in workflow.configfiles
        if path not in workflow.overwrite_configfiles
    ),
    *workflow.overwrite_configfiles,
]
try:
    EXPERIMENT = validate(config, paths=CONFIGFILES)
    if workflow.is_main_process:
        require_importable(EXPERIMENT.plugins)
except UserError as error:
    raise WorkflowError(str(error)) from None


def spell_shares(shares):
    """Return shares of the budget as a caption lists them."""
    return ", ".join(f"{share:g}" for share in shares)


# Whether Snakemake runs in the checkout: jobs elsewhere, such as in a pod, unpack a copy of it.
IN_PLACE = ROOT == Path.cwd() and workflow.modifier.is_main_snakefile()
RESULTS = f"results/{EXPERIMENT.name}"
# What a module's paths begin with. Snakemake puts it before inputs and outputs itself.
PREFIX = workflow.modifier.path_modifier.prefix or ""
PACKAGE = "workflow/scripts/samedge"
TASKS = list(EXPERIMENT.tasks)
# Whether this call of Snakemake writes a report on what is there, and runs nothing.
REPORTING = (
    any(argument.partition("=")[0] == "--report" for argument in sys.argv)
    and "--report-after-run" not in sys.argv
)
# What training a run writes; parameters are kept where the configuration asks for an audit.
RUN_NAME = "eta{eta}_rho{rho}_seed{seed}"
TRAINED = {
    kind: f"{RESULTS}/{folder}/{{task}}/{RUN_NAME}.nc"
    for kind, folder in {"parameters": "parameters", "run": "runs"}.items()
    if kind == "run" or EXPERIMENT.audit.at
}
STATES_PATH = f"{RESULTS}/states/{{task}}/{RUN_NAME}.npz"
TRAINING_RESOURCES = {
    "gpu": 1,
    # No parameter: where compiled programs lie changes no run, and trains none again.
    "compilation_cache": EXPERIMENT.compilation_cache or f"{PREFIX}{RESULTS}/cache/jax",
    "jobs_per_gpu": EXPERIMENT.jobs_per_gpu,
    # Neither do these, where 0 is no limit.
    "checkpoint_minutes": str(EXPERIMENT.checkpoints.minutes or 0),
    "checkpoint_steps": EXPERIMENT.checkpoints.steps or 0,
}
TRAINING_OPTIONS = (
    " --device {params.device}"
    " --jobs-per-gpu {resources.jobs_per_gpu}"
    " --checkpoints {params.checkpoints:q}"
    " --checkpoint-minutes {resources.checkpoint_minutes}"
    " --checkpoint-steps {resources.checkpoint_steps}"
    " --cache {resources.compilation_cache:q} --data {input.data:q}"
)
# The figures of what a configuration may measure, of which every task has one: whether it does, what
# to say where it does not, what they show, and what their captions tell of the configuration.
OPTIONAL = {
    "density": (
        bool(EXPERIMENT.density.at),
        "no density is estimated, because density.at is empty; give shares of the budget, such as "
        "[0, 0.5, 1]",
        "density of eigenvalues",
        {
            "at": spell_shares(EXPERIMENT.density.at),
            "probes": EXPERIMENT.density.probes,
            "steps": EXPERIMENT.density.steps,
        },
    ),
    "blocks": (
        bool(EXPERIMENT.blocks.at),
        "no blocks are measured, because blocks.at is empty or not there; give shares of the "
        "budget, such as blocks: {at: [0, 0.5, 1]}",
        "sharpness of blocks",
        {"at": spell_shares(EXPERIMENT.blocks.at)},
    ),
    "stochastic": (
        bool(EXPERIMENT.stochastic.batches),
        "nothing of minibatches is measured, because stochastic.batches is 0 or not there; give a "
        "number, such as stochastic: {batches: 16}",
        "minibatches at the edge",
        {"batches": EXPERIMENT.stochastic.batches},
    ),
    "way": (
        bool(EXPERIMENT.way.at),
        "the way to the SAM point is not measured, because way.at is empty or not there; give "
        "shares of the budget, such as way: {at: [0, 0.5, 1]}",
        "way to the SAM point",
        {"at": spell_shares(EXPERIMENT.way.at)},
    ),
}
OF_A_TASK = [*OPTIONAL, "edge_map"]
MEASURED = [name for name in OF_A_TASK if name not in OPTIONAL or OPTIONAL[name][0]]
# The figures whose task and radii the configuration has, by the number in their file name.
DRAWN = {f"{number:02d}": FIGURES[number] for number in drawable(EXPERIMENT.tasks)}


if not workflow.deployment_settings.deployment_method:
    # Jobs run the Python that runs Snakemake, be its environment entered or not. Where Snakemake
    # deploys environments, theirs is the first on the PATH.
    put_python_first()


wildcard_constraints:
    task="|".join(TASKS),
    eta=r"[0-9.]+",
    rho=r"[0-9.]+",
    seed=r"[0-9]+",


class FromCube:
    """What the captions of the report say of a cube's runs, read when the report is written.

    As a parameter it is no reason to run a job again: Snakemake passes over what it cannot
    represent.
    """

    def __init__(self, path):
        self.path = path

    def __str__(self):
        from samedge.records.describe import caption

        return caption(self.path)


def source_file(path):
    """Return a file of the repository, for a rule's input.

    Where results are on object storage it is not looked for there. A file marked as local would
    keep the job on the machine that submits; one of the sources goes along. Recorded is its path in
    the checkout, so that a checkout may move.
    """
    return sourcecache_entry(path if IN_PLACE else str(ROOT / path), path)


def script(name):
    """Return a script of the workflow, for a rule's input."""
    return source_file(f"workflow/scripts/{name}.py")


def sources(name, **components):
    """Return the files of the package that decide what a script does, for a rule's input.

    Snakemake sees edits of a script, not of what the script imports.
    """
    path = ROOT / "workflow" / "scripts" / f"{name}.py"
    return [source_file(f"{PACKAGE}/{file}") for file in sources_of(path, **components)]


def plugin_copies(**components):
    """Return copies of the plugins that components come from, for a rule's input.

    Copies are among the results, so that jobs find them wherever they run.
    """
    return [
        f"{RESULTS}/{PLUGIN_FOLDER}/{path.name}" for path in plugins_of(**components)
    ]


def dataset_of(wildcards):
    """Return the settings of the data set of the task that a job's wildcards name."""
    return EXPERIMENT.tasks[wildcards.task].dataset


def task_plugins(task):
    """Return copies of the plugins that runs of a task need."""
    return plugin_copies(**EXPERIMENT.tasks[task].components)


@cache
def task_sources(name, task):
    """Return what decides a script's work on runs of a task; read once, not for every job."""
    return sources(name, **EXPERIMENT.tasks[task].components)


@cache
def runs_of(task):
    """Return the settings of every run of a task."""
    return EXPERIMENT.runs(task)


@cache
def runs_by_name(task):
    """Return the settings of every run of a task by its name; made once, not for every job."""
    return {run.name: run for run in runs_of(task)}


def axes_of(task):
    """Return the learning rates, radii and seeds of a task's grid, as text."""
    settings = EXPERIMENT.tasks[task]
    return {
        "eta": settings.eta,
        "rho": settings.rho,
        "seed": [*map(str, EXPERIMENT.seeds)],
    }


def run_of(task, name):
    """Return the settings of the run of a task that has this name."""
    runs = runs_by_name(task)
    if name not in runs:
        axes = {axis: ", ".join(values) for axis, values in axes_of(task).items()}
        raise WorkflowError(
            f"{name} is not in the grid of tasks.{task}: eta {axes['eta']}; "
            f"rho {axes['rho']}; seeds {axes['seed']}"
        )
    return runs[name]


def run_path(run):
    """Return the path of a run's file."""
    return f"{RESULTS}/runs/{run.task}/{run.name}.nc"


def parameters_path(run):
    """Return the path of the parameters that a run keeps for its audit."""
    return f"{RESULTS}/parameters/{run.task}/{run.name}.nc"


def first_run(task):
    """Return the settings of one run of a task, from which those of all are estimated."""
    settings = EXPERIMENT.tasks[task]
    return EXPERIMENT.run(task, settings.eta[0], settings.rho[0], EXPERIMENT.seeds[0])


def run_mb(estimate):
    """Return a rule's memory, megabytes by wildcards: one estimate for all runs of a task."""
    megabytes = {task: estimate(first_run(task)) for task in TASKS}
    return lambda wildcards: megabytes[wildcards.task]


def figure_paths(number):
    """Return both files of a figure."""
    return [f"{RESULTS}/figures/figure_{number}.{kind}" for kind in ("pdf", "png")]


def task_figure_paths(*figures):
    """Return both files of figures of tasks."""
    return [
        f"{RESULTS}/figures/{figure.stem}.{kind}"
        for figure in figures
        for kind in ("pdf", "png")
    ]


def figures_named(name, task):
    """Return the figures of a task under a name, at each of its radii."""
    return [
        figure
        for figure in task_figures(task, EXPERIMENT.tasks[task].rho)
        if figure.name == name
    ]


def figures_of(name, *tasks):
    """Return both files of a figure that every task, or family, has one of, such as an edge map."""
    return [
        f"{RESULTS}/figures/{name}_{task}.{kind}"
        for task in tasks
        for kind in ("pdf", "png")
    ]


def existing_if_reporting(*jobs):
    """Return the outputs of jobs; when a report is written, of those only whose outputs all exist.

    Snakemake does not report on results that are not complete.
    """
    return [
        path
        for outputs in jobs
        if not REPORTING or all(Path(PREFIX + path).exists() for path in outputs)
        for path in outputs
    ]


def cube_paths(number):
    """Return the cube that a figure needs; Figure 1 is a formula and has none."""
    task = DRAWN[number].task
    return [f"{RESULTS}/cubes/{task}.nc"] if task else []


def cube_of_measured(name):
    """Return a rule's cube that such a figure is drawn from, if the configuration asks for it."""

    def cube(wildcards):
        asked, otherwise, *_ = OPTIONAL[name]
        if not asked:
            raise WorkflowError(f"{name}_{wildcards.task}: {otherwise}")
        return f"{RESULTS}/cubes/{wildcards.task}.nc"

    return cube


def claims_paths():
    """Return the verdicts on the claims: as a table, as data, and as one page."""
    return [
        f"{RESULTS}/claims.csv",
        f"{RESULTS}/claims.json",
        f"{RESULTS}/figures/claims.pdf",
        f"{RESULTS}/figures/claims.png",
    ]


def supplement_paths():
    """Return the folder of each task's plots of every run."""
    return [f"{RESULTS}/supplement/{task}" for task in TASKS]


def require_audit():
    """Raise an error unless the configuration asks for an audit."""
    if not EXPERIMENT.audit.at:
        raise WorkflowError(
            "the audit needs parameters kept during training, and audit.at is empty: give it "
            "shares of the budget, such as [1] for the last check, and let the runs be trained "
            "again"
        )


def audit_paths():
    """Return the audit file of every run of the experiment."""
    require_audit()
    return [
        f"{RESULTS}/audit/{run.task}/{run.name}.json"
        for task in TASKS
        for run in runs_of(task)
    ]


def kept_parameters(wildcards):
    """Return the parameters of the run that a path names."""
    require_audit()
    return parameters_path(run_of(wildcards.task, wildcards.run))


def tell_what_is_planned():
    """Write which runs there are to be, for whoever watches; where results are kept elsewhere, not."""
    if (
        not workflow.is_main_process
        or workflow.storage_settings.default_storage_provider
    ):
        return
    try:
        write_plan(Path(PREFIX + RESULTS), {task: runs_of(task) for task in TASKS})
    except OSError as error:  # no run depends on it
        say(f"which runs are planned cannot be told: {error}")

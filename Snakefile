# Sharpness-Aware Minimization and the edge of stability, from data to figures.
#
#   snakemake --cores all --resources gpu=1                 the configured experiment
#   snakemake figure_04 --cores all                         one figure and what it needs
#   snakemake archive --cores all --resources gpu=1         one file to share
#   snakemake --cores all --resources gpu=1 --configfile config/paper.yaml

import os

from snakemake.utils import min_version

min_version("9.0")


configfile: os.path.relpath(f"{workflow.current_basedir}/config.yaml")


report: "workflow/report/overview.rst"


include: "workflow/rules/common.smk"


if EXPERIMENT.container:

    # With --sdm apptainer all jobs run in it, beside the environments of --sdm conda.
    containerized: EXPERIMENT.container


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/share.smk"


onstart:
    tell_what_is_planned()


rule all:
    default_target: True
    input:
        existing_if_reporting(*map(figure_paths, DRAWN)),
        existing_if_reporting(
            *([path] for path in task_figure_paths(*unnumbered(EXPERIMENT.tasks)))
        ),
        existing_if_reporting(*([f"{RESULTS}/cubes/{task}.nc"] for task in TASKS)),
        existing_if_reporting(
            *([f"{RESULTS}/cubes/{task}.converged.nc"] for task in TASKS)
        ),
        existing_if_reporting(*([path] for path in supplement_paths())),
        existing_if_reporting(
            *(figures_of(name, task) for name in MEASURED for task in TASKS)
        ),
        existing_if_reporting(
            *(figures_of("family", name) for name in EXPERIMENT.families)
        ),
        existing_if_reporting(claims_paths()),
        existing_if_reporting([f"{RESULTS}/explorer.html"]),
        # Without these a run file that was deleted would not be missed while its cube is there.
        existing_if_reporting(
            *([run_path(run)] for task in TASKS for run in runs_of(task))
        ),
    localrule: True


rule explorer:
    input:
        f"{RESULTS}/explorer.html",
        expand(f"{RESULTS}/cubes/{{task}}.nc", task=TASKS),
    localrule: True


rule claims:
    input:
        claims_paths(),
        expand(f"{RESULTS}/cubes/{{task}}.nc", task=TASKS),
    localrule: True


rule supplement:
    input:
        supplement_paths(),
    localrule: True


rule audit:
    input:
        # Not part of all: it takes longer than a check, and no figure needs it.
        rules.collect_audit.output,
        # As above, for an audit that was deleted while the table is there.
        lambda wildcards: audit_paths(),
    localrule: True


rule archive:
    input:
        # Not part of all: it is made when there is somebody to share it with.
        rules.pack_experiment.output,
    localrule: True


for number in DRAWN:

    rule:
        name:
            f"figure_{number}"
        input:
            figure_paths(number),
            # A figure older than a cube that could not be made anew is no answer.
            cube_paths(number),
        localrule: True


for name in EXPERIMENT.families:

    rule:
        name:
            f"family_{name}"
        input:
            figures_of("family", name),
            expand(f"{RESULTS}/cubes/{{task}}.nc", task=EXPERIMENT.families[name].tasks),
        localrule: True


for task in TASKS:

    for name in OF_A_TASK:

        rule:
            name:
                f"{name}_{task}"
            input:
                figures_of(name, task),
                f"{RESULTS}/cubes/{task}.nc",
            localrule: True

    for name in TASK_KINDS:

        rule:
            name:
                f"{name}_{task}"
            input:
                task_figure_paths(*figures_named(name, task)),
                f"{RESULTS}/cubes/{task}.nc",
            localrule: True

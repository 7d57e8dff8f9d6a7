# Training: one job for all runs along the axes that the configuration names in together, which is
# one job for each run where it names none.

import math
from functools import partial

TOGETHER = EXPERIMENT.together.axes
# The place of a job along the other axes, in its name.
PLACE = "_".join(f"{axis}{{{axis}}}" for axis in AXES if axis not in TOGETHER) or "all"
# The shares of their budgets at which runs that others start from keep their states, by task.
STATES_AT = {task: at for task in TASKS if (at := EXPERIMENT.states_at(task))}
# Jobs of one run are by wildcard those of any of these tasks.
BY_WILDCARD = [task for task in TASKS if task not in STATES_AT]
# The task of each rule, by the rule's name. The outputs of a job of several runs spell out the axes
# of its task, and those of a run that others start from have one more, so that such tasks have rules
# of their own.
if TOGETHER:
    TRAINING_RULES = {f"train_together_{task}": task for task in TASKS}
else:
    TRAINING_RULES = {f"train_parent_{task}": task for task in STATES_AT}
    TRAINING_RULES |= {"train_run": "{task}"} if BY_WILDCARD else {}


def together_axes(task):
    """Return the values of a task along the axes that its jobs have whole, none for a wildcard."""
    if not TOGETHER:
        return {}
    return {axis: values for axis, values in axes_of(task).items() if axis in TOGETHER}


def together_count(task):
    """Return how many runs of a task are in one job."""
    return math.prod(map(len, together_axes(task).values()))


def for_task(task, value_of):
    """Return a rule's value: that of its task, or of the task that a job's wildcards name."""
    if task in TASKS:
        return value_of(task)
    return lambda wildcards: value_of(wildcards.task)


def training_grid(task):
    """Return a rule's grid of runs, JSON by wildcards."""

    def grid(wildcards):
        named = task if task in TASKS else wildcards.task
        place = {axis: wildcards[axis] for axis in AXES if axis not in TOGETHER}
        first = {axis: values[0] for axis, values in together_axes(named).items()}
        run = run_of(named, RUN_NAME.format(**place, **first))  # which is in the grid
        if not TOGETHER:
            return grid_json([run])  # without a look at a thousand others
        return grid_json(
            [
                run
                for run in runs_of(named)
                if all(str(getattr(run, axis)) == place[axis] for axis in place)
            ]
        )

    return grid


def trained(task):
    """Return the paths of what training a run of a task writes, by kind."""
    return TRAINED | ({"states": STATES_PATH} if task in STATES_AT else {})


def states_to_start_from(task):
    """Return a rule's states that its runs start from, by wildcards; none for most tasks."""

    def states(wildcards):
        named = task if task in TASKS else wildcards.task
        if EXPERIMENT.tasks[named].start_from is None:
            return []  # without a look at its grid, of each of thousands of jobs
        parents = [run.parent for run in grid_runs(training_grid(task)(wildcards))]
        return [
            STATES_PATH.format(task=of.task, eta=of.eta, rho=of.rho, seed=of.seed)
            for of in parents
        ]

    return states


@cache
def training_megabytes(task):
    """Return the megabytes to ask for, for as many runs as train at once."""
    return together_mb(first_run(task), EXPERIMENT.at_once(together_count(task)))


def training_minutes(task):
    """Return the minutes to ask a scheduler for.

    That is the budget in hours of every run, and as much again for measuring, or else a day for
    each group of runs.
    """
    hours, count = EXPERIMENT.tasks[task].budget.hours, together_count(task)
    if hours is None:
        return 24 * 60 * math.ceil(count / EXPERIMENT.at_once(count))
    return 60 + round(2 * 60 * hours * count)


def training_message(task):
    """Return what a job says of itself."""
    if not TOGETHER:
        places = ", ".join(f"{axis} {{wildcards.{axis}}}" for axis in AXES)
        name = task if task in TASKS else "{wildcards.task}"
        return f"Train {name}: {places}"
    whole = together_axes(task)
    places = [
        f"{axis} {', '.join(whole[axis]) if axis in whole else f'{{wildcards.{axis}}}'}"
        for axis in AXES
    ]
    return f"Train together {task}: {'; '.join(places)}"


for training_rule, task in TRAINING_RULES.items():
    job_path = f"{training_rule.removesuffix(f'_{task}')}/{task}/{PLACE}"

    rule:
        name:
            training_rule
        input:
            data=f"{RESULTS}/data/{task}.npz",
            script=script("train_run"),
            modules=for_task(task, partial(task_sources, "train_run")),
            plugins=for_task(task, task_plugins),
            start=states_to_start_from(task),
        output:
            **{
                kind: expand(
                    path, task=task, **together_axes(task), allow_missing=True
                )
                for kind, path in trained(task).items()
            },
        log:
            f"{RESULTS}/logs/{job_path}.log",
        benchmark:
            f"{RESULTS}/benchmarks/{job_path}.tsv"
        wildcard_constraints:
            **({"task": "|".join(BY_WILDCARD)} if task not in TASKS else {}),
        # A job that was cut off goes on from its checkpoints, where what it had finished is too.
        retries: 2
        conda:
            (
                "../../envs/train-gpu.yaml"
                if EXPERIMENT.device == "gpu"
                else "../../envs/train.yaml"
            )
        # On a CPU JAX takes all cores it finds; four are scaled down to what there is.
        threads: 4
        resources:
            **TRAINING_RESOURCES,
            mem_mb=for_task(task, training_megabytes),
            runtime=for_task(task, training_minutes),
            # No parameter: at another number than before no run is trained again. 0 is the device's.
            together_most=EXPERIMENT.together.most or 0,
        params:
            grid=training_grid(task),
            device=EXPERIMENT.device,
            # No output: what a failed job has put out is deleted, and this must not be.
            checkpoints=f"{PREFIX}{RESULTS}/checkpoints/{task}",
            folder=lambda wildcards, output: Path(output.run[0]).parent,
            kept=lambda wildcards, output: (
                ["--parameters", str(Path(output.parameters[0]).parent)]
                if "parameters" in TRAINED
                else []
            ),
            states=lambda wildcards, output, at=STATES_AT.get(task, ()): (
                ["--states", str(Path(output.states[0]).parent), "--states-at", *at]
                if at
                else []
            ),
            start=lambda wildcards, input: (
                ["--start-from", str(Path(input.start[0]).parents[1])]
                if input.start
                else []
            ),
        message:
            training_message(task)
        shell:
            "python {input.script} --grid {params.grid:q} --most {resources.together_most}"
            " --plugins {input.plugins:q}"
            f"{TRAINING_OPTIONS} --output {{params.folder:q}} {{params.kept:q}}"
            " {params.states:q} {params.start:q}"
            " 2>&1 | tee {log:q}"

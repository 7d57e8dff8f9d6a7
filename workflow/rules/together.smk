# One training job for all runs of a task along the axes that the configuration has in together.

import math

TOGETHER = EXPERIMENT.together.axes
# A job's name: its place along the other axes.
PLACE = "_".join(f"{axis}{{{axis}}}" for axis in AXES if axis not in TOGETHER) or "all"


def together_axes(task):
    """Return the values of a task along the axes that its jobs have whole."""
    return {axis: values for axis, values in axes_of(task).items() if axis in TOGETHER}


def together_count(task):
    """Return how many runs of a task are in one job."""
    return math.prod(map(len, together_axes(task).values()))


def together_grid(task):
    """Return a rule's grid of runs, JSON by wildcards."""

    def grid(wildcards):
        place = {axis: wildcards[axis] for axis in AXES if axis not in TOGETHER}
        first = {axis: values[0] for axis, values in together_axes(task).items()}
        run_of(task, RUN_NAME.format(**place, **first))  # which is in the grid
        return grid_json(
            [
                run
                for run in runs_of(task)
                if all(str(getattr(run, axis)) == place[axis] for axis in place)
            ]
        )

    return grid


def together_minutes(task):
    """Return the minutes to ask for: the budget in hours of every run, or a day for each group."""
    hours, count = EXPERIMENT.tasks[task].budget.hours, together_count(task)
    if hours is None:
        return 24 * 60 * math.ceil(count / EXPERIMENT.at_once(count))
    return 60 + round(2 * 60 * hours * count)


def together_message(task):
    """Return what a job says of itself."""
    whole = together_axes(task)
    places = [
        f"{axis} {', '.join(whole[axis]) if axis in whole else f'{{wildcards.{axis}}}'}"
        for axis in AXES
    ]
    return f"Train together {task}: {'; '.join(places)}"


for task in TASKS:

    rule:
        name:
            f"train_together_{task}"
        input:
            data=f"{RESULTS}/data/{task}.npz",
            script=script("train_run"),
            modules=sources("train_run", **EXPERIMENT.tasks[task].components),
        output:
            **{
                kind: expand(
                    path, task=task, **together_axes(task), allow_missing=True
                )
                for kind, path in TRAINED.items()
            },
        log:
            f"{RESULTS}/logs/train_together/{task}/{PLACE}.log",
        benchmark:
            f"{RESULTS}/benchmarks/train_together/{task}/{PLACE}.tsv"
        # What a job that was cut off had finished comes back from checkpoints, as all the rest does.
        retries: 2
        conda:
            (
                "../../envs/train-gpu.yaml"
                if EXPERIMENT.device == "gpu"
                else "../../envs/train.yaml"
            )
        threads: 4
        resources:
            **TRAINING_RESOURCES,
            mem_mb=together_mb(
                runs_of(task)[0], EXPERIMENT.at_once(together_count(task))
            ),
            runtime=together_minutes(task),
            # No parameter: at another number than before no run is trained again. 0 is the device's.
            together_most=EXPERIMENT.together.most or 0,
        params:
            grid=together_grid(task),
            device=EXPERIMENT.device,
            checkpoints=f"{PREFIXED}/checkpoints/{task}",
            folder=lambda wildcards, output: Path(output.run[0]).parent,
            kept=lambda wildcards, output: (
                ["--parameters", str(Path(output.parameters[0]).parent)]
                if "parameters" in TRAINED
                else []
            ),
        message:
            together_message(task)
        shell:
            "python {input.script} --grid {params.grid:q} --most {resources.together_most}"
            f"{TRAINING_OPTIONS} --output {{params.folder:q}} {{params.kept:q}}"
            " 2>&1 | tee {log:q}"

# From run files to the cube of each task, and the cube without the runs that diverged.

from pathlib import Path

from samedge.config.grid import grid_json


rule collect_runs:
    input:
        runs=lambda wildcards: [run_path(run) for run in runs_of(wildcards.task)],
        script=script("collect_runs"),
        modules=sources("collect_runs"),
    output:
        f"{RESULTS}/cubes/{{task}}.nc",
    log:
        f"{RESULTS}/logs/collect_runs/{{task}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_runs/{{task}}.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=2000,
        # Reading takes a few milliseconds a run, on a file system across a network several times that.
        runtime=lambda wildcards: 10 + len(runs_of(wildcards.task)) // 100,
    params:
        # The grid has a length that does not grow with the number of runs.
        grid=lambda wildcards: grid_json(runs_of(wildcards.task)),
        folder=lambda wildcards, input: Path(input.runs[0]).parent,
    message:
        "Merge the runs of {wildcards.task} into one cube"
    shell:
        "python {input.script} --grid {params.grid:q} --runs {params.folder:q}"
        " --output {output:q} 2>&1 | tee {log:q}"


rule filter_diverged:
    input:
        cube=f"{RESULTS}/cubes/{{task}}.nc",
        script=script("filter_diverged"),
        modules=sources("filter_diverged"),
    output:
        f"{RESULTS}/cubes/{{task}}.converged.nc",
    log:
        f"{RESULTS}/logs/filter_diverged/{{task}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/filter_diverged/{{task}}.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    message:
        "Leave the runs of {wildcards.task} that diverged out of the cube"
    shell:
        "python {input.script} --input {input.cube:q} --output {output:q} 2>&1 | tee {log:q}"

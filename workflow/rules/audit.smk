# Runs measured again in float64, and one table of what float32 got wrong.

from pathlib import Path

from samedge.config.grid import grid_json


rule audit_run:
    input:
        run=f"{RESULTS}/runs/{{task}}/{{run}}.nc",
        parameters=kept_parameters,
        data=f"{RESULTS}/data/{{task}}.npz",
        script=script("audit_run"),
        modules=lambda wildcards: task_sources("audit_run", wildcards.task),
        plugins=lambda wildcards: task_plugins(wildcards.task),
    output:
        f"{RESULTS}/audit/{{task}}/{{run}}.json",
    log:
        f"{RESULTS}/logs/audit_run/{{task}}/{{run}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/audit_run/{{task}}/{{run}}.tsv"
    wildcard_constraints:
        run=r"eta[0-9.]+_rho[0-9.]+_seed[0-9]+",
    conda:
        (
            "../../envs/train-gpu.yaml"
            if EXPERIMENT.device == "gpu"
            else "../../envs/train.yaml"
        )
    threads: 4
    resources:
        gpu=1,
        mem_mb=run_mb(audit_mb),
        runtime=24 * 60,
        compilation_cache=TRAINING_RESOURCES["compilation_cache"],
        jobs_per_gpu=EXPERIMENT.jobs_per_gpu,
    params:
        device=EXPERIMENT.device,
    message:
        "Audit {wildcards.task} in float64: {wildcards.run}"
    shell:
        "python {input.script} --run {input.run:q} --parameters {input.parameters:q}"
        " --data {input.data:q} --device {params.device} --plugins {input.plugins:q}"
        " --jobs-per-gpu {resources.jobs_per_gpu} --cache {resources.compilation_cache:q} --output {output:q} 2>&1 | tee {log:q}"


rule collect_audit:
    input:
        audits=lambda wildcards: audit_paths(),
        script=script("collect_audit"),
        modules=sources("collect_audit"),
    output:
        csv=f"{RESULTS}/audit/errors.csv",
        markdown=f"{RESULTS}/audit/errors.md",
    log:
        f"{RESULTS}/logs/collect_audit.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_audit.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        # Grids have a length that does not grow with the number of runs.
        grids=[grid_json(runs_of(task)) for task in TASKS],
        folder=lambda wildcards, output: Path(output.csv).parent,
    message:
        "Tabulate what float32 got wrong"
    shell:
        "python {input.script} --grids {params.grids:q} --audits {params.folder:q}"
        " --csv {output.csv:q} --markdown {output.markdown:q} 2>&1 | tee {log:q}"

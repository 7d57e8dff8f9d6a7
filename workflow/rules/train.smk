# One training job per task, learning rate, radius and seed.

RUN_NAME = "eta{eta}_rho{rho}_seed{seed}"
# Parameters are kept where the configuration asks for an audit.
KEPT = (
    {"parameters": f"{RESULTS}/parameters/{{task}}/{RUN_NAME}.nc"}
    if EXPERIMENT.audit.at
    else {}
)


rule train_run:
    input:
        data=f"{RESULTS}/data/{{task}}.npz",
        script=source_file("workflow/scripts/train_run.py"),
        modules=modules(*(name for name in RUN_MODULES if KEPT or name != "parameters")),
    output:
        **KEPT,
        run=f"{RESULTS}/runs/{{task}}/{RUN_NAME}.nc",
    log:
        f"{RESULTS}/logs/train_run/{{task}}/{RUN_NAME}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_run/{{task}}/{RUN_NAME}.tsv"
    wildcard_constraints:
        eta=r"[0-9.]+",
        rho=r"[0-9.]+",
        seed=r"[0-9]+",
    # A job that was cut off goes on from its checkpoint.
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
        gpu=1,
        mem_mb=run_mb(training_mb),
        runtime=run_minutes,
        # No parameter: where compiled programs lie changes no run, and trains none again.
        compilation_cache=EXPERIMENT.compilation_cache or f"{RESULTS}/cache/jax",
        jobs_per_gpu=EXPERIMENT.jobs_per_gpu,
        # Neither do these, where 0 is no limit.
        checkpoint_minutes=str(EXPERIMENT.checkpoints.minutes or 0),
        checkpoint_steps=EXPERIMENT.checkpoints.steps or 0,
    params:
        settings=run_settings,
        device=EXPERIMENT.device,
        # No output: what a failed job has put out is deleted, and this must not be.
        checkpoints=f"{RESULTS}/checkpoints/{{task}}/{RUN_NAME}",
        kept=lambda wildcards, output: (
            ["--parameters", output.parameters] if KEPT else []
        ),
    message:
        "Train {wildcards.task}: eta {wildcards.eta}, rho {wildcards.rho}, seed {wildcards.seed}"
    shell:
        "python {input.script} --settings {params.settings:q} --device {params.device}"
        " --jobs-per-gpu {resources.jobs_per_gpu}"
        " --checkpoints {params.checkpoints:q}"
        " --checkpoint-minutes {resources.checkpoint_minutes}"
        " --checkpoint-steps {resources.checkpoint_steps}"
        " --cache {resources.compilation_cache:q} --data {input.data:q} --output {output.run:q}"
        " {params.kept:q}"
        " 2>&1 | tee {log:q}"

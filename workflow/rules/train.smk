# One training job per task, learning rate, radius and seed.


rule train_run:
    input:
        data=f"{RESULTS}/data/{{task}}.npz",
        script=script("train_run"),
        modules=run_sources("train_run"),
    output:
        **TRAINED,
    log:
        f"{RESULTS}/logs/train_run/{{task}}/{RUN_NAME}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_run/{{task}}/{RUN_NAME}.tsv"
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
        **TRAINING_RESOURCES,
        mem_mb=run_mb(training_mb),
        runtime=run_minutes,
    params:
        settings=run_settings,
        device=EXPERIMENT.device,
        # No output: what a failed job has put out is deleted, and this must not be.
        checkpoints=f"{PREFIXED}/checkpoints/{{task}}/{RUN_NAME}",
        kept=lambda wildcards, output: (
            ["--parameters", output.parameters] if "parameters" in TRAINED else []
        ),
    message:
        "Train {wildcards.task}: eta {wildcards.eta}, rho {wildcards.rho}, seed {wildcards.seed}"
    shell:
        "python {input.script} --settings {params.settings:q}"
        f"{TRAINING_OPTIONS} --output {{output.run:q}} {{params.kept:q}}"
        " 2>&1 | tee {log:q}"

# One training job per task, learning rate, radius and seed.


rule train_run:
    input:
        data=f"{RESULTS}/data/{{task}}.npz",
        script="workflow/scripts/train_run.py",
        # All that decides a run's numbers or its file; what only reads the command line or
        # words an error is left out, so that editing it trains nothing again.
        modules=modules(
            "batching",
            "datasets",
            "edge",
            "hessian",
            "losses",
            "models",
            "problems",
            "provenance",
            "records",
            "sam",
            "schedule",
            "training",
        ),
    output:
        f"{RESULTS}/runs/{{task}}/eta{{eta}}_rho{{rho}}_seed{{seed}}.nc",
    log:
        f"{RESULTS}/logs/train_run/{{task}}/eta{{eta}}_rho{{rho}}_seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_run/{{task}}/eta{{eta}}_rho{{rho}}_seed{{seed}}.tsv"
    wildcard_constraints:
        eta=r"[0-9.]+",
        rho=r"[0-9.]+",
        seed=r"[0-9]+",
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
        mem_mb=16000,
        runtime=run_minutes,
    params:
        settings=run_settings,
        device=EXPERIMENT.device,
        cache=f"{RESULTS}/cache/jax",
    message:
        "Train {wildcards.task}: eta {wildcards.eta}, rho {wildcards.rho}, seed {wildcards.seed}"
    shell:
        "python {input.script} --settings {params.settings:q} --device {params.device}"
        " --cache {params.cache:q} --data {input.data:q} --output {output:q}"
        " 2>&1 | tee {log:q}"

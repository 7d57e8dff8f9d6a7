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
        script="workflow/scripts/train_run.py",
        # All that decides a run's numbers or its file; what only reads the command line or
        # words an error is left out, so that editing it trains nothing again.
        modules=modules(
            "basis",
            "batching",
            "certificate",
            "datasets",
            "density",
            "device",
            "edge",
            "files",
            "flax_networks",
            "haiku_transformer",
            "hessian",
            "losses",
            "models",
            "observers",
            *(["parameters"] if KEPT else []),
            "problems",
            "products",
            "provenance",
            "quadrature",
            "records",
            "sam",
            "schedule",
            "training",
            "variables",
        ),
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
        # No parameter: where compiled programs lie changes no run, and trains none again.
        compilation_cache=EXPERIMENT.compilation_cache or f"{RESULTS}/cache/jax",
    params:
        settings=run_settings,
        device=EXPERIMENT.device,
        kept=lambda wildcards, output: (
            ["--parameters", output.parameters] if KEPT else []
        ),
    message:
        "Train {wildcards.task}: eta {wildcards.eta}, rho {wildcards.rho}, seed {wildcards.seed}"
    shell:
        "python {input.script} --settings {params.settings:q} --device {params.device}"
        " --cache {resources.compilation_cache:q} --data {input.data:q} --output {output.run:q}"
        " {params.kept:q}"
        " 2>&1 | tee {log:q}"

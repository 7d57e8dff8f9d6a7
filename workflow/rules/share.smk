# An experiment packed into one archive, for others to read, check and redraw.

import dataclasses

from samedge.config.experiment import resolved

# What is packed beside cubes and configuration. What else is to be shared belongs here.
SHARED = [
    *(path for number in DRAWN for path in figure_paths(number)),
    *task_figure_paths(*unnumbered(EXPERIMENT.tasks)),
    *(path for name in MEASURED for path in figures_of(name, *TASKS)),
    *figures_of("family", *EXPERIMENT.families),
    *claims_paths(),
    f"{RESULTS}/explorer.html",
    *([f"{RESULTS}/{CLAIMS_FILE}"] if EXPERIMENT.claims else []),
    *(f"{RESULTS}/{PLUGIN_FOLDER}/{path.name}" for path in EXPERIMENT.plugins),
]


rule pack_experiment:
    input:
        cubes=expand(f"{RESULTS}/cubes/{{task}}.nc", task=TASKS),
        files=SHARED,
        script=script("pack_experiment"),
        modules=sources("pack_experiment"),
    output:
        f"{RESULTS}/{EXPERIMENT.name}.zip",
    log:
        f"{RESULTS}/logs/pack_experiment.log",
    benchmark:
        f"{RESULTS}/benchmarks/pack_experiment.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        # The folder of compiled programs and the image are this machine's own, and change no run.
        config=resolved(
            dataclasses.replace(EXPERIMENT, compilation_cache=None, container=None)
        ),
    message:
        "Pack the experiment into one archive"
    shell:
        "python {input.script} --config {params.config:q} --cubes {input.cubes:q}"
        " --files {input.files:q} --output {output:q} 2>&1 | tee {log:q}"

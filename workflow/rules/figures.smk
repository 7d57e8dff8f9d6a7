# From cubes to the figures of the paper, and to the plots of every run.

STYLE = source_file(f"{PACKAGE}/figures/style.mplstyle")


rule plot_figure:
    input:
        cube=lambda wildcards: cube_paths(wildcards.number),
        script=script("plot_figure"),
        modules=sources("plot_figure"),
        style=STYLE,
    output:
        pdf=f"{RESULTS}/figures/figure_{{number}}.pdf",
        png=report(
            f"{RESULTS}/figures/figure_{{number}}.png",
            caption="../report/figure.rst",
            category=lambda wildcards: DRAWN[wildcards.number].task or "theory",
            labels=lambda wildcards: {
                "figure": f"{wildcards.number}: "
                f"{DRAWN[wildcards.number].kind.replace('_', ' ')}"
            },
        ),
    log:
        f"{RESULTS}/logs/plot_figure/{{number}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plot_figure/{{number}}.tsv"
    wildcard_constraints:
        number="|".join(DRAWN),
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        kind=lambda wildcards: DRAWN[wildcards.number].kind,
        task=lambda wildcards: DRAWN[wildcards.number].task,
        rho=lambda wildcards: DRAWN[wildcards.number].rho_in(EXPERIMENT.tasks),
        axis=EXPERIMENT.figures.time_axis,
        facts=lambda wildcards, input: FromCube(input.cube[0]) if input.cube else "",
        cube=lambda wildcards, input: ["--cube", *input.cube] if input.cube else [],
    message:
        "Draw figure {wildcards.number}"
    shell:
        "python {input.script} --number {wildcards.number} {params.cube:q} --rho {params.rho}"
        " --axis {params.axis} --output-pdf {output.pdf:q} --output-png {output.png:q}"
        " 2>&1 | tee {log:q}"


rule plot_task_figure:
    input:
        cube=f"{RESULTS}/cubes/{{task}}.nc",
        script=script("plot_figure"),
        modules=sources("plot_figure"),
        style=STYLE,
    output:
        pdf=f"{RESULTS}/figures/{{name}}_{{task}}_rho{{rho}}.pdf",
        png=report(
            f"{RESULTS}/figures/{{name}}_{{task}}_rho{{rho}}.png",
            caption="../report/figure.rst",
            category="{task}",
            labels={"figure": "{name}, rho {rho}"},
        ),
    log:
        f"{RESULTS}/logs/plot_task_figure/{{name}}_{{task}}_rho{{rho}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plot_task_figure/{{name}}_{{task}}_rho{{rho}}.tsv"
    wildcard_constraints:
        name="|".join(TASK_KINDS),
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        kind=lambda wildcards: TASK_KINDS[wildcards.name],
        task="{task}",
        rho="{rho}",
        axis=EXPERIMENT.figures.time_axis,
        facts=lambda wildcards, input: FromCube(input.cube),
    message:
        "Draw {wildcards.name} of {wildcards.task}, rho {wildcards.rho}"
    shell:
        "python {input.script} --kind {wildcards.name} --cube {input.cube:q} --rho {params.rho}"
        " --axis {params.axis} --output-pdf {output.pdf:q} --output-png {output.png:q}"
        " 2>&1 | tee {log:q}"


for measured, (_, _, shown, facts) in OPTIONAL.items():

    rule:
        name:
            f"plot_{measured}"
        input:
            cube=cube_of_measured(measured),
            script=script(f"plot_{measured}"),
            modules=sources(f"plot_{measured}"),
            style=STYLE,
        output:
            pdf=f"{RESULTS}/figures/{measured}_{{task}}.pdf",
            png=report(
                f"{RESULTS}/figures/{measured}_{{task}}.png",
                caption=f"../report/{measured}.rst",
                category="{task}",
                labels={"figure": shown},
            ),
        log:
            f"{RESULTS}/logs/plot_{measured}/{{task}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/plot_{measured}/{{task}}.tsv"
        conda:
            "../../envs/figures.yaml"
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            **facts,
            rho=lambda wildcards: EXPERIMENT.tasks[wildcards.task].figure_rho,
            # For the caption.
            facts=lambda wildcards, input: FromCube(input.cube),
        message:
            f"Draw the {shown} of {{wildcards.task}}"
        shell:
            "python {input.script} --cube {input.cube:q} --rho {params.rho}"
            " --output-pdf {output.pdf:q} --output-png {output.png:q} 2>&1 | tee {log:q}"


rule plot_supplement:
    input:
        cube=f"{RESULTS}/cubes/{{task}}.converged.nc",
        script=script("plot_supplement"),
        modules=sources("plot_supplement"),
        style=STYLE,
    output:
        directory(f"{RESULTS}/supplement/{{task}}"),
    log:
        f"{RESULTS}/logs/plot_supplement/{{task}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plot_supplement/{{task}}.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=2000,
        # A page of each run, as PDF and PNG, takes a second or two.
        runtime=lambda wildcards: 60 + len(runs_of(wildcards.task)) // 20,
    params:
        axis=EXPERIMENT.figures.time_axis,
    message:
        "Draw every run of {wildcards.task} that did not diverge"
    shell:
        "python {input.script} --cube {input.cube:q} --axis {params.axis} --output {output:q}"
        " 2>&1 | tee {log:q}"

# What is made of the cubes beyond the paper's figures: verdicts on claims, edge maps, the explorer.
#
# In the report everything has one label. With several, Snakemake's page offers two values of a
# label as a switch, and breaks where not every combination of the switches is there.

from samedge.config.settings import CLAIMS_FILE

EXPLORER = [
    "explorer.css",
    "explorer.html",
    "explorer.js",
    "explorer_map.js",
    "explorer_axes.js",
    "explorer_live.js",
    "explorer_panels.js",
]


if EXPERIMENT.claims:
    CLAIMS = f"{RESULTS}/{CLAIMS_FILE}"

    rule copy_claims:
        input:
            # Recorded by its name, so that what it lies in may move.
            sourcecache_entry(str(EXPERIMENT.claims), EXPERIMENT.claims.name),
        output:
            CLAIMS,
        localrule: True
        message:
            "Copy the table of claims"
        shell:
            "cp {input:q} {output:q}"

else:
    CLAIMS = source_file(f"{PACKAGE}/analysis/claims.toml")


rule judge_claims:
    input:
        cubes=expand(f"{RESULTS}/cubes/{{task}}.nc", task=TASKS),
        script=script("judge_claims"),
        modules=sources("judge_claims"),
        table=CLAIMS,
        style=STYLE,
    output:
        csv=f"{RESULTS}/claims.csv",
        json=f"{RESULTS}/claims.json",
        pdf=f"{RESULTS}/figures/claims.pdf",
        png=report(
            f"{RESULTS}/figures/claims.png",
            caption="../report/claims.rst",
            category="experiment",
            labels={"figure": "verdicts on claims"},
        ),
    log:
        f"{RESULTS}/logs/judge_claims.log",
    benchmark:
        f"{RESULTS}/benchmarks/judge_claims.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        rho=[EXPERIMENT.tasks[task].figure_rho for task in TASKS],
    message:
        "Judge the claims"
    shell:
        "python {input.script} --claims {input.table:q} --cubes {input.cubes:q} --rho {params.rho}"
        " --csv {output.csv:q} --json {output.json:q}"
        " --output-pdf {output.pdf:q} --output-png {output.png:q} 2>&1 | tee {log:q}"


rule plot_edge_map:
    input:
        cube=f"{RESULTS}/cubes/{{task}}.nc",
        script=script("plot_edge_map"),
        modules=sources("plot_edge_map"),
        style=STYLE,
    output:
        pdf=f"{RESULTS}/figures/edge_map_{{task}}.pdf",
        png=report(
            f"{RESULTS}/figures/edge_map_{{task}}.png",
            caption="../report/edge_map.rst",
            category="{task}",
            labels={"figure": "edge map"},
        ),
    log:
        f"{RESULTS}/logs/plot_edge_map/{{task}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plot_edge_map/{{task}}.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        facts=lambda wildcards, input: FromCube(input.cube),
    message:
        "Map where the runs of {wildcards.task} are at their edge"
    shell:
        "python {input.script} --cube {input.cube:q}"
        " --output-pdf {output.pdf:q} --output-png {output.png:q} 2>&1 | tee {log:q}"


rule plot_family:
    input:
        cubes=lambda wildcards: [
            f"{RESULTS}/cubes/{task}.nc"
            for task in EXPERIMENT.families[wildcards.family].tasks
        ],
        script=script("plot_family"),
        modules=sources("plot_family"),
        style=STYLE,
    output:
        pdf=f"{RESULTS}/figures/family_{{family}}.pdf",
        png=report(
            f"{RESULTS}/figures/family_{{family}}.png",
            caption="../report/family.rst",
            category="experiment",
            labels={"figure": "family {family}"},
        ),
    log:
        f"{RESULTS}/logs/plot_family/{{family}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plot_family/{{family}}.tsv"
    wildcard_constraints:
        family="|".join(EXPERIMENT.families) or "none",
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        along=lambda wildcards: EXPERIMENT.families[wildcards.family].along,
        tasks=lambda wildcards: ", ".join(EXPERIMENT.families[wildcards.family].tasks),
    message:
        "Draw the family {wildcards.family}"
    shell:
        "python {input.script} --cubes {input.cubes:q} --along {params.along}"
        " --name {wildcards.family} --output-pdf {output.pdf:q} --output-png {output.png:q}"
        " 2>&1 | tee {log:q}"


rule write_explorer:
    input:
        cubes=expand(f"{RESULTS}/cubes/{{task}}.nc", task=TASKS),
        script=script("write_explorer"),
        modules=sources("write_explorer"),
        page=[source_file(f"{PACKAGE}/explorer/{name}") for name in EXPLORER],
    output:
        report(
            f"{RESULTS}/explorer.html",
            caption="../report/explorer.rst",
            category="experiment",
            labels={"figure": "explorer of every run"},
        ),
    log:
        f"{RESULTS}/logs/write_explorer.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_explorer.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        # Not inputs: the page links figures, and shows nothing of them.
        figures=[
            f"figures/{stem}.pdf"
            for stem in (
                *(f"figure_{number}" for number in DRAWN),
                *(figure.stem for figure in unnumbered(EXPERIMENT.tasks)),
            )
        ],
    message:
        "Write the explorer of all runs"
    shell:
        "python {input.script} --cubes {input.cubes:q} --figures {params.figures:q}"
        " --output {output:q} 2>&1 | tee {log:q}"

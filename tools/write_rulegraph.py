"""Write docs/workflow.md, the rules of the default experiment and what depends on what.

Run as ``python tools/write_rulegraph.py``. A test holds the committed file equal to what this
script writes.
"""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "workflow.md"
# The rules of this file are made in a loop: neither names nor messages stand there.
TRAINING = "workflow/rules/train.smk"

PREFACE = """\
<!-- Written by tools/write_rulegraph.py from the Snakefile; edit that. -->
# Workflow

The rules of the default experiment; an arrow leads from a rule to one that uses what it makes.
With `source: tfds` there is no `download_sample`: data are read from `TFDS_DATA_DIR`."""

RESULTS = """\
Everything an experiment makes lies under `results/<experiment>/`: `data/`, `runs/`, `cubes/`,
`figures/`, `supplement/`, and a log and a benchmark for each job; `progress/` has what runs tell
while they are trained ([interruptions.md](interruptions.md)). Targets besides `all` are
`figure_01` to `figure_16`, `density_<task>`, `blocks_<task>`, `stochastic_<task>`,
`way_<task>`, `family_<name>`, `supplement`, and every file by its path.

Where `together` names axes, rules `train_together_<task>` take the place of `train_run`: one job
for all runs along these axes. Runs that others start from (a task's `start_from`) have rules
`train_parent_<task>`: they keep their states, in `states/`, too.

The target `audit` measures runs again in float64, from the parameters that they keep in
`parameters/` where the configuration's `audit.at` asks for it: the rule `audit_run` one run,
`collect_audit` tabulates them all, in `audit/errors.csv` and `audit/errors.md`.

The target `archive` packs cubes, figures and configuration into `<experiment>.zip`, by the rule
`pack_experiment`; [sharing.md](sharing.md) says what is in it.

## What an edit runs again

A rule's inputs are its script, what that imports of the package, and the components that a
task's settings name ([imports.py](../workflow/scripts/samedge/base/imports.py)). So an edit runs
again what it can change, and what is made from that; each row is a test that reads the plan
(`tests/workflow/test_rerun.py`, of the audit `test_float64_audit.py`):

| edit of | runs again |
| --- | --- |
| an error's wording, what checks a configuration or tells of progress, `schema.yaml` | nothing |
| `figures/style.mplstyle`, `figures/paper` | all that is drawn but the explorer |
| `figures/supplement`, `figures/spectra/density` | the figures that it draws |
| `figures/panels`, `analysis/quantities`, `records/describe` | all figures and the explorer |
| `analysis/statistics`, `analysis/claims.toml` | what shows statistics; the verdicts alone |
| a table of claims that the configuration names | the verdicts alone |
| a script of the workflow | its own jobs |
| a data set's file, `data/prepare` | its data, the runs on them; all data |
| a model's, a loss's or an update rule's file | the runs that name it; a new file: nothing |
| `curvature/eigenpairs`, `curvature/density`, `records/schema` | all runs |
| `audit/float64`, `audit/table` | audits |
| a learning rate, a radius or a seed more | the new runs, their task's cube and figures |"""


def page() -> str:
    """Return the whole page."""
    nodes, edges = rule_graph()
    purposes = messages()
    diagram = ["```mermaid", "flowchart TB"]
    diagram += [f"    {source} --> {target}" for source, target in edges]
    diagram.append("```")
    rows = ["| Rule | What one job does | Where |", "| --- | --- | --- |"]
    rows += [
        f"| `{rule}` | {purpose} | [`{path}`](../{path}) |"
        for rule, (purpose, path) in purposes.items()
        if rule in nodes
    ]
    return "\n\n".join([PREFACE, "\n".join(diagram), "\n".join(rows), RESULTS]) + "\n"


def rule_graph() -> tuple[set[str], list[tuple[str, str]]]:
    """Return the rules that ``all`` needs, and pairs of a rule and one made from its output."""
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "dot"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    labels = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)"', run.stdout, flags=re.MULTILINE))
    pairs = re.findall(r"^\s*(\d+) -> (\d+)$", run.stdout, flags=re.MULTILINE)
    # Snakemake's order is that of a set; sorted, equal workflows give equal pages.
    edges = sorted((labels[source], labels[target]) for source, target in pairs)
    return set(labels.values()), edges


def messages() -> Mapping[str, tuple[str, str]]:
    """Return the purpose and the file of each rule with a message, in the order of the includes."""
    included = re.findall(
        r'^ *include: "(.+)"$', (REPOSITORY / "Snakefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    found = {}
    for path in included:
        rules = re.split(
            r"^rule (\w+):$", (REPOSITORY / path).read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        if path == TRAINING:
            found["train_run"] = ("train *task*: eta *eta*, rho *rho*, seed *seed*", path)
        for name, body in zip(rules[1::2], rules[2::2], strict=True):
            message = re.search(r'^    message:\s+"(.+)"$', body, flags=re.MULTILINE)
            if message:
                purpose = re.sub(r"\{wildcards\.(\w+)\}", r"*\1*", message[1])
                found[name] = (purpose[0].lower() + purpose[1:], path)
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""The documentation is current and true: generated pages, links, and every example."""

import csv
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import snakemake.cli
import yaml

import samedge
import synthetic
from samedge.analysis.claims import load_claims
from samedge.analysis.verdicts import FORMULA
from samedge.config import experiment as configuration
from samedge.records import files

DOCS = Path(__file__).parents[2] / "docs"


def fenced(text, language):
    """Return the contents of the fenced blocks in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "writer", ["write_configuration", "write_rulegraph", "write_benchmarks", "write_gpu"]
)
def test_generated_pages_are_current(tool, writer):
    module = tool(writer)
    written = module.PAGE.read_text(encoding="utf-8")
    assert written == module.page(), f"run: python tools/{writer}.py"


def test_the_night_is_one_by_the_rates_measured(repository, tool):
    """config/night.yaml says nine hours at the most."""
    parts = json.loads((repository / "benchmarks/results/gpu.json").read_text())["parts"]
    rows, hours = tool("write_gpu").night(parts)
    assert sum(int(runs) for _, runs, *_ in rows) == 52
    assert 8 < hours < 9


def test_every_key_of_the_schema_is_described(repository):
    """The page is made from the descriptions: none may be missing."""
    schema = yaml.safe_load(
        (repository / "workflow/scripts/samedge/config/schema.yaml").read_text()
    )
    page = (repository / "docs" / "configuration.md").read_text(encoding="utf-8")
    parts = [schema, *schema["$defs"].values()]
    while parts:
        for key, node in parts.pop().get("properties", {}).items():
            assert node["description"], key
            assert key in page
            parts.append(node)


def test_the_overlay_in_the_configuration_page_is_valid(repository, tmp_path):
    page = (repository / "docs" / "configuration.md").read_text(encoding="utf-8")
    [overlay] = fenced(page, "yaml")
    path = tmp_path / "my.yaml"
    path.write_text(overlay)
    experiment = configuration.load([repository / "config.yaml", path])
    assert list(experiment.tasks) == ["mnist", "cifar10"]
    assert experiment.tasks["mnist"].model.settings == {"blocks": 1, "channels": 4}


@pytest.mark.parametrize(
    "name", ["README.md", *(f"docs/{page.name}" for page in sorted(DOCS.glob("*.md")))]
)
def test_links_lead_somewhere(repository, name):
    page = repository / name
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    for link in links:
        assert link.startswith("https://") or (page.parent / link).exists(), link


# Where people read how to call Snakemake.
READ = ("*.md", "Makefile", "Snakefile", "Dockerfile", "*.yaml", "config/*", "profiles/*/*")
READ += ("docs/*.md", "tools/*.py", "workflow/**/*.rst", "workflow/**/*.py", "workflow/**/*.smk")


def commands_of(text):
    """Return the arguments of every call of Snakemake in a text that has options."""
    text = re.sub(r"\\\n\s*", " ", text)
    called = re.findall(r"(?:^|[\s`(/])snakemake((?: +[^\s`]+)+)", text, re.MULTILINE)
    called += [f" {arguments}" for arguments in re.findall(r'make run ARGS="([^"]*)"', text)]
    # Comments follow a call after two spaces at least, prose after a comma or a full stop.
    alone = [re.split(r"  +|&&|;| #|[,.:] ", call.strip(" "))[0].rstrip("),.") for call in called]
    return [call for call in alone if re.search(r"(^| )-", call)]


def targets_first(parser, command):
    """Tell whether a call's targets stand before its options, and no option takes one of them."""
    words = shlex.split(command)
    first = set(itertools.takewhile(lambda word: not word.startswith("-"), words))
    try:
        parsed, _ = parser.parse_known_args(words)
    except ValueError:  # a target among resources
        return False
    return (
        first == set(parsed.targets)
        and all(file.suffix == ".yaml" for file in parsed.configfile or ())
        and all("=" in pair for pair in parsed.config or ())
    )


def test_examples_name_their_targets_before_what_would_take_them_for_its_own(repository):
    """Snakemake takes a target after --configfile, --config or --resources for one of their values.

    Only what stands before every option is safe, whatever is added.
    """
    parser = snakemake.cli.get_argument_parser()
    wrong = ["--configfile a.yaml figure_04", "--config a=1 audit", "--resources gpu=1 archive"]
    for options in (*wrong, "--cores all figure_04"):
        assert not targets_first(parser, f"--cores all {options}")
    examples = [
        (str(path.relative_to(repository)), command)
        for path in sorted({path for pattern in READ for path in repository.glob(pattern)})
        if path.is_file()
        for command in commands_of(path.read_text(encoding="utf-8"))
    ]
    assert ("README.md", "--cores all --resources gpu=1") in examples
    assert len(examples) > 30
    assert not [example for example in examples if not targets_first(parser, example[1])]


def test_the_examples_of_extending_run(repository, tmp_path):
    """The blocks of the plugin are put together as its file; the others run, in order."""
    text = (repository / "docs" / "extending.md").read_text(encoding="utf-8")
    shutil.copytree(
        repository / "workflow/scripts",
        tmp_path / "workflow/scripts",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(repository / "config.yaml", tmp_path)
    [overlay], [claims] = fenced(text, "yaml"), fenced(text, "toml")
    (tmp_path / "stripes.yaml").write_text(overlay)
    (tmp_path / "stripes_claims.toml").write_text(claims, encoding="utf-8")
    assert [claim.tasks for claim in load_claims(tmp_path / "stripes_claims.toml")] == [
        ("stripes_nadam",)
    ]
    parts, examples = [], []
    for block in fenced(text, "python"):
        (parts if block.startswith(("# stripes.py", "@")) else examples).append(block)
    assert (len(parts), len(examples)) == (5, 7)
    (tmp_path / "stripes.py").write_text("\n\n".join(parts), encoding="utf-8")
    [commands] = [block for block in fenced(text, "") if block.startswith("python")]
    lines = commands.replace("\\\n", "").splitlines()
    scripts = [line.split()[1:] for line in lines]
    calls = [
        f"import {path.split('/')[-1].removesuffix('.py')} as script\nscript.main({arguments!r})\n"
        for path, *arguments in scripts
    ]
    # One process for all, since importing and compiling takes most of the time.
    program = "\n".join([*calls, *examples])
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "workflow" / "scripts")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "completed" in run.stdout
    assert (tmp_path / "stripes.nc").exists()


def test_the_edge_table_is_written_from_a_cube(repository, tmp_path):
    cube = tmp_path / "mnist.nc"
    files.write(synthetic.run(synthetic.run_settings()), cube)
    script = repository / "tools" / "write_edge_table.py"
    written = subprocess.run(
        [sys.executable, script, cube], capture_output=True, text=True, check=True
    ).stdout
    assert written.startswith("| mnist | ρ = 0.1 |\n|---|---|\n| η = 0.3 |")


# The page that discusses each file of verdicts, and the table of claims that was judged.
PAPER = "workflow/scripts/samedge/analysis/claims.toml"
VERDICTS = {
    "laptop_claims": ("paper", PAPER),
    "default_claims": ("paper", PAPER),
    "optimizers_claims": ("optimizers", "config/optimizers_claims.toml"),
    "minibatches_claims": ("minibatches", "config/minibatches_claims.toml"),
    "late_claims": ("minibatches", "config/late_claims.toml"),
    "length_claims": ("length", PAPER),
}
# Those whose page has them beside others, and those of runs that are not all of the experiment.
BESIDE = {"length_claims": ("laptop_claims",)}
PARTIAL = ("laptop_claims",)


@pytest.mark.parametrize("verdicts", VERDICTS)
def test_the_tables_of_claims_are_those_of_the_experiments(repository, verdicts):
    names = (*BESIDE.get(verdicts, ()), verdicts)
    done = subprocess.run(
        [
            sys.executable,
            repository / "tools" / "write_claims_table.py",
            *(repository / "docs/findings" / f"{name}.csv" for name in names),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    page, _ = VERDICTS[verdicts]
    path = repository / "docs/findings" / f"{page}.md"
    assert done.stdout.strip() in path.read_text(encoding="utf-8")


def judged(repository, verdicts):
    """Return the rows of a file of verdicts in docs/findings/."""
    path = repository / "docs/findings" / f"{verdicts}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("verdicts", VERDICTS)
def test_what_was_judged_are_the_claims_as_they_stand(repository, verdicts):
    _, table = VERDICTS[verdicts]
    claims = {claim.name: claim for claim in load_claims(repository / table)}
    for row in judged(repository, verdicts):
        claim = claims[row["claim"]]
        assert row["task"] in (claim.tasks or (FORMULA,))
        assert row["range"] == claim.range
        assert row["statistic"] == claim.definition
        assert (row["wording"], row["why"]) == (claim.claim, claim.why)
        assert (row["section"], row["figures"]) == (
            claim.section,
            " ".join(map(str, claim.figures)),
        )


@pytest.mark.parametrize("verdicts", [name for name in VERDICTS if name not in PARTIAL])
def test_an_experiment_has_a_verdict_on_every_claim(repository, verdicts):
    _, table = VERDICTS[verdicts]
    found = [(row["claim"], row["task"]) for row in judged(repository, verdicts)]
    assert found == [
        (claim.name, task)
        for claim in load_claims(repository / table)
        for task in claim.tasks or (FORMULA,)
    ]


@pytest.mark.parametrize("page", sorted({page for page, _ in VERDICTS.values()}))
def test_every_verdict_that_does_not_hold_is_discussed(repository, page):
    """A finding is a heading with the claim's name, for the task where it does not hold."""
    of_the_page = [verdicts for verdicts, (where, _) in VERDICTS.items() if where == page]
    page = (repository / "docs/findings" / f"{page}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### `(\w+)`, (.*)$", page, re.MULTILINE)
    discussed = {(name, task) for name, tasks in headings for task in tasks.split(", ")}
    rows = [row for verdicts in of_the_page for row in judged(repository, verdicts)]
    assert discussed == {(row["claim"], row["task"]) for row in rows if row["verdict"] != "holds"}


def test_the_citation_has_the_version_of_the_package(repository):
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == samedge.__version__


def test_every_target_that_the_workflows_of_github_make_exists(repository):
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    folder = repository / ".github" / "workflows"
    for path in folder.glob("*.yml"):
        jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
        commands = [step.get("run", "") for job in jobs for step in job["steps"]]
        made = re.findall(r"^make ([a-z-]+)", "\n".join(commands), flags=re.MULTILINE)
        assert made and targets.issuperset(made), path.name

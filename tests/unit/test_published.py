"""What is published with the findings at length: an archive, its gallery and verdicts."""

import csv
import json
import re
import subprocess
import sys
import zipfile

import pytest
from PIL import Image

from samedge.analysis.claims import load_claims
from samedge.analysis.verdicts import FORMULA, as_row, judge_all
from samedge.config import experiment as configuration
from samedge.config.grid import grid_json
from samedge.records import files
from samedge.records.schema import STATUS
from samedge.sharing.archive import verified
from samedge.sharing.redraw import redraw


@pytest.fixture(scope="module")
def archive(repository):
    return repository / "docs" / "findings" / "length.zip"


@pytest.fixture(scope="module")
def unpacked(archive, tmp_path_factory):
    """Return the cubes of the archive by task, and its configuration."""
    folder = tmp_path_factory.mktemp("cubes")
    with verified(archive) as packed:
        cubes = files.read_cubes([packed.extract(name, folder) for name in packed.cubes()])
        return cubes, packed.config()


@pytest.fixture(scope="module")
def findings(repository):
    """Return the text of the findings at length."""
    return (repository / "docs/findings/length.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def configurations(repository):
    """Return the files that the experiment at length is configured by."""
    return [repository / "config.yaml", repository / "config" / "length.yaml"]


def test_the_gallery_is_drawn_again_from_its_archive(archive, repository, tool, tmp_path):
    """Every PDF that is packed is drawn again, every picture is that of the page: byte for byte."""
    gallery = tool("write_gallery")
    page = gallery.PAGE.read_text(encoding="utf-8")
    command = f"samedge redraw {archive.relative_to(repository)} --output redrawn --figure"
    shown = [entry for entry in gallery.entries() if f"{command} {entry.name}\n" in page]
    assert {f"figure_{number:02d}" for number in range(1, 17)} < {one.target for one in shown}
    done = redraw(archive, tmp_path, [entry.name for entry in shown])
    assert len(done.equal) > 20 and not done.other
    for entry in shown:
        with Image.open(tmp_path / entry.file) as picture:
            reduced = gallery.reduced(picture)
        assert reduced == (gallery.PICTURES / f"{entry.target}.png").read_bytes(), entry.target


def test_the_verdicts_follow_from_the_cubes_of_the_archive(unpacked, repository):
    cubes, config = unpacked
    radii = {task: str(config["tasks"][task]["figure_rho"]) for task in cubes}
    found = {
        (one.claim.name, one.task): {name: str(value) for name, value in as_row(one).items()}
        for one in judge_all(load_claims(), [*cubes.values()], radii)
    }
    path = repository / "docs/findings/length_claims.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["task"] for row in rows} == {*cubes, FORMULA}
    for row in rows:
        assert found[row["claim"], row["task"]] == row


def test_the_example_of_the_findings_prints_the_medians_that_they_state(
    archive, findings, tmp_path
):
    [example] = re.findall(r"^```python\n(.+?)^```$", findings, re.MULTILINE | re.DOTALL)
    with zipfile.ZipFile(archive) as packed:
        packed.extract("length/cubes/cifar10.nc", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    medians = re.findall(r"\d+\.\d+", done.stdout.splitlines()[-1])[-3:]
    assert f"their medians over η are {medians[0]}, {medians[1]} and {medians[2]}." in findings


def test_the_configuration_of_the_findings_goes_on_from_runs_of_the_experiment(
    findings, configurations, tmp_path
):
    [overlay] = re.findall(r"^```yaml\n(.+?)^```$", findings, re.MULTILINE | re.DOTALL)
    path = tmp_path / "length_off.yaml"
    path.write_text(overlay, encoding="utf-8")
    experiment = configuration.load([*configurations, path])
    named = re.search(r"results/length_off/runs/mnist_off/eta\{(.+)\}_rho0_seed0.nc", findings)
    found = experiment.runs("mnist_off")
    assert [run.name for run in found] == [f"eta{eta}_rho0_seed0" for eta in named[1].split(",")]
    # But for what is measured beside, they start from runs of the experiment itself.
    aside = {"density", "way"}
    whole = configuration.load(configurations)
    asked = {run.name: json.loads(run.to_json()) for run in whole.runs("mnist")}
    for run in experiment.runs("mnist"):
        if str(run.rho) == "0.1":
            mine, theirs = json.loads(run.to_json()), asked[run.name]
            keys = mine.keys() | theirs.keys()
            assert {key for key in keys if mine.get(key) != theirs.get(key)} == aside


def test_the_archive_is_of_the_whole_experiment(unpacked, configurations):
    """Every run that the configuration asks for is there, and was trained with its settings."""
    cubes, _ = unpacked
    experiment = configuration.load(configurations)
    assert cubes.keys() == experiment.tasks.keys()
    for task, cube in cubes.items():
        assert cube.attrs["settings"] == grid_json(experiment.runs(task))
        assert (cube["status"] != STATUS["missing"]).all()

"""An experiment outside of the checkout, with a rule, claims, a model and data of its own."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from checkout import NOTHING, TINY, WITHOUT_JAX, Checkout, parse
from own_experiment import MINE, TASK, effective_curvature, write, write_configuration
from samedge.records import files as records

SECOND = """
import jax.numpy as jnp

from samedge.tasks.loss import LOSSES


@LOSSES.register("absolute", mean_over_examples=True)
def absolute(outputs, targets):
    return jnp.mean(jnp.sqrt(jnp.square(outputs - targets) + 1e-3))
"""
RUNS = {("numbers", "0.01", rho, "0") for rho in ("0", "0.1")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder of one's own: configuration, plugin and data, nothing of the checkout."""
    folder = tmp_path_factory.mktemp("mine")
    write(folder)
    return folder


def snakemake(unrun: Checkout, folder: Path, *arguments: object) -> str:
    """Run the checkout's workflow on the folder's configuration, and return the output.

    It runs in the folder, unless the arguments name the folder as ``--directory``.
    """
    files = ("--configfile", unrun.root / TINY, folder / "mine.yaml")
    snakefile = ("--snakefile", unrun.root / "Snakefile")
    here = folder.parent if "--directory" in arguments else folder
    done = Checkout(here).bare_snakemake(
        "--nocolor", *snakefile, *arguments, *files, SOURCE_DATE_EPOCH="86400"
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def made(unrun: Checkout, folder: Path) -> Path:
    """Run the experiment, archive included, and return the folder of its results."""
    targets = ("all", "archive", "--cores", "all", "--resources", "gpu=1")
    snakemake(unrun, folder, *targets, "--directory", folder)
    assert not (unrun.root / "results").exists()
    return folder / "results/mine"


def test_it_is_trained_measured_and_drawn(made):
    cube = records.read_cube(made / "cubes/numbers.nc")
    assert cube.sizes["rho"] == 2
    assert (cube["eigenvalue_converged"] == 1).all()
    # The edge is that of the rule, and what meets it is not the Hessian's curvature.
    np.testing.assert_allclose(cube["sam_edge"], 2 * 1.9 / (0.1 * 2.8) / 0.01)
    first = cube.sel(rho=0).isel(eta=0, seed=0, check=0)
    dense = effective_curvature(made.parents[1])
    assert float(first["effective_curvature"]) == pytest.approx(dense, rel=1e-3)
    assert abs(dense / float(first["eigenvalue"][0]) - 1) > 0.1
    np.testing.assert_allclose(
        cube["edge_ratio"], np.abs(cube["effective_curvature"]) / cube["sam_edge"]
    )
    # The one layer is all of the Hessian.
    assert cube["block"].values.tolist() == ["w"]
    last = abs(cube["eigenvalue"].isel(check=-1, rank=0))
    np.testing.assert_allclose(abs(cube["block_curvature"].squeeze()), last.squeeze(), rtol=1e-3)
    assert (made / "figures/blocks_numbers.pdf").is_file()
    assert set(json.loads(cube.attrs["plugins"])) == {"mine.py"}
    for name in ("claims.json", "explorer.html", "figures/edge_map_numbers.pdf"):
        assert (made / name).is_file()
    assert any((made / "supplement/numbers").glob("*.pdf"))
    with (made / "claims.csv").open(encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert (row["claim"], row["verdict"]) == ("edge_of_nadam", "holds")
    assert float(row["effect"]) == pytest.approx(1.9 / (0.1 * 2.8))


def test_the_archive_has_the_plugin_and_is_redrawn_without_running_it(unrun, made, tmp_path):
    archive = made / "mine.zip"
    with zipfile.ZipFile(archive) as file:
        packed = file.read("mine/plugins/mine.py").decode()
        manifest = file.read("mine/manifest-sha256.txt").decode()
        config = json.loads(file.read("mine/config.yaml"))
    assert packed == (made.parents[1] / "mine.py").read_text(encoding="utf-8")
    assert "  plugins/mine.py\n" in manifest
    assert config["plugins"] == ["plugins/mine.py"]
    assert config["claims"] == "claims.toml"
    assert "  claims.toml\n" in manifest
    mark = made.parents[1] / "imported"
    before = mark.read_text()
    drawn = ("edge_map_numbers", "loss_numbers_rho0.1", "blocks_numbers", "claims")
    options = ("--archive", archive, "--output", tmp_path / "redrawn", "--figure", *drawn)
    done = unrun.script("redraw", *options, **WITHOUT_JAX)
    assert done.returncode == 0, done.stdout
    for name in drawn:
        again = (tmp_path / f"redrawn/figures/{name}.pdf").read_bytes()
        assert again == (made / f"figures/{name}.pdf").read_bytes()
    assert mark.read_text() == before


def test_nothing_is_left_to_do_and_another_plugin_trains_its_own_runs(unrun, folder, made):
    assert parse(snakemake(unrun, folder, "--dry-run")) == NOTHING
    (folder / "second.py").write_text(SECOND, encoding="utf-8")
    other = TASK | {"loss": {"name": "absolute"}}
    tasks = MINE["tasks"] | {"other": other}
    write_configuration(folder, MINE | {"plugins": ["mine.py", "second.py"], "tasks": tasks})
    plan = parse(snakemake(unrun, folder, "--dry-run"))
    assert plan.runs == {("other", *run[1:]) for run in RUNS}
    write_configuration(folder, MINE)
    with (folder / "mine.toml").open("a", encoding="utf-8") as file:
        file.write("\n# edited\n")
    judged = {"copy_claims": 1, "judge_claims": 1, "all": 1}
    assert parse(snakemake(unrun, folder, "--dry-run")).counts == judged
    with (folder / "mine.py").open("a", encoding="utf-8") as file:
        file.write("\n# edited\n")
    assert parse(snakemake(unrun, folder, "--dry-run")).runs == RUNS


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"plugins": ["none.py"]}, "none.py: the plugin cannot be read"),
        ({"claims": "none.toml"}, "none.toml: cannot be read (No such file or directory)"),
        ({"plugins": []}, "tasks.numbers.model.name: unknown name 'linear'"),
        (
            {"tasks": MINE["tasks"] | {"numbers": TASK | {"model": {"name": "liner"}}}},
            "tasks.numbers.model: missing settings",
        ),
        (
            {"tasks": MINE["tasks"] | {"numbers": TASK | {"loss": {"name": "squared_eror"}}}},
            "tasks.numbers.loss.name: unknown name 'squared_eror'; did you mean 'squared_error'?",
        ),
        (
            {
                "tasks": MINE["tasks"]
                | {"numbers": TASK | {"model": {"name": "liner", "settings": {"scale": 1}}}}
            },
            "tasks.numbers.model.name: unknown name 'liner'; did you mean 'linear'?",
        ),
    ],
    ids=["missing", "no claims", "not named", "settings", "loss", "misspelt"],
)
def test_what_is_wrong_is_said_before_any_job(unrun, folder, tmp_path, changes, complaint):
    for name in ("mine.py", "mine.toml"):
        (tmp_path / name).write_text((folder / name).read_text())
    write_configuration(tmp_path, MINE | changes)
    files = ("--configfile", unrun.root / TINY, tmp_path / "mine.yaml")
    done = Checkout(tmp_path).bare_snakemake(
        "--snakefile", unrun.root / "Snakefile", "--dry-run", *files
    )
    assert done.returncode != 0
    assert complaint in done.stdout

"""The workflow as a module of another workflow, and after a move.

From another folder it runs in test_plugins.py.
"""

import os
import shutil

import pytest
import yaml
from snakemake.utils import update_config

from checkout import TINY, Checkout

# One task of the tiny experiment with two runs.
SMALL = {
    "experiment": "small",
    "tasks": {"cifar10": None, "tiny_shakespeare": None, "mnist": {"eta": [0.1]}},
}
# One of each kind of what an experiment leaves.
MADE = ("cubes/mnist.nc", "figures/figure_04.pdf", "claims.json", "explorer.html")
MODULE = """
import yaml

module samedge:
    snakefile: {snakefile!r}
    config: yaml.safe_load(open({config!r}))
    prefix: "edges"

use rule * from samedge as edge_*

rule mine:
    default_target: True
    input: rules.edge_figure_04.input, rules.edge_claims.input, rules.edge_explorer.input
    output: "mine.txt"
    shell: "python -c 'print(1)' > {{output}} && python -c 'print(2)' >> {{output}}"
"""


@pytest.fixture
def overlays(unrun: Checkout, tmp_path):
    """Return the files of a small experiment, outside of the checkout."""
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    return [unrun.root / TINY, tmp_path / "small.yaml"]


def test_as_a_module_with_a_prefix(unrun: Checkout, finished: Checkout, overlays, tmp_path):
    folder = tmp_path / "mine"
    # With the programs that it will need.
    shutil.copytree(finished.result("cache"), folder / "edges/results/small/cache")
    config = {}
    for path in overlays:
        update_config(config, yaml.safe_load(path.read_text(encoding="utf-8")))
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "Snakefile").write_text(
        MODULE.format(
            snakefile=str(unrun.root / "Snakefile"),
            config=str(folder / "config.yaml"),
        ),
        encoding="utf-8",
    )
    done = Checkout(folder).bare_snakemake("--cores", "all", "--resources", "gpu=1")
    assert done.returncode == 0, done.stdout
    assert (folder / "mine.txt").read_text() == "1\n2\n"
    assert all((folder / "edges/results/small" / name).is_file() for name in MADE)
    assert not (folder / "results").exists()


def test_a_checkout_that_moved_trains_nothing(finished: Checkout, tmp_path):
    moved = Checkout(shutil.copytree(finished.root, tmp_path / "elsewhere" / "moved"))
    for path in moved.root.rglob("workflow/**/*.py"):
        os.utime(path)
    assert moved.plan() == finished.plan()

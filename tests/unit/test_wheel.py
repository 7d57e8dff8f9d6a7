"""The wheel has all that the package needs, wherever it is installed."""

import os
import shutil
import subprocess
import sys

import pytest

# Every module is that of the wheel, and whatever it reads beside itself is there.
READING = """
import importlib, pkgutil, sys
from pathlib import Path

import samedge

folder, configuration = map(Path, sys.argv[1:])
assert samedge.__file__ == str(folder / "samedge" / "__init__.py"), samedge.__file__
for module in pkgutil.walk_packages(samedge.__path__, "samedge."):
    found = Path(importlib.import_module(module.name).__file__)
    assert found.is_relative_to(folder), found

from matplotlib.style import context
from samedge.analysis.claims import load_claims
from samedge.config.experiment import load
from samedge.explorer.page import page
from samedge.figures.paper import STYLE
from samedge.machine.provenance import CHECKOUT, git_commit

assert set(load([configuration]).tasks) == {"mnist", "cifar10", "tiny_shakespeare"}
assert load_claims()
assert "<script" in page([])
with context(STYLE):
    pass
assert (CHECKOUT, git_commit()) == (None, "unknown")
"""


def run(*command, cwd, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(repository, tmp_path_factory):
    """Return a folder in which nothing but the wheel of this checkout's sources is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    # A copy: building leaves files beside the sources.
    shutil.copytree(
        repository / "workflow/scripts/samedge",
        sources / "workflow/scripts/samedge",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(repository / name, sources)
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
    offline = ("--no-index", "--no-deps", "--no-cache-dir")
    run(*pip, "wheel", *offline, "--no-build-isolation", sources, "-w", folder, cwd=folder)
    [wheel] = folder.glob("samedge-*.whl")
    run(*pip, "install", *offline, "--target", folder / "installed", wheel, cwd=folder)
    shutil.rmtree(sources)
    return folder / "installed"


def test_the_wheel_has_every_file_of_the_package(repository, installed):
    def files(folder):
        paths = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
        return {str(path.relative_to(folder)) for path in paths if path.is_file()}

    packed = files(installed / "samedge")
    assert packed == files(repository / "workflow/scripts/samedge")
    assert {"py.typed", "config/schema.yaml"} <= packed


def test_whatever_the_package_reads_is_found_where_it_is_installed(repository, installed, tmp_path):
    arguments = installed, repository / "config.yaml"
    run("-c", READING, *arguments, cwd=tmp_path, PYTHONPATH=str(installed))


def test_importing_the_package_needs_nothing_else(installed, tmp_path):
    """Without the packages of the environment, that is, with Python's own alone."""
    code = "import samedge; print(samedge.__version__, 'top_eigenpairs' in dir(samedge))"
    printed = run("-S", "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert printed.split()[1] == "True"

"""Copies of the checkout: one in which nothing has run, and the tiny experiment, run once.

The data are those of ``own_datasets.py``: the registry's way in for a user's own data. They need
no network, no package index and no prepared data sets, so that these tests run everywhere; how
the real data come in is what the unit tests of sources, archives and samples are for.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import store
from checkout import Checkout
from samedge.base.files import locked


@pytest.fixture(scope="session")
def unrun(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a copy of the checkout to plan in; nothing has run."""
    return Checkout.copy(repository, tmp_path_factory.mktemp("workflow") / "unrun")


@pytest.fixture(scope="session")
def finished(unrun: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a checkout in which the tiny experiment has run; to be read, not changed.

    It runs once, in the first of the processes that tests are spread over; each has a copy.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    whole = shared / "finished"
    with locked(shared / "finished.lock", lambda: None):
        if not whole.exists():
            running = unrun.clone(shared / "running")
            done = running.snakemake(
                "--cores", "all", "--resources", "gpu=1", **running.recording()
            )
            if done.returncode:
                shutil.rmtree(running.root)
            assert done.returncode == 0, done.stdout
            running.root.rename(whole)
    return Checkout(whole).clone(tmp_path_factory.mktemp("workflow") / "finished")


@pytest.fixture
def changeable(finished: Checkout, tmp_path: Path) -> Checkout:
    """Return a copy of the finished checkout for one test to change."""
    return finished.clone(tmp_path / "changeable")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of an empty object store."""
    with store.object_store(tmp_path_factory.mktemp("store")) as address:
        yield address

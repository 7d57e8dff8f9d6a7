"""Fixtures for every test. Nothing here imports JAX: some tests check that it stays out."""

import gc
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

pytest_plugins = ["tests.browser.chromium"]

REPOSITORY = Path(__file__).resolve().parent.parent
# What JAX keeps are millions of objects, and looking for garbage among them takes a twelfth of a
# test's time where it is done as often as Python does.
gc.set_threshold(50_000, 20, 100)

#: Files that take longest, to begin with: what begins last then ends soon after the rest. The first
#: makes the experiment that others share; the next two, which do not need it, fill that time.
LONGEST = (
    "tests/workflow/test_rerun.py",
    "tests/unit/test_benchmark_gpu.py",
    "tests/reference/test_reference.py",
    "tests/workflow/test_night.py",
    "tests/workflow/test_elsewhere.py",
    "tests/workflow/test_by_hand.py",
    "tests/workflow/test_watch.py",
    "tests/browser/test_explorer_page.py",
    "tests/workflow/test_train_together.py",
    "tests/workflow/test_plan.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; pytest-xdist keeps the order if it is told to."""
    places = {REPOSITORY / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def tool() -> Callable[[str], ModuleType]:
    """Return what loads a program of tools/ as a module, given its name."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, REPOSITORY / "tools" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where dataclasses look for it
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def tfds_data_dir() -> Path:
    """Return the folder of prepared TFDS data sets; skip the test where there is none."""
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder:
        pytest.skip("real data: TFDS_DATA_DIR names no folder of prepared data sets")
    names = ("mnist", "cifar10", "tiny_shakespeare")
    absent = [name for name in names if not (Path(folder) / name).is_dir()]
    if absent:
        pytest.skip(f"real data: {', '.join(absent)} not in TFDS_DATA_DIR ({folder})")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def strict_jax():
    """JAX as the training job sets it up; not automatic, since some tests must not import it."""
    import jax

    jax.config.update("jax_default_matmul_precision", "highest")
    jax.config.update("jax_numpy_dtype_promotion", "strict")

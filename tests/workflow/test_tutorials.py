"""The tutorials run as they stand, cell by cell, in a copy of the checkout."""

import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from checkout import LONGEST, UNSET, Checkout

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def checkout(repository, tmp_path_factory):
    """One copy for all, so that data are prepared once."""
    copy = Checkout.copy(repository, tmp_path_factory.mktemp("tutorials") / "checkout")
    shutil.copytree(TUTORIALS, copy.root / "docs" / "tutorials")
    return copy


# Of PyZMQ and Jupyter, about their own ends.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(notebook, checkout):
    book = nbformat.read(notebook, as_version=4)
    if any("import torch" in cell.source for cell in book.cells):
        pytest.importorskip("torch", reason="PyTorch is in the benchmarks' environment only")
    environment = {name: value for name, value in os.environ.items() if name not in UNSET}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment["PYTHONPATH"] = str(checkout.root / "workflow" / "scripts")
    client = NotebookClient(
        book,
        timeout=LONGEST,
        kernel_name="python3",
        resources={"metadata": {"path": str(checkout.root / "docs" / "tutorials")}},
    )
    client.execute(env=environment)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_it_shows_is_what_came_of_running_it(notebook):
    book = nbformat.read(notebook, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    # No folder of whoever ran it, nor a warning.
    text = notebook.read_text(encoding="utf-8")
    assert not any(word in text for word in ("/home/", "/root/", "Warning"))

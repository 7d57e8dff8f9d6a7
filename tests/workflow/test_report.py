"""The report: whole, of a partial result, and of none, opened in a browser."""

import base64
import re
import shutil
from pathlib import Path

import pytest

from checkout import Checkout

TASKS = ("mnist", "cifar10", "tiny_shakespeare")


def written(checkout: Checkout, name: str) -> Path:
    """Write a report and return its path."""
    path = checkout.root / name
    done = checkout.snakemake("--report", path)
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout and "Traceback" not in done.stdout
    return path


def text_of(page) -> str:
    """Return what a person reads on a page."""
    return page.locator("body").inner_text()


@pytest.fixture(scope="module")
def whole(finished: Checkout) -> Path:
    return written(finished, "report.html")


def test_the_overview_says_what_ran_and_needs_no_network(whole, open_page):
    page = open_page(whole)
    page.get_by_text("The edge of stability, with and without SAM").wait_for()
    shown = text_of(page)
    for task in TASKS:
        assert task in shown
    assert "No figure of it is there yet" not in shown


def test_every_figure_is_in_it_with_a_caption_from_its_runs(whole, finished, open_page):
    content = whole.read_text(encoding="utf-8")
    names = [f"figure_{number:02d}" for number in range(1, 17)] + ["claims"]
    names += [f"{kind}_{task}" for kind in ("density", "edge_map") for task in TASKS]
    names += [f"alignment_{task}_rho0" for task in TASKS]
    for name in names:
        picture = (finished.result("figures") / f"{name}.png").read_bytes()
        assert base64.b64encode(picture).decode()[:4000] in content, name
    assert "explorer.html" in content
    page = open_page(whole)
    page.get_by_text("mnist", exact=True).first.click()
    page.get_by_text("04: eigenvalues zoom", exact=True).wait_for()
    captions = re.findall(r"Did not complete:(.{0,400})", content)
    assert any("eta10000_rho0_seed0 (diverged at step" in caption for caption in captions)
    assert any("none" in caption for caption in captions)


@pytest.mark.parametrize("category", [*TASKS, "experiment", "theory"])
def test_every_category_opens(whole, open_page, category):
    page = open_page(whole)
    page.get_by_text(category, exact=True).first.click()
    page.get_by_text("Results", exact=True).wait_for()


def test_a_category_of_two_figures_opens(finished, tmp_path, open_page):
    checkout = finished.clone(tmp_path / "two")
    for path in checkout.result("figures").glob("*"):
        if path.stem not in ("figure_04", "edge_map_mnist"):
            path.unlink()
    page = open_page(written(checkout, "two.html"))
    page.get_by_text("mnist", exact=True).first.click()
    page.get_by_text("Results", exact=True).wait_for()


def test_a_partial_result_gives_a_report_that_says_what_is_missing(finished, tmp_path, open_page):
    checkout = finished.clone(tmp_path / "partial")
    for path in checkout.result("figures").glob("*"):
        if "cifar10" in path.name or path.stem in {f"figure_{n:02d}" for n in range(7, 12)}:
            path.unlink()
    checkout.result("cubes/cifar10.nc").unlink()
    page = open_page(written(checkout, "partial.html"))
    page.get_by_text("No figure of it is there yet").wait_for()
    assert text_of(page).count("No figure of it is there yet") == 1


def test_a_report_of_nothing_says_what_to_run(unrun, tmp_path, open_page):
    checkout = unrun.clone(tmp_path / "nothing")
    shutil.rmtree(checkout.root / "results", ignore_errors=True)
    page = open_page(written(checkout, "nothing.html"))
    page.get_by_text("Nothing is there to show yet").wait_for()

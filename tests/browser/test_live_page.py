"""The page of runs in progress in a browser: it renews itself, and is then as it was left."""

import time
from contextlib import suppress

import numpy as np
import pytest
from playwright.sync_api import Error, expect

from samedge.command.watch import Page
from samedge.records import files
from samedge.records.progress import plan
from samedge.training.observers.progress import ProgressFile
from samedge.watching.runs import Watch
from synthetic import ENVIRONMENT, check, grid_settings, run

EVERY = 0.5
FINISHED, TRAINING, FAILED, WAITING = grid_settings(eta=["0.1", "0.3"], rho=["0", "0.1"])
OPENED = f"#task=mnist&eta={TRAINING.eta}&rho={TRAINING.rho}&seed=0&x=step&scale=linear"


class Experiment:
    """Runs that go on when a test says so, and the page that is written of them."""

    def __init__(self, folder):
        self.watch, self.page = Watch(folder), Page(folder / "watch.html", EVERY)
        self.generator = np.random.default_rng(0)
        self.folder = folder
        self.files = {}
        for settings, steps in ((TRAINING, 3), (FAILED, 2)):
            path = folder / f"runs/mnist/{settings.name}.nc"
            self.files[settings.name] = ProgressFile(path, settings, pytest.fail)
            self.files[settings.name].ready(ENVIRONMENT)
            for number in range(steps):
                self.check(settings, 10 * number)
        self.files[FAILED.name].end("failed", 10, "out of memory: lower the width")

    def check(self, settings, step):
        row = check(settings, step, self.generator, 400)
        self.files[settings.name].check(row, 90.0)

    def write(self):
        self.page._due = 0.0
        self.page.update(self.watch.look())


@pytest.fixture
def experiment(tmp_path):
    settings = [FINISHED, TRAINING, FAILED, WAITING]
    plan.write_plan(tmp_path, {"mnist": settings})
    files.write(run(FINISHED, checks=9), tmp_path / f"runs/mnist/{FINISHED.name}.nc")
    made = Experiment(tmp_path)
    made.write()
    return made


def wait_until(page, true):
    """Wait for an expression; the page itself may not be asked to, as it evaluates no text."""
    until = time.monotonic() + 60
    while True:
        with suppress(Error):  # it is between two pages
            if page.evaluate(true):
                return
        assert time.monotonic() < until, true
        page.wait_for_timeout(50)


def test_runs_in_progress_are_shown_as_such(open_page, experiment):
    page = open_page(experiment.page.path, OPENED)
    overview = page.locator("#overview").inner_text()
    assert overview.startswith("4 runs: 1 training, 1 failed, 1 not started, 1 completed; as of ")
    assert overview.endswith("renewed every 0.5 s") or "renewed every 0.500 s" in overview
    expect(page.locator("#outcome")).to_have_text("Measured at 3 checks so far.")
    expect(page.locator("#ended")).to_have_text(
        "This run is training: step 20 of 400, about 90 s left. What was measured so far is below."
    )
    assert "bad" not in page.locator("#ended").get_attribute("class")
    words = [cell.split("\n") for cell in page.locator(".cell").all_inner_texts()]
    assert words[1:] == [["training", "at step 20"], ["failed", "at step 10"], ["not started"]]
    expect(page.locator("#panels")).to_be_visible()
    page.locator(".cell").nth(2).click()
    ended = page.locator("#ended")
    expect(ended).to_contain_text("This run has failed at step 10 of 400: out of memory: lower the")
    assert "bad" in ended.get_attribute("class")
    page.locator(".cell").nth(3).click()
    expect(ended).to_have_text("This run has not started. Nothing was measured yet.")
    expect(page.locator("#panels")).to_be_hidden()


def test_the_first_run_that_is_shown_has_been_measured(open_page, experiment):
    experiment.folder.joinpath(f"runs/mnist/{FINISHED.name}.nc").unlink()
    experiment.write()
    page = open_page(experiment.page.path)
    expect(page.locator("#run-title")).to_have_text("mnist: SAM, η = 0.1, ρ = 0.1, seed 0")


def test_the_page_renews_itself_as_it_was_left_and_stops_when_all_have_ended(open_page, experiment):
    page = open_page(experiment.page.path, OPENED)
    loads = []
    page.on("load", lambda _: loads.append(1))
    page.locator("#all-checks summary").click()
    page.evaluate("zoom([5, 15]); scrollTo(0, 400); document.activeElement.blur()")
    before = page.evaluate("[location.hash, scrollY, range, zoomed()]")
    assert before[2] == before[3] == [5, 15]
    experiment.check(TRAINING, 30)
    experiment.write()
    wait_until(page, "run().checks.step.length === 4")
    wait_until(page, "scrollY > 0")
    assert page.evaluate("[location.hash, scrollY, range, zoomed()]") == before
    assert page.evaluate("byId('all-checks').open")
    expect(page.locator("#checks tbody tr")).to_have_count(4)
    assert loads
    # Another choice is kept as well.
    page.locator(".cell").nth(0).click()
    title = page.locator("#run-title").inner_text()
    experiment.check(TRAINING, 40)
    seen = len(loads)
    experiment.write()
    while len(loads) == seen:
        page.wait_for_timeout(100)
    expect(page.locator("#run-title")).to_have_text(title)

    experiment.files[TRAINING.name].end("diverged", 45, "the loss is not finite")
    plan.write_plan(experiment.folder, {"mnist": [FINISHED]})
    experiment.write()
    wait_until(page, "DATA.live.renew === null")
    assert "renewed" not in page.locator("#overview").inner_text()
    seen = len(loads)
    page.wait_for_timeout(2000)
    assert len(loads) == seen


def test_a_page_that_somebody_is_at_is_not_taken_away(open_page, experiment):
    page = open_page(experiment.page.path, OPENED)
    page.evaluate("window.same = true")
    until = time.monotonic() + 3
    while time.monotonic() < until:
        page.mouse.move(*np.random.default_rng().integers(10, 500, 2).tolist())
        page.wait_for_timeout(50)
    assert page.evaluate("window.same") is True
    wait_until(page, "window.same === undefined")

"""The explorer in a browser: what a person does with it, by mouse, by keyboard and on a phone."""

import re
from dataclasses import replace
from urllib.parse import parse_qsl

import numpy as np
import pytest
from playwright.sync_api import expect

import write_explorer
from samedge.analysis.statistics import STATISTICS
from samedge.explorer import page as explorer
from samedge.figures import panels
from samedge.records import cubes as collecting
from samedge.records import files as records
from synthetic import grid_settings, run_settings, write_runs
from tests.browser.chromium import PHONE

OWN = 'my <b>own</b> "task"'
PANELS = ("eigenvalues", "bounds", "loss", "alignment")
#: Diverged with checks, and of every seed before the first check; missing.
DIVERGED = {
    "eta0.3_rho0.1_seed0": 220,
    "eta0.1_rho0.1_seed0": -1,
    "eta0.1_rho0.1_seed7": -1,
}
MISSING = "eta0.03_rho0_seed7"


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """Cubes of three tasks: two seeds, some lost; all completed; one run, two ranks, no test."""
    found = {}
    for task, settings in (
        ("mnist", grid_settings("mnist", seeds=(0, 7))),
        ("cifar10", grid_settings("cifar10")),
        (OWN, [replace(run_settings(), task=OWN)]),
    ):
        folder = tmp_path_factory.mktemp("runs")
        write_runs(folder, settings, **(DIVERGED if task == "mnist" else {}))
        if task == "mnist":
            (folder / f"{MISSING}.nc").unlink()
        found[task] = collecting.collect(settings, folder, allow_missing=True)
    found[OWN] = found[OWN].isel(rank=[0, 1]).drop_vars("test_error")
    return found


@pytest.fixture(scope="module")
def path(cubes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    files = []
    for number, cube in enumerate(cubes.values()):
        files.append(str(folder / f"{number}.nc"))
        records.write(cube, files[-1])
    write_explorer.main(["--cubes", *files, "--output", str(folder / "explorer.html")])
    return folder / "explorer.html"


@pytest.fixture
def page(open_page, path):
    return open_page(path)


def run_of(cubes, task, eta, rho, seed=0):
    """Return the measured checks of a run, as NumPy arrays by name."""
    cube = cubes[task]
    eta, rho = list(cube["eta_label"].values).index(eta), list(cube["rho_label"].values).index(rho)
    return panels.measured(cube.isel(eta=eta, rho=rho).sel(seed=seed))


def cell(page, task, eta, rho):
    return page.get_by_role("button", name=f"{task}, η = {eta}, ρ = {rho}:")


def choose(page, label, option):
    page.get_by_label(label, exact=True).select_option(option)


def drawn(page, panel):
    """Return the lines of a panel by name: x and y."""
    return {name: values for name, values, band in traces_of(page, panel) if not band}


def bands(page, panel):
    """Return the bands of a panel by name: x and y, there and back."""
    return {name: values for name, values, band in traces_of(page, panel) if band}


def traces_of(page, panel):
    traces = page.evaluate(
        f"document.getElementById('plot-{panel}').data.map((t) => [t.name, [t.x, t.y], !!t.band])"
    )
    return [(name, np.array(values, np.float64), band) for name, values, band in traces]


def ranges(page, axis="xaxis"):
    return [
        page.evaluate(f"document.getElementById('plot-{panel}').layout.{axis}.range")
        for panel in PANELS
    ]


def assert_shown(page, run, x="step"):
    """Compare every trace of all panels with the cube."""
    names = ("|λ₁|", "|λ₂|", "|λ₃|")[: run.sizes["rank"]]
    expected = {
        "eigenvalues": {
            **{name: np.abs(run["eigenvalue"][:, rank]) for rank, name in enumerate(names)},
            "SAM edge": run["sam_edge"],
            "2/η": np.full(run.sizes["check"], float(run["gd_edge"])),
        },
        "bounds": {
            "λ_max / SAM edge": np.maximum(0, run["largest_eigenvalue"] / run["sam_edge"]),
            "−λ_min ρ/‖g‖": -run["smallest_eigenvalue"] * run["rho"] / run["gradient_norm"],
            "bound": np.ones(run.sizes["check"]),
        },
        "loss": {"training loss": run["training_loss"]},
        "alignment": {
            "gradient": run["gradient_alignment"],
            "SAM gradient": run["sam_gradient_alignment"],
        },
    }
    for panel, traces in expected.items():
        found = drawn(page, panel)
        assert list(found) == list(traces)
        for name, y in traces.items():
            np.testing.assert_allclose(found[name][0], run[x], rtol=1e-4, err_msg=name)
            np.testing.assert_allclose(found[name][1], y, rtol=1e-4, err_msg=name)
    assert_bounded(page, run, x)


def assert_bounded(page, run, x):
    """Compare the bands of both ends with the cube, at the checks that have them."""
    bounded = np.isfinite(run["largest_eigenvalue_bound"].values)
    ends = {
        "λ_max / SAM edge": ("largest_eigenvalue", 1 / run["sam_edge"]),
        "−λ_min ρ/‖g‖": ("smallest_eigenvalue", -run["rho"] / run["gradient_norm"]),
    }
    found = bands(page, "bounds")
    assert len(found) == (2 if bounded.any() else 0)
    for name, (end, per_unit) in ends.items():
        if not bounded.any():
            continue
        there, back = (
            np.maximum(0, run[key] * per_unit).values[bounded] for key in (end, f"{end}_bound")
        )
        steps = run[x].values[bounded]
        np.testing.assert_allclose(
            found[f"{name}, to its bound"],
            [[*steps, *steps[::-1]], [*there, *back[::-1]]],
            rtol=1e-4,
        )


def chosen(page):
    """Return what the address says is chosen."""
    return dict(parse_qsl(page.evaluate("location.hash.slice(1)")))


def readout(page):
    names, values = (page.locator(f"#readout {tag}").all_inner_texts() for tag in ("dt", "dd"))
    return dict(zip(names, values, strict=True))


def number(text):
    """Return a number as the page prints it."""
    return float(re.match(r"[−\d.,e]+", text)[0].replace("−", "-").replace(",", ""))


def place_of(page, panel, check):
    """Return where a check of a panel is on the screen."""
    plot = page.locator(f"#plot-{panel}")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    x, y, height = page.evaluate(
        f"""(() => {{
            const plot = document.getElementById('plot-{panel}');
            const {{ xaxis, yaxis }} = plot._fullLayout;
            const x = xaxis._offset + xaxis.d2p(plot.data.find((t) => !t.band).x[{check}]);
            return [x, yaxis._offset, yaxis._length];
        }})()"""
    )
    return box["x"] + x, box["y"] + y + height / 2


def test_a_click_on_a_cell_shows_its_run(page, cubes):
    cell(page, "cifar10", "0.003", "0.1").click()
    assert page.locator("#run-title").inner_text() == "cifar10: SAM, η = 0.003, ρ = 0.1, seed 0"
    assert_shown(page, run_of(cubes, "cifar10", "0.003", "0.1"))
    expect(cell(page, "cifar10", "0.003", "0.1")).to_have_attribute("aria-current", "true")
    assert page.locator("[aria-current]").count() == 1
    for key, value in {"task": "cifar10", "eta": "0.003", "rho": "0.1", "seed": "0"}.items():
        assert page.locator(f"#{key} option:checked").inner_text() == value
        assert chosen(page)[key] == value


def test_the_page_begins_with_a_completed_sam_run(page, cubes):
    assert chosen(page)["task"] == "mnist"
    assert float(chosen(page)["rho"]) > 0
    assert "Completed after 400 steps" in page.locator("#status").inner_text()


def test_all_can_be_done_by_keyboard(page, cubes):
    def tab_to(selector):
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.matches({selector!r})"):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
                assert outline != "0px"
                return
        raise AssertionError(f"the Tab key does not lead to {selector}")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    tab_to("#statistic")
    page.keyboard.press("ArrowDown")
    assert chosen(page)["map"] == "share_within_25"
    tab_to(".cell")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.map') !== null")
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")  # there is nothing above: stays
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert "cifar10, η = 0.003, ρ = 0.1:" in page.evaluate(
        "document.activeElement.getAttribute('aria-label')"
    )
    page.keyboard.press("Enter")
    run = run_of(cubes, "cifar10", "0.003", "0.1")
    assert_shown(page, run)
    assert "cifar10: SAM, η = 0.003, ρ = 0.1" in page.locator("[aria-live]").inner_text()
    tab_to("#eta")
    page.keyboard.press("ArrowDown")
    assert chosen(page)["eta"] == "0.01"
    tab_to("[name=x]")
    page.keyboard.press("ArrowRight")
    run = run_of(cubes, "cifar10", "0.01", "0.1")
    assert_shown(page, run, x="training_time")
    tab_to("[name=scale]")
    page.keyboard.press("ArrowRight")
    assert chosen(page)["scale"] == "linear"
    whole = ranges(page)[0]
    tab_to("#zoom-in")
    page.keyboard.press("Enter")
    assert ranges(page)[0][1] - ranges(page)[0][0] == pytest.approx((whole[1] - whole[0]) / 2)
    tab_to("#reset")
    page.keyboard.press("Enter")
    assert ranges(page)[0] == pytest.approx(whole)
    tab_to("#check")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.locator("#check").get_attribute("aria-valuetext") == "Check 2 of 41: step 10"
    assert number(readout(page)["λ₁"]) == pytest.approx(float(run["eigenvalue"][1, 0]), rel=1e-3)
    tab_to("summary")
    page.keyboard.press("Enter")
    expect(page.locator("#checks tbody tr")).to_have_count(41)


def test_lists_choose_the_run_and_keep_to_what_there_is(page, cubes):
    choose(page, "Step size η", "0.03")
    choose(page, "SAM radius ρ", "0")
    choose(page, "Seed", "0")
    assert page.locator("#run-title").inner_text() == "mnist: GD, η = 0.03, ρ = 0, seed 0"
    assert_shown(page, run_of(cubes, "mnist", "0.03", "0"))
    choose(page, "Task", OWN)
    assert page.locator("#run-title").inner_text() == f"{OWN}: SAM, η = 0.3, ρ = 0.1, seed 0"
    assert page.locator("#eta option").all_inner_texts() == ["0.3"]
    assert_shown(page, run_of(cubes, OWN, "0.3", "0.1"))
    assert page.locator("b").count() == 0


@pytest.mark.parametrize("panel", PANELS)
def test_hovering_shows_the_values_of_the_check_in_all_panels(page, cubes, panel):
    cell(page, "cifar10", "0.001", "0.1").click()
    run = run_of(cubes, "cifar10", "0.001", "0.1")
    at = 15
    page.mouse.move(*place_of(page, panel, at))
    expected = {
        "|λ₁|": abs(float(run["eigenvalue"][at, 0])),
        "|λ₂|": abs(float(run["eigenvalue"][at, 1])),
        "|λ₃|": abs(float(run["eigenvalue"][at, 2])),
        "SAM edge": float(run["sam_edge"][at]),
        "2/η": float(run["gd_edge"]),
        "λ_max / SAM edge": float(run["largest_eigenvalue"][at] / run["sam_edge"][at]),
        "−λ_min ρ/‖g‖": float(-run["smallest_eigenvalue"][at] * 0.1 / run["gradient_norm"][at]),
        "training loss": float(run["training_loss"][at]),
        "gradient": float(run["gradient_alignment"][at]),
        "SAM gradient": float(run["sam_gradient_alignment"][at]),
    }
    labels = page.locator(".hoverlayer .legendtext")
    expect(labels).to_have_count(len(expected))
    found = dict(label.split(" : ") for label in labels.all_text_contents())
    assert found.keys() == expected.keys()
    assert found.pop("|λ₃|").endswith("(not converged)")
    for name, text in found.items():
        assert number(text) == pytest.approx(expected[name], rel=1e-3), name
    for title in page.locator(".hoverlayer .legendtitletext").all_text_contents():
        assert title == "step 150"
    values = readout(page)
    assert page.locator("#check-label").inner_text() == "Check 16 of 41: step 150"
    assert "not converged" in values["λ₃"]
    assert number(values["λ₁"]) == pytest.approx(float(run["eigenvalue"][at, 0]), rel=1e-3)
    assert number(values["|λ₁| / edge"]) == pytest.approx(
        expected["|λ₁|"] / expected["SAM edge"], rel=1e-3
    )
    page.mouse.move(5, 5)
    expect(labels).to_have_count(0)


def test_zooming_one_panel_zooms_all_and_a_double_click_resets(page, cubes):
    whole = ranges(page)
    assert whole == [whole[0]] * len(PANELS)
    (left, y), (right, _) = (place_of(page, "loss", check) for check in (10, 20))
    page.mouse.move(left, y)
    page.mouse.down()
    page.mouse.move(right, y, steps=5)
    page.mouse.up()
    page.wait_for_function(
        f"document.getElementById('plot-alignment').layout.xaxis.range[0] > {whole[0][0] + 50}"
    )
    zoomed = ranges(page)
    assert zoomed == [zoomed[0]] * len(PANELS)
    assert zoomed[0] == pytest.approx([100, 200], abs=3)
    # The vertical axis fits what is seen.
    low, top = ranges(page, "yaxis")[PANELS.index("loss")]
    loss = drawn(page, "loss")["training loss"][1][10:21]
    assert 10**low < loss.min() < loss.max() < 10**top
    assert 10 ** (top - low) < 2 * loss.max() / loss.min()
    page.evaluate(
        "Plotly.relayout('plot-eigenvalues', {'xaxis.range[0]': 50, 'xaxis.range[1]': 300})"
    )
    page.wait_for_function("document.getElementById('plot-loss').layout.xaxis.range[1] === 300")
    assert ranges(page) == [[50, 300]] * len(PANELS)
    page.mouse.dblclick(*place_of(page, "alignment", 20))
    page.wait_for_function(
        f"document.getElementById('plot-loss').layout.xaxis.range[1] === {whole[0][1]}"
    )
    assert ranges(page) == whole


def test_a_link_opens_the_run_and_the_way_back_leads_to_the_one_before(open_page, path, cubes):
    fragment = "#task=cifar10&eta=0.01&rho=0&seed=0&x=time&scale=linear&map=final_loss"
    page = open_page(path, fragment)
    assert_shown(page, run_of(cubes, "cifar10", "0.01", "0"), x="training_time")
    assert page.locator("#run-title").inner_text() == "cifar10: GD, η = 0.01, ρ = 0, seed 0"
    assert page.locator("#statistic").input_value() == "final_loss"
    cell(page, "mnist", "0.3", "0").click()
    assert chosen(page)["task"] == "mnist"
    link = page.evaluate("location.hash")
    assert_shown(open_page(path, link), run_of(cubes, "mnist", "0.3", "0"), x="training_time")
    page.go_back()
    expect(page.locator("#run-title")).to_have_text("cifar10: GD, η = 0.01, ρ = 0, seed 0")


def test_a_link_to_what_is_not_there_says_so(open_page, path):
    page = open_page(path, "#task=cifar10&eta=7&scale=polar")
    said = page.locator("#status").inner_text()
    assert "The link asks for eta = 7, scale = polar: not here." in said
    assert page.locator("#run-title").inner_text().startswith("cifar10: SAM")


def test_the_map_shows_the_statistics_of_the_cube(page, cubes):
    assert page.locator("#statistic option").count() == len(explorer.MAPPED)
    for name in explorer.MAPPED:
        page.locator("#statistic").select_option(name)
        assert page.locator("#definition").inner_text() == STATISTICS[name].definition
        values = STATISTICS[name].compute(cubes["cifar10"])[..., 0]
        texts = page.locator(".map:nth-child(2) .cell > span").all_inner_texts()
        for text, value in zip(texts, values.flat, strict=True):
            if np.isinf(value):
                assert text == "never"
            else:
                assert number(text) == pytest.approx(value, rel=5e-3, abs=5e-3)


def test_cells_say_in_words_what_diverged_and_what_is_missing(page):
    assert cell(page, "mnist", "0.1", "0.1").inner_text().split("\n") == ["diverged", "all 2 seeds"]
    assert "1 of 2 diverged" in cell(page, "mnist", "0.3", "0.1").inner_text()
    assert "1 of 2 missing" in cell(page, "mnist", "0.03", "0").inner_text()
    name = cell(page, "mnist", "0.3", "0.1").get_attribute("aria-label")
    assert "1 of 2 diverged" in name


@pytest.mark.parametrize("size", [(1280, 900), (900, 900), PHONE])
def test_words_fit_into_their_cells(open_page, path, size):
    page = open_page(path, size=size)
    wide = (
        "all => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.innerText)"
    )
    assert page.locator(".cell").evaluate_all(wide) == []


def test_text_on_every_colour_can_be_read(page):
    for name in explorer.MAPPED:
        page.locator("#statistic").select_option(name)
        styles = "cells.map(getComputedStyle).map(style => [style.color, style.backgroundColor])"
        for ink, paper in page.locator(".cell").evaluate_all(f"cells => {styles}"):
            assert contrast(ink, paper) >= 4.5, (name, ink, paper)


def contrast(*colors):
    """Return the contrast of two CSS colours, as WCAG defines it."""
    luminances = []
    for color in colors:
        parts = np.array([float(part) for part in re.findall(r"[\d.]+", color)[:3]]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        luminances.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(luminances) / min(luminances)


def test_a_diverged_run_says_when_and_why_and_shows_what_was_measured(page, cubes):
    cell(page, "mnist", "0.3", "0.1").click()
    choose(page, "Seed", "0")
    assert "diverged at step 220: the loss is not finite" in page.locator("#ended").inner_text()
    assert_shown(page, run_of(cubes, "mnist", "0.3", "0.1", seed=0))


def test_the_cell_of_a_diverged_seed_shows_the_one_that_completed(page):
    cell(page, "mnist", "0.3", "0.1").click()
    assert chosen(page)["seed"] == "7"


def test_a_run_without_checks_says_so_and_the_next_one_is_drawn(open_page, path, cubes):
    page = open_page(path, "#task=mnist&eta=0.1&rho=0.1&seed=0")
    assert "Nothing was measured before" in page.locator("#ended").inner_text()
    expect(page.locator("#panels")).to_be_hidden()
    choose(page, "SAM radius ρ", "0")
    expect(page.locator("#panels")).to_be_visible()
    assert_shown(page, run_of(cubes, "mnist", "0.1", "0"))
    width = page.locator("#plot-loss").bounding_box()["width"]
    drawn = page.locator("#plot-loss .main-svg").first.bounding_box()["width"]
    assert drawn == pytest.approx(width, abs=1)
    page.goto(page.url.split("#")[0] + "#task=mnist&eta=0.03&rho=0&seed=7")
    assert "missing from the cube" in page.locator("#ended").inner_text()


def test_eigenvalues_that_did_not_converge_are_open_markers(page, cubes):
    cell(page, "cifar10", "0.001", "0.1").click()
    run = run_of(cubes, "cifar10", "0.001", "0.1")
    for rank, filling in enumerate((panels.BLUE, panels.GREEN, panels.SKY)):
        fills = page.evaluate(
            f"document.getElementById('plot-eigenvalues').data[{rank}].marker.color"
        )
        converged = run["eigenvalue_converged"].values[:, rank] == 1
        assert fills == [filling if solved else "white" for solved in converged]
    assert "residual above tolerance" in page.locator("#key-eigenvalues").inner_text()


def test_axes_of_eigenvalues_are_logarithmic_linear_or_scaled_on_the_edge(page, cubes):
    cell(page, "cifar10", "0.001", "0.1").click()
    run = run_of(cubes, "cifar10", "0.001", "0.1")
    edges = np.array([2 / 0.001, float(run["sam_edge"].max())])
    assert 10 ** ranges(page, "yaxis")[0][1] > edges.max()
    page.get_by_text("linear", exact=True).click()
    assert ranges(page, "yaxis")[0] == pytest.approx([0, 1.2 * edges[0]], rel=1e-3)
    page.get_by_text("SAM edge", exact=True).first.click()
    low, top = ranges(page, "yaxis")[0]
    assert low == 0 and edges[1] * 0.7 < top < 2 * edges[1]
    highest = float(np.abs(run["eigenvalue"]).max())
    assert f"up to {highest:.4g}" in page.locator("#plot-eigenvalues .annotation").text_content()


def test_the_table_has_every_check(page, cubes):
    cell(page, "cifar10", "0.01", "0").click()
    page.locator("#all-checks summary").click()
    run = run_of(cubes, "cifar10", "0.01", "0")
    heads = page.locator("#checks th").all_inner_texts()
    cells = [row.split("\t") for row in page.locator("#checks tbody").inner_text().split("\n")]
    assert len(cells) == run.sizes["check"]
    for name in explorer.CHECK_COLUMNS:
        column = heads.index(name.replace("_", " "))
        found = [number(row[column]) for row in cells]
        np.testing.assert_allclose(found, run[name], rtol=1e-3, err_msg=name)


def test_the_page_says_what_data_and_settings_a_task_has(page, cubes):
    assert "stand-in for MNIST" in page.locator("#stand-in").inner_text()
    about = page.locator(".about").inner_text()
    for words in ("mlp (depth 4, width 20)", "400 steps", "full batch", "training 100, test 50"):
        assert words in about
    assert STATISTICS["edge_ratio"].definition in about
    assert "test error" in page.locator("#summary").inner_text()


def test_a_phone_scrolls_down_only_and_a_tap_leads_to_the_run(open_page, path, cubes):
    page = open_page(path, size=PHONE)

    def fits():
        return page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")

    assert fits()
    for task in cubes:
        choose(page, "Task", task)
        page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
        for name in explorer.MAPPED:
            page.locator("#statistic").select_option(name)
            assert fits(), (task, name)
    choose(page, "Task", "cifar10")
    expect(page.locator(".map:visible")).to_have_count(1)
    cell(page, "cifar10", "0.003", "0").tap()
    box = page.locator("#run-title").bounding_box()
    assert 0 <= box["y"] < PHONE[1] / 2
    assert_shown(page, run_of(cubes, "cifar10", "0.003", "0"))
    page.locator("#plot-loss").scroll_into_view_if_needed()
    page.locator("#plot-loss .nsewdrag").tap()  # in the middle
    expect(page.locator("#check-label")).to_have_text("Check 21 of 41: step 200")
    expect(page.locator(".hoverlayer .legendtext")).to_have_count(10)
    for panel in PANELS:
        inner = page.locator(f"#plot-{panel} .main-svg").first.bounding_box()
        assert inner["x"] + inner["width"] <= PHONE[0]


def test_checks_without_ends_are_passed_over(cubes, tmp_path, open_page):
    """Those that were not certified measured none; files of before have no bounds on any."""
    cube = cubes["mnist"].copy(deep=True)
    skipped = np.arange(cube.sizes["check"]) % 5 != 0
    for name in ("largest_eigenvalue", "smallest_eigenvalue"):
        cube[name].values[..., skipped] = cube[f"{name}_bound"].values[..., skipped] = np.nan
        cube[f"{name}_bound"].values[:, 0] = np.nan
    path = tmp_path / "uncertified.html"
    path.write_text(explorer.page([cube]), encoding="utf-8")
    page = open_page(path)
    for rho in ("0.1", "0"):
        cell(page, "mnist", "0.03", rho).click()
        run = run_of({"mnist": cube}, "mnist", "0.03", rho)
        assert_bounded(page, run, "step")
        _, y = drawn(page, "bounds")["λ_max / SAM edge"]
        np.testing.assert_array_equal(np.isfinite(y), ~skipped)
        key = page.locator("#key-bounds li").all_inner_texts()
        assert key == ["λ_max / SAM edge", "−λ_min ρ/‖g‖", "bound"]

"""The command ``samedge`` and its subcommands."""

import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import samedge
from samedge.base.process import ProcessMark
from samedge.command import edges, main, screen
from samedge.command.watch import Page
from samedge.figures.paper import AXES
from samedge.records import cubes as collecting
from samedge.records import files
from samedge.records.progress import lines, plan
from samedge.training.observers.progress import ProgressFile
from samedge.watching.run import WatchedRun
from samedge.watching.runs import Watch
from synthetic import ENVIRONMENT, check, grid_settings, run, write_runs


@pytest.fixture(scope="module")
def entry(repository):
    """Return the function that the installed command calls."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, name = project["project"]["scripts"]["samedge"].partition(":")
    return getattr(import_module(module), name)


@pytest.fixture
def called(entry, capsys):
    """Return a function that calls the command; it returns the exit code and what was said."""

    def call(*words):
        code = 0
        try:
            entry([str(word) for word in words])
        except SystemExit as ending:
            code = ending.code
        said = capsys.readouterr()
        if isinstance(code, str):  # Python prints it and exits with 1
            return 1, code
        return code, said.err if code else said.out

    return call


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with the results of two experiments, as far as the examples name them."""
    folder = tmp_path_factory.mktemp("made")
    for name, seeds in (("default", (0, 1)), ("other", (2, 3))):
        settings = grid_settings(seeds=seeds)
        runs = folder / "results" / name / "runs" / "mnist"
        write_runs(runs, settings, **{"eta0.3_rho0_seed0": 20})
        cube = collecting.collect(settings, runs)
        files.write(cube, folder / "results" / name / "cubes" / "mnist.nc")
        files.write(cube, folder / "unpacked" / name / "cubes" / "mnist.nc")
    for name, place in (("first", "default"), ("second", "other")):
        shutil.copytree(folder / "results" / place / "cubes", folder / name)
    files.write(run(grid_settings()[0]), folder / "mine.nc")
    files.write(run(grid_settings("cifar10")[0]), folder / "other.nc")
    return folder


@pytest.fixture
def inside(made, monkeypatch):
    monkeypatch.chdir(made)
    return made


def test_help_lists_the_commands_and_is_quick(repository):
    code = (
        "import sys; from samedge.command.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('JAX' if {'jax', 'numpy', 'rich', 'xarray'} & {*sys.modules} else 'quick')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repository / "workflow/scripts",
        capture_output=True,
        text=True,
    )
    assert all(f"  {name:<10}" in done.stdout for name in main.COMMANDS)
    assert done.stdout.endswith("quick\n"), done.stderr


@pytest.mark.parametrize("how", [("-m", "samedge"), ("{scripts}/samedge",)])
def test_the_package_is_the_command_too(repository, tmp_path, how):
    """Installed, and by its folder in a checkout, from wherever."""
    scripts = repository / "workflow/scripts"
    words = [word.format(scripts=scripts) for word in how]
    environment = {"PYTHONPATH": str(scripts)} if how[0] == "-m" else {}
    done = subprocess.run(
        [sys.executable, *words, "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == (f"{samedge.__version__}\n", "")


@pytest.mark.parametrize("name", main.COMMANDS)
def test_each_command_has_help_with_examples(called, name):
    code, said = called(name, "--help")
    assert code == 0
    assert said.startswith(f"usage: samedge {name} ")
    for example in import_module(f"samedge.command.{name}").EXAMPLES.splitlines():
        assert f"\n  {example}\n" in said


EXAMPLES = [
    line
    for name in main.COMMANDS
    if name != "redraw"  # which needs an archive: tests/workflow/test_redrawing.py
    for line in import_module(f"samedge.command.{name}").EXAMPLES.splitlines()
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_run(called, inside, example):
    program, *words = shlex.split(example)
    assert program == "samedge"
    code, said = called(*words)
    assert code == 0, said
    assert said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wacth"], "invalid choice: 'wacth'"),
        (["watch"], "the following arguments are required: folder"),
        (["watch", "results/default", "--evry", "3"], "did you mean '--every'?"),
        (["edges"], "the following arguments are required: --eta"),
    ],
)
def test_a_mistake_on_the_command_line_ends_it(called, inside, words, message):
    code, said = called(*words)
    assert code == 2
    assert message in said
    assert "did you mean 'watch'?" in said or words != ["wacth"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["watch", "nowhere"], "nowhere: no such folder"),
        (["watch", "default"], "default: no such folder; did you mean results/default?"),
        (["watch", "results/defalt"], "results/defalt: no such folder; did you mean 'default'?"),
        (
            ["watch", "results"],
            "results: holds 2 experiments; name one: results/default, results/o",
        ),
        (["watch", "results/default/runs/mnist/../.."], ""),
        (["watch", "results/default/cubes/mnist.nc"], "mnist.nc: a file; give the folder of an"),
        (["watch", "empty"], "empty: no experiment: it has neither runs/ nor progress/; give res"),
        (["watch", "results/default", "--every", "0"], "--every: 0 must be a number of seconds"),
        (["watch", "results/default", "--every", "nan"], "--every: nan must be a number of secon"),
        (["watch", "results/default", "--page", "first"], "--page: first is a folder; name the"),
        (
            ["watch", "results/default", "--page", "results/default/explorer.html"],
            "--page: results/default/explorer.html is the page that the workflow writes; name ano",
        ),
        (["explorer", "nowhere.nc"], "nowhere.nc: no such file or folder"),
        (["explorer", "first", "second"], "the task 'mnist' is there twice; give one cube"),
        (["explorer", "empty"], "empty: no experiment: it has neither"),
        (["explorer", "mine.nc", "--output", "first"], "--output: first is a folder; name the"),
        (["explorer", "shown"], "shown/explorer.html: is there already; name another page, or"),
        (["compare", "empty", "first"], "empty: no cubes in it; give the results of an exper"),
        (["redraw", "nowhere.zip", "--output", "redrawn"], "nowhere.zip"),
        (["edges", "--eta", "0"], "--eta: 0 must be a number above 0"),
        (["edges", "--eta", "1", "--rho", "-1"], "--rho: -1 must be a number at least 0"),
        (["edges", "--eta", "1", "--gradient-norm", "inf"], "--gradient-norm: inf must be a numb"),
        (["edges", "--eta", "1", "--rule", "sma"], "unknown update rule 'sma'; did you mean 'sam'"),
        (["edges", "--eta", "1", "--set", "b1"], "--set: 'b1' must be KEY=VALUE"),
        (
            ["edges", "--eta", "1", "--set", "momentun=1"],
            "--set: none of these rules has a setting 'momentun'; did you mean 'momentum'?",
        ),
        (
            ["edges", "--eta", "1", "--rule", "momentum", "--set", "momentum=2"],
            "--set: momentum: momentum: found 2, must be at least 0 and below 1",
        ),
    ],
)
def test_a_mistake_is_one_message(called, inside, words, message):
    (inside / "empty").mkdir(exist_ok=True)
    shutil.copytree(inside / "first", inside / "shown", dirs_exist_ok=True)
    (inside / "shown/explorer.html").touch()
    code, said = called(*words)
    if not message:
        assert code == 0
        return
    assert code == 1
    assert message in said
    assert "\n" not in said and "this should not happen" not in said


@pytest.mark.parametrize(
    ("name", "words", "package", "extra"),
    [
        ("watch", ["results/default"], "rich", "samedge[watch]"),
        ("explorer", ["mine.nc", "--output", "page.html"], "plotly", "samedge[figures]"),
        ("compare", ["first", "second"], "xarray", "samedge[cubes]"),
        ("redraw", ["a.zip", "--output", "b"], "matplotlib", "samedge[share]"),
        ("edges", ["--eta", "1"], "jax", "samedge"),
    ],
)
def test_what_is_not_installed_is_named_with_what_installs_it(made, name, words, package, extra):
    code = (
        "import sys\n"
        "class Missing:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == '{package}':\n"
        "            raise ModuleNotFoundError(f'No module named {name}', name=name)\n"
        "sys.meta_path.insert(0, Missing)\n"
        "from samedge.command.main import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name, *words],
        cwd=made,
        env={"PYTHONPATH": str(Path(samedge.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"error: samedge {name} needs the package {package}, which is not installed here: "
        f"pip install '{extra}'; in a checkout make environment"
    )


def rows_of(said):
    """Return the rows of a table of edges, by column."""
    head, _, *rows = said.splitlines()
    names = re.split(r"  +", head)
    return [dict(zip(names, re.split(r"  +", row), strict=True)) for row in rows]


def test_edges_are_those_of_the_package(called):
    etas, rhos, norms = (0.1, 0.37), (0.0, 0.1), (0.5, 2.0)
    numbers = ["--eta", *etas, "--rho", *rhos, "--gradient-norm", *norms]
    rows = rows_of(called("edges", *numbers)[1])
    assert {row["rule"].partition(" ")[0] for row in rows} == {*samedge.RULES}
    assert len(rows) == 8 * len(samedge.RULES)
    for row in rows:
        eta, rho, norm, edge = (float(row[name]) for name in ("eta", "rho", "|g|", "edge"))
        slope = rho / norm
        wanted = {
            "sam": samedge.sam_edge(norm, eta, rho),
            "unnormalized_sam": samedge.unnormalized_sam_edge(eta, rho),
            "momentum": samedge.displaced_edge(3.8 / eta, slope),
            "asam": samedge.gd_edge(eta),
            "rmsprop": samedge.gd_edge(eta),
            "adam": 38 / eta,
        }
        assert edge == pytest.approx(wanted[row["rule"].partition(" ")[0]], rel=1e-5)
        effective = row["rule"] in ("asam", "rmsprop", "adam")
        assert row["reached by"] == ("effective curvature" if effective else "λ1")


@pytest.mark.parametrize(
    ("rule", "settings", "words"),
    [
        ("sam", [], "sam_edge"),
        ("unnormalized_sam", [], "unnormalized_sam_edge"),
        ("momentum", ["momentum=0.5"], "displaced_edge(3/eta, rho/|g|)"),
        (
            "momentum",
            ["momentum=0.5", "displacement=unnormalized"],
            "displaced_edge(3/eta, rho)",
        ),
        ("asam", [], "gd_edge"),
        ("adam", ["b1=0.8"], "18/eta"),
    ],
)
def test_the_formula_of_an_edge_is_named(called, rule, settings, words):
    given = ["--set", *settings] if settings else []
    _, said = called("edges", "--eta", 0.1, "--rule", rule, *given)
    [row] = rows_of(said)
    assert row["formula"] == words


def test_a_formula_that_is_none_of_the_package_is_a_rule_s_own():
    assert edges.formula(lambda norm, eta, rho: 7 / eta + rho) == "its own"


def test_redraw_offers_the_axes_that_figures_have(called):
    assert f"--axis {{{','.join(AXES)}}}" in called("redraw", "--help")[1].replace("\n", " ")


def test_an_explorer_of_run_files_gathers_them_by_task(called, inside):
    _, said = called("explorer", "mine.nc", "other.nc", "--output", "two.html")
    assert said == "two.html: 2 runs of cifar10, mnist\n"
    assert "Explorer: cifar10, mnist" in (inside / "two.html").read_text(encoding="utf-8")


def test_an_explorer_of_an_experiment_without_cubes_has_its_run_files(called, inside, tmp_path):
    shutil.copytree("results/default/runs", tmp_path / "runs")
    _, said = called("explorer", tmp_path)
    assert said == f"{tmp_path / 'explorer.html'}: 12 runs of mnist\n"


def test_an_explorer_links_the_figures_beside_it(called, inside, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/figure_04.pdf").touch()
    called("explorer", "first/mnist.nc", "--output", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<a href="figures/figure_04.pdf">' in text


def measured(results, settings, steps, status=None):
    """Write the progress file of a run with checks at these steps."""
    file = ProgressFile(results / f"runs/{settings.task}/{settings.name}.nc", settings, pytest.fail)
    file.ready(ENVIRONMENT)
    generator = np.random.default_rng(0)
    for step in steps:
        file.check(check(settings, step, generator, 400), 90.0)
    if status is not None:
        file.end(status, steps[-1], "out of memory: lower the width of the model")
    return file


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Return the results of an experiment of 156 runs: most finished, three in progress."""
    folder = tmp_path_factory.mktemp("many")
    settings = grid_settings(eta=[str(n) for n in range(1, 27)], rho=["0", "0.1"], seeds=(0, 1, 2))
    assert len(settings) == 156
    plan.write_plan(folder, {"mnist": settings})
    for one in settings[:3]:
        measured(folder, one, range(0, 200, 10))
    measured(folder, settings[3], range(0, 30, 10), "failed")
    for number, one in enumerate(settings[4:100]):
        if number < 2:
            path = folder / f"runs/mnist/{one.name}.nc"
            files.write(run(one, diverged_at=None if number else 20), path)
        else:
            measured(folder, one, (0, 400), "completed")
    return folder


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40), (60, 16)])
def test_the_screen_fits_the_terminal_and_shows_what_is_of_interest(many, columns, rows):
    runs = Watch(many).look()
    signs = screen.Signs.of("utf-8")
    shown = [text.plain for text in screen.screen("results", runs, columns, rows, signs, ["page"])]
    assert len(shown) <= rows
    assert max(map(len, shown)) <= columns
    text = "\n".join(shown)
    words = " ".join(shown[1 : shown.index("")])
    assert words == "156 runs: 3 training · 1 failed · 1 diverged · 95 finished · 56 not started"
    assert text.count("━") and text.count("48%") == 3
    assert "out of memory: lower the width of the model" in text
    assert re.search(r"^and (\d+ diverged · )?\d+ finished · 56 not started$", text, re.MULTILINE)


def test_the_edge_is_a_level_of_the_curve_and_green():
    curve = screen.sparkline(np.array([0.0, 0.5, 1.0, 1.3, 50.0, np.nan]), 10, screen.LEVELS)
    assert curve.plain == "▁▃▆▇█     "
    ratios = [0.0, 0.5, 1.0, 2.0]
    styles = [
        str(span.style) for span in screen.sparkline(np.array(ratios), 4, screen.LEVELS).spans
    ]
    assert styles == ["cyan", "cyan", "green", "red"]
    long = screen.sparkline(np.linspace(0, 1, 1000), 6, screen.LEVELS)
    assert long.plain == "▁▂▃▄▅▆"


def test_a_terminal_that_knows_ascii_only_gets_no_more(many):
    lines_shown = screen.screen("r", Watch(many).look(), 80, 24, screen.Signs.of("ascii"))
    assert all(text.plain.isascii() for text in lines_shown)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_goes_on_in_a_terminal_until_somebody_leaves(tmp_path, repository, number):
    file = measured(tmp_path, grid_settings()[0], (0, 10))
    ours, theirs = pty.openpty()
    words = ("watch", tmp_path, "--every", "0.1", "--page")
    # Whoever runs tests in the background may have them ignore it, and so what they start.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        watching = subprocess.Popen(
            [sys.executable, repository / "workflow/scripts/samedge", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        )
    finally:
        signal.signal(number, before)
    os.close(theirs)
    said = ""

    def read_until(true):
        nonlocal said
        until = time.monotonic() + 120
        while not true():
            assert time.monotonic() < until, said
            with suppress(OSError):  # nobody writes to it any more
                if select.select([ours], [], [], 0.1)[0]:
                    said += os.read(ours, 2**16).decode("utf-8", "replace")

    def written():
        return page.read_text(encoding="utf-8") if page.exists() else ""

    page = tmp_path / "watch.html"
    try:
        read_until(lambda: " 10/400" in said)
        file.check(check(grid_settings()[0], 20, np.random.default_rng(0), 400), 90.0)
        read_until(lambda: " 20/400" in said and "step 20 of 400" in written())
        assert '"renew":0.5' in written()
        watching.send_signal(number)
        read_until(lambda: "\x1b[?1049l" in said)  # back from the screen of its own
        read_until(lambda: watching.poll() is not None)
    finally:
        watching.kill()
        watching.wait()
        os.close(ours)
    assert watching.returncode == 0
    assert "Traceback" not in said
    assert '"renew":null' in written()


def test_a_page_of_an_experiment_that_has_just_begun_has_all_its_runs(tmp_path):
    plan.write_plan(tmp_path, {"mnist": grid_settings()})
    page = Page(tmp_path / "watch.html", every=1)
    page.write(Watch(tmp_path).look())
    assert page.path.read_text(encoding="utf-8").count("This run has not started.") == 6


def test_watch_says_how_runs_stand_and_reads_only(called, many):
    before = {path: path.stat().st_mtime_ns for path in many.rglob("*")}
    code, said = called("watch", many)
    assert code == 0
    assert "156 runs: 3 training · 1 failed · 1 diverged · 95 finished · 56 not started" in said
    assert {path: path.stat().st_mtime_ns for path in many.rglob("*")} == before


def test_watch_shows_runs_by_hand(called, tmp_path):
    settings = grid_settings()[0]
    files.write(run(settings), tmp_path / "mine.nc")
    file = ProgressFile(tmp_path / "yours.nc", replace(settings, seed=7), pytest.fail)
    file.go_on([])
    _, said = called("watch", tmp_path)
    assert "2 runs: 1 starting · 1 finished" in said


def test_a_page_of_unfinished_runs_says_so_and_does_not_renew_itself_once(called, many):
    code, said = called("watch", many, "--once", "--page")
    assert code == 0
    assert f"page: {many / 'watch.html'}" in said.replace("\n", "")
    text = (many / "watch.html").read_text(encoding="utf-8")
    assert '"renew":null' in text
    assert "This run is training: step 190 of 400, about 90 s left." in text
    assert "This run has failed at step 20 of 400: out of memory: lower the width" in text
    _, said = called("watch", many, "--page", many / "mine.html")
    assert (many / "mine.html").exists()


def test_a_page_is_written_when_runs_have_changed_and_renews_itself_while_some_are_to_come(
    tmp_path,
):
    settings = grid_settings()[0]
    file = measured(tmp_path, settings, (0, 10))
    watch, page = Watch(tmp_path), Page(tmp_path / "watch.html", every=0.1)

    def written():
        page._due = 0.0
        before = page.path.stat().st_mtime_ns if page.path.exists() else 0
        page.update(watch.look())
        return page.path.stat().st_mtime_ns > before

    assert written() and not written()
    assert '"renew":0.1' in page.path.read_text(encoding="utf-8")
    file.check(check(settings, 20, np.random.default_rng(0), 400), 90.0)
    assert written() and not written()
    file.end("diverged", 25, "the loss is not finite")
    assert written()
    assert '"renew":null' in page.path.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_said_and_ends_nothing(tmp_path):
    measured(tmp_path, grid_settings()[0], (0, 10))
    (tmp_path / "file").touch()
    page = Page(tmp_path / "file/watch.html", every=1)
    page.write(Watch(tmp_path).look())
    assert page.said.startswith(f"page: {tmp_path / 'file'}: ")
    nothing = Page(tmp_path / "watch.html", every=1)
    nothing.write([WatchedRun("mnist", "0.1", "0", "0", "damaged", "odd")])
    assert nothing.said == f"no page yet: {tmp_path / 'watch.html'}: no run has begun"


def test_a_run_that_is_not_heard_of_has_no_time_left(tmp_path):
    mark = ProcessMark("node7", "elsewhere", 1, 1)
    path = tmp_path / "progress/mnist/eta0.03_rho0_seed0.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(lines.begin(grid_settings()[0], mark))
    os.utime(path, (0, 0))
    shown = screen.screen("r", Watch(tmp_path).look(), 80, 24, screen.Signs.of("utf-8"))
    text = "\n".join(line.plain for line in shown)
    assert "silent" in text and "nothing heard from node7 for " in text

"""Whatever goes wrong in a script is one message that says what to do, and no traceback."""

import errno
import io
import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from samedge.base import errors, files
from samedge.base.errors import Interrupted, Parser, UserError, run_script
from samedge.base.log import say
from samedge.records import files as records
from synthetic import run, run_settings

SMALL = 30_000  # bytes: less than a run file has


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (UserError("eta: found x, must be y"), "error: eta: found x, must be y", 1),
        (
            OSError(errno.ENOSPC, "No space left on device", "run.nc"),
            "error: run.nc: No space left on device; free some space and run again: what was "
            "finished is kept",
            1,
        ),
        (
            PermissionError(errno.EROFS, "Read-only file system", "results"),
            "error: results: Read-only file system; run where the results folder can be written to",
            1,
        ),
        (MemoryError(), "error: out of memory: close other programs, or make the experiment", 1),
        (ZeroDivisionError("division by zero"), "error: ZeroDivisionError: division by zero (", 1),
        (KeyboardInterrupt(), "", 130),
        (Interrupted(signal.SIGTERM), "", 143),
    ],
)
def test_an_error_ends_a_script_with_a_message(monkeypatch, error, message, code):
    monkeypatch.setattr(sys, "argv", ["script.py"])

    def main():
        raise error

    with pytest.raises(SystemExit) as caught:
        run_script(main)
    if isinstance(caught.value.code, str):
        assert caught.value.code.startswith(message) and "\n" not in caught.value.code
        assert code == 1
    else:
        assert caught.value.code == code


def test_what_should_not_happen_says_where_and_how_to_learn_more(monkeypatch):
    def main():
        json.loads("{")

    monkeypatch.setattr(sys, "argv", ["script.py"])
    with pytest.raises(
        SystemExit, match=r"JSONDecodeError: .* \(decoder\.py, line \d+\); .*--verb"
    ):
        run_script(main)
    monkeypatch.setattr(sys, "argv", ["script.py", "--verbose"])
    with pytest.raises(json.JSONDecodeError):
        run_script(main)


SCRIPT = """
import sys
from samedge.base.errors import UserError, run_script
from samedge.base.log import say

def main():
    say("λ1 ≤ 2/η")
    print("printed: ✓", "\\udcff")
    if sys.argv[1:]:
        raise UserError("η: found λ")

run_script(main)
"""


def run_text(tmp_path, repository, *arguments, stdout=subprocess.PIPE, **environment):
    """Run a script that prints what not every terminal can show."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "PYTHON", "LANG"))}
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        env=clean | {"PYTHONPATH": str(repository / "workflow/scripts")} | environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


ASCII = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.mark.parametrize("environment", ASCII, ids=["ascii", "strict", "locale"])
def test_what_a_terminal_cannot_show_is_spelled_out(tmp_path, repository, environment):
    done = run_text(tmp_path, repository, **environment)
    spelled = "\\u03bb1 \\u2264 2/\\u03b7\nprinted: \\u2713 \\udcff\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, spelled, "")
    done = run_text(tmp_path, repository, "fail", **environment)
    assert (done.returncode, done.stderr) == (1, "error: \\u03b7: found \\u03bb\n")


def test_a_line_in_no_script_is_spelled_out_too(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    say("λ1 ≤ 2/η")
    say("2/x é")
    assert stream.buffer.getvalue().decode("latin-1") == "\\u03bb1 \\u2264 2/\\u03b7\n2/x é\n"


def test_that_nobody_reads_the_output_changes_no_exit_code(tmp_path, repository):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = run_text(tmp_path, repository, stdout=full)
        assert (done.returncode, done.stderr) == (0, "")
        assert run_text(tmp_path, repository, "fail", stdout=full).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--outptu", "x"], ["unrecognized arguments: --outptu x; did you mean '--output'?"]),
        (["--outptu=x"], ["unrecognized arguments: --outptu=x; did you mean '--output'?"]),
        (["--axis", "steps"], ["--axis: invalid choice: 'steps'", "did you mean 'step'?"]),
        (["--out", "x"], ["unrecognized arguments: --out x; did you mean '--output'?"]),
    ],
)
def test_a_command_line_is_answered_with_the_nearest_option_or_choice(capsys, arguments, parts):
    parser = Parser("A script.")
    parser.add_argument("--output")
    parser.add_argument("--axis", choices=("training_time", "step"))
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(arguments)
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert all(part in message for part in parts)


def test_every_reason_of_the_system_has_a_remedy_in_words():
    for number, remedy in errors.REMEDIES.items():
        text = errors.user_message(OSError(number, os.strerror(number), "file"))
        assert text == f"file: {os.strerror(number)}; {remedy}"


@pytest.fixture
def limited():
    """Return how to limit the size of the files that this process writes, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path, limited):
    path = tmp_path / "run.nc"
    short = run(run_settings(), checks=3)
    records.write(short, path)
    longer = run(run_settings(), checks=2000)
    limited(SMALL + path.stat().st_size)
    with pytest.raises(OSError, match="File too large") as caught:
        records.write(longer, path)
    limited(resource.RLIM_INFINITY)
    assert caught.value.filename == str(path)
    assert records.read_run(path).identical(short)
    assert [*tmp_path.iterdir()] == [path]
    records.write(longer, path)
    assert records.read_run(path).sizes["check"] == 2000


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    code = (
        "import os, sys; from samedge.base.files import whole_file\n"
        "with whole_file(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "file.txt"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, env=environment)
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".file.txt.")
    other = tmp_path / f".file.txt.elsewhere-{os.getpid()}.tmp"
    other.write_text("of another machine")
    with files.whole_file(path) as temporary:
        temporary.write_text("whole")
    assert {*tmp_path.iterdir()} == {path, other}
    assert path.read_text() == "whole"

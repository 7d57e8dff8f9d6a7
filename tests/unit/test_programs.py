"""Compiled programs: one job's are the next one's, whatever happens to the folder between them."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from samedge.machine import compilation_cache

# A job in a process of its own: what it computes, what it compiled, and what it had to report.
JOB = """
import sys, jax, jax.numpy as jnp
from pathlib import Path
from samedge.machine.compilation_cache import count_programs, shared_programs
count = count_programs()
with shared_programs(Path(sys.argv[1]), lambda line: print("report", line)):
    value = jax.jit(lambda x: jnp.sum(jnp.sin(x) ** 2))(jnp.arange(7.0, dtype=jnp.float32))
print("value", repr(float(value)))
print("count", count.compiled, count.found, count.needed)
"""


def start(repository: Path, folder: Path) -> subprocess.Popen:
    environment = os.environ | {
        "PYTHONPATH": str(repository / "workflow" / "scripts"),
        "JAX_PLATFORMS": "cpu",
        # Notices of XLA and JAX come on the error output, which is held empty.
        "PYTHONWARNINGS": "always",
    }
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(job: subprocess.Popen) -> tuple[float, tuple[int, int], list[str]]:
    """Return what the job computed, the programs it compiled and found, and what it reported."""
    output, errors = job.communicate(timeout=120)
    assert (job.returncode, errors) == (0, "")
    lines = [line.partition(" ")[::2] for line in output.splitlines()]
    [value] = [float(text) for kind, text in lines if kind == "value"]
    [counts] = [text.split() for kind, text in lines if kind == "count"]
    compiled, found, needed = map(int, counts)
    assert compiled + found == needed
    return value, (compiled, found), [text for kind, text in lines if kind == "report"]


@pytest.fixture
def run(repository, tmp_path):
    """Return a function that runs one job on the shared folder of this test."""
    return lambda: finish(start(repository, tmp_path / "programs"))


@pytest.fixture
def entries(tmp_path):
    """Return a function that lists the entries of the shared folder."""
    return lambda: sorted((tmp_path / "programs" / compilation_cache.machine_key()).iterdir())


def test_the_second_job_compiles_nothing(run, entries):
    value, (compiled, found), reported = run()
    assert compiled == len(entries()) > 0
    assert (found, reported) == (0, [])
    before = entries()
    assert run() == (value, (0, compiled), [])
    assert entries() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    ],
    ids=["cut short", "empty", "one bit"],
)
def test_a_damaged_entry_is_compiled_again(run, entries, damage):
    value, (compiled, _), _ = run()
    largest = max(entries(), key=lambda path: path.stat().st_size)
    largest.write_bytes(damage(largest.read_bytes()))
    again, counts, reported = run()
    assert (again, counts) == (value, (1, compiled - 1))
    assert reported == [f"the compiled program {largest} was damaged; deleted"]
    assert run() == (value, (0, compiled), [])


def test_concurrent_jobs_share_what_they_compile(repository, tmp_path, run, entries):
    jobs = [start(repository, tmp_path / "programs") for _ in range(4)]
    values = {finish(job)[0] for job in jobs}
    assert len(values) == 1
    names = {path.name.rpartition(".")[0] for path in entries()}
    value, counts, reported = run()
    assert ({value}, counts, reported) == (values, (0, len(names)), [])


def test_an_entry_is_whole_or_not_there(tmp_path, monkeypatch):
    """A job that dies while it hands over an entry leaves nothing that another one takes."""
    shared, own = tmp_path / "shared", tmp_path / "own"
    own.mkdir()
    (own / "entry").write_bytes(b"a program")

    def die(source, target):
        assert Path(source).read_bytes() == b"a program"
        assert not Path(target).exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        compilation_cache._Shared(shared, own, pytest.fail).publish()
    assert list(shared.iterdir()) == []
    (shared / ".entry.0123456789abcdef.1").write_bytes(b"a prog")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    compilation_cache._Shared(shared, fresh, pytest.fail).load()
    assert list(fresh.iterdir()) == []


def test_an_entry_that_jax_could_not_write_whole_is_not_handed_over(tmp_path):
    shared, own = tmp_path / "shared", tmp_path / "own"
    own.mkdir()
    whole = zlib.compress(bytes(range(256)) * 100)
    (own / "whole").write_bytes(whole)
    (own / "part").write_bytes(whole[:-5])
    compilation_cache._Shared(shared, own, pytest.fail).publish()
    assert [path.name.partition(".")[0] for path in shared.iterdir()] == ["whole"]


def test_a_folder_that_cannot_be_used_is_reported_and_no_more(tmp_path):
    (tmp_path / "file").write_text("no folder")
    reported: list[str] = []
    with compilation_cache.shared_programs(tmp_path / "file", reported.append):
        value = jax.jit(lambda x: x * 3 + 0.125)(jnp.float32(2))
    assert float(value) == 6.125
    folder = tmp_path / "file" / compilation_cache.machine_key()
    assert reported == [
        f"compiled programs in {folder} cannot be read: Not a directory",
        f"compiled programs cannot be kept in {folder}: Not a directory",
    ]


def test_without_a_folder_nothing_is_kept(tmp_path):
    with compilation_cache.shared_programs(None, pytest.fail) as share:
        share()
        assert jax.config.jax_compilation_cache_dir is None


def test_what_is_compiled_so_far_can_be_handed_over(tmp_path):
    """A job that starts an hour later need not wait for the first one to end."""
    with compilation_cache.shared_programs(tmp_path, pytest.fail) as share:
        shared = tmp_path / compilation_cache.machine_key()
        jax.block_until_ready(jax.jit(lambda x: x * 5 + 0.25)(jnp.float32(2)))
        assert not shared.exists()
        share()
        assert list(shared.iterdir())
    assert jax.config.jax_compilation_cache_dir is None


def test_processors_with_other_instructions_share_nothing(tmp_path, monkeypatch):
    names = set()
    for flags in ("fpu avx2", "fpu avx2 avx512f"):
        facts = tmp_path / "cpuinfo"
        facts.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
        monkeypatch.setattr(compilation_cache, "PROCESSOR_FACTS", facts)
        names.add(compilation_cache.machine_key())
    monkeypatch.setattr(compilation_cache, "PROCESSOR_FACTS", tmp_path / "none")
    names.add(compilation_cache.machine_key())
    assert len(names) == 3


def test_time_is_counted_once_where_a_span_encloses_earlier_ones(monkeypatch):
    """Tracing a program reports the time, and so does tracing what it calls."""
    count = compilation_cache.ProgramCount()
    for now, seconds in [(10.0, 1.0), (13.0, 1.0), (14.0, 3.0), (20.0, 2.0)]:
        monkeypatch.setattr(compilation_cache.time, "perf_counter", lambda now=now: now)
        count.spent(seconds)
    assert count.seconds == 1.0 + 3.0 + 2.0

"""Checkpoints: what comes back is what was written, of this run and undamaged, or nothing."""

import gc
import os
import random
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samedge.base.errors import Interrupted
from samedge.curvature import density
from samedge.curvature.krylov import basis
from samedge.machine.signals import raise_if_signalled
from samedge.tasks.problems import Problem
from samedge.training import checkpoints, measuring
from samedge.training import loop as training
from samedge.training.checkpoints import Checkpoints, Interval, sole_writer
from samedge.training.observers.density import DensityObserver
from samedge.training.observers.parameters import ParameterKeeper
from synthetic import run_settings

pytestmark = pytest.mark.usefixtures("strict_jax")

IDENTITY = {"settings": "{}", "sources": "abc"}
FLIPS = 500


def state(step=7, size=3):
    return {
        "step": step,
        "params": [np.arange(size, dtype=np.float32), np.full((70, 2), 0.1, np.float32)],
        "loss": [0.1, float("nan"), -float("inf"), 1e-320],
        "records": [
            {"eigenvalue": np.array([1 / 3, np.nan]), "converged": np.array([True, False])}
        ],
        "spectrum": None,
        "text": "λ1 ≤ 2/η",
    }


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name in wanted:
        leaves = [jax.tree.leaves(tree) for tree in (found[name], wanted[name])]
        for one, other in zip(*leaves, strict=True):
            np.testing.assert_array_equal(one, other)
            assert np.asarray(one).dtype == np.asarray(other).dtype


@pytest.fixture
def lines():
    return []


@pytest.fixture
def kept(tmp_path, lines):
    """Return the checkpoints of a run in a folder of their own."""
    return Checkpoints(tmp_path / "run", IDENTITY, Interval(), lines.append)


def again(kept, lines, **identity):
    return Checkpoints(kept.folder, IDENTITY | identity, kept.interval, lines.append)


def files(kept):
    return sorted(kept.folder.glob("*.npz"))


def test_what_is_written_comes_back_to_the_last_bit(kept, lines):
    assert kept.latest() is None
    kept.save(state())
    assert_same(again(kept, lines).latest(), state())


def test_the_newest_two_are_kept_and_the_newest_is_used_whatever_the_clock_said(kept, lines):
    for step in (1, 2, 3):
        kept.save(state(step))
    names = files(kept)
    assert len(names) == 2
    os.utime(names[0], (time.time() + 1e6,) * 2)
    os.utime(names[1], (0, 0))
    assert again(kept, lines).latest()["step"] == 3


@pytest.mark.parametrize("changed", [{"settings": '{"eta": "0.2"}'}, {"sources": "abd"}])
def test_one_of_another_run_is_never_used_and_stays(kept, lines, changed):
    kept.save(state())
    other = again(kept, lines, **changed)
    assert other.latest() is None
    assert "1 checkpoints" in lines[-1] and "are not used" in lines[-1]
    other.save(state(1))
    other.remove()
    assert again(kept, lines).latest()["step"] == 7
    # Not even under this run's name.
    foreign = files(kept)[0]
    foreign.rename(foreign.with_name(foreign.name.replace(kept.key, other.key)))
    assert again(kept, lines, **changed).latest() is None
    assert "of another run, or of other settings; passed over" in lines[-1]


def test_files_of_other_names_are_nothing_to_it(kept, lines):
    kept.save(state(1))
    for name in (f"{kept.key}-second-copy.npz", f"{kept.key}-2.npz", "notes.npz"):
        (kept.folder / name).write_bytes(b"mine")
    assert again(kept, lines).latest()["step"] == 1
    kept.remove()
    assert len(files(kept)) == 3


def test_one_with_flipped_bits_is_named_and_the_one_before_is_used(kept, lines):
    kept.save(state(1))
    kept.save(state(2))
    newest = files(kept)[-1]
    content = newest.read_bytes()
    chance = random.Random(0)
    for _ in range(FLIPS):
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        newest.write_bytes(damaged)
        assert again(kept, lines).latest()["step"] == 1
        assert lines[-2] == (
            f"{newest}: damaged, its contents do not have the SHA-256 in its name; passed over"
        )


def test_one_cut_short_at_any_length_is_passed_over(kept, lines):
    kept.save(state(1))
    kept.save(state(2))
    newest = files(kept)[-1]
    content = newest.read_bytes()
    for length in range(len(content)):
        newest.write_bytes(content[:length])
        assert again(kept, lines).latest()["step"] == 1


def test_a_damaged_one_does_not_push_out_a_whole_one(kept, lines):
    kept.save(state(1))
    kept.save(state(2))
    files(kept)[-1].write_bytes(b"")
    going_on = again(kept, lines)
    assert going_on.latest()["step"] == 1
    going_on.save(state(3))
    assert [again(kept, lines).latest()["step"], len(files(kept))] == [3, 2]
    files(kept)[-1].write_bytes(b"")
    assert again(kept, lines).latest()["step"] == 1


def test_nothing_is_left_of_a_run_that_is_done(kept, lines):
    with sole_writer(kept.folder, lines.append) as waited:
        assert not waited
        kept.save(state())
        (kept.folder / checkpoints.UNFINISHED).write_bytes(b"of a process that was killed")
        kept.remove()
    assert not kept.folder.exists()


def test_a_disk_that_is_full_costs_the_checkpoint_and_not_the_run(kept, lines, monkeypatch):
    kept.save(state(1))

    def full(*arguments, **entries):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", full)
        assert not kept.save(state(2))
    assert "no checkpoint at step 2" in lines[-1]
    assert "No space left on device; the one before stays" in lines[-1]
    assert again(kept, lines).latest()["step"] == 1
    assert kept.save(state(3))


@pytest.mark.parametrize(
    ("interval", "due"),
    [
        (Interval(), []),
        (Interval(steps=3), [3, 6, 9]),
        (Interval(minutes=1e-9), [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Interval(minutes=60), []),
    ],
)
def test_when_one_is_due(tmp_path, lines, interval, due):
    kept = Checkpoints(tmp_path / "run", IDENTITY, interval, lines.append)
    found = []
    for step in range(1, 10):
        if kept.due(step):
            kept.save(state(step))
            found.append(step)
    assert found == due


def loss(params, inputs, targets):
    return jnp.mean(jnp.square(jnp.tanh(inputs @ params["first"]) @ params["second"] - targets))


@pytest.fixture(scope="module")
def problem():
    keys = jax.random.split(jax.random.key(0), 4)
    data = (
        jax.random.normal(keys[0], (12, 3), jnp.float32),
        jax.random.normal(keys[1], (12, 2), jnp.float32),
    )
    params = {
        "first": jax.random.normal(keys[2], (3, 8), jnp.float32),
        "second": jax.random.normal(keys[3], (8, 2), jnp.float32),
    }
    return Problem(
        init=lambda key: jax.tree.map(jnp.copy, params),
        loss=loss,
        train=data,
        test=lambda final: _test(final, data),
        metric="test_loss",
    )


def _test(params, data):
    """Return the mean of the loss over three pieces of the data, and answer signals in between."""
    values = []
    for first in (0, 4, 8):
        raise_if_signalled()
        values.append(measured(params, *(x[first : first + 4] for x in data)))
    return sum(values) / len(values)


def measured(params, inputs, targets):
    return float(loss(params, inputs, targets))


RUN = {
    "eta": "0.05",
    "batch_size": 4,
    "budget": {"steps": 12, "hours": None},
    "checks": {"spacing": "even", "count": 5, "minutes": None},
    "density": {"at": [0.0, 0.5, 1.0], "probes": 2, "steps": 4},
    "audit": {"at": [0.0, 1.0]},
}


class EndedError(Exception):
    """The process is gone."""


def trained(run, problem, kept=None, at=()):
    """Train, and let the process end at the n-th line of its log, for n in ``at``."""
    count = 0

    def line(text):
        nonlocal count
        count += 1
        if count in at:
            raise EndedError

    density, keeper = DensityObserver(run, problem, line), ParameterKeeper(run.audit.at)
    checks, outcome = training.train(run, problem, line, [density, keeper], kept)
    return checks, outcome, density.records, [(check.step, check.leaves) for check in keeper.kept]


def without_times(checks):
    return [
        {name: value for name, value in check.items() if name not in ("training_time", "wall_time")}
        for check in checks
    ]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_run_that_goes_on_ends_as_if_nothing_had_been(problem, tmp_path, lines, steps):
    run = run_settings(**RUN)
    checks, *rest = trained(run, problem)
    for end in range(1, 9):
        kept = Checkpoints(tmp_path / str(end), IDENTITY, Interval(steps=steps), lines.append)
        with pytest.raises(EndedError):
            trained(run, problem, kept, at=[end])
        going_on = again(kept, lines)
        again_checks, *again_rest = trained(run, problem, going_on)
        found = [without_times(again_checks), *again_rest]
        for one, other in zip(
            jax.tree.leaves(found), jax.tree.leaves([without_times(checks), *rest]), strict=True
        ):
            np.testing.assert_array_equal(one, other)
        times = [check["wall_time"] for check in again_checks]
        assert times == sorted(times)


def test_times_before_the_checkpoint_count(problem, tmp_path, lines):
    run = run_settings(
        **RUN
        | {
            "budget": {"steps": None, "hours": 0.3 / 3600},
            "checks": {"spacing": "time", "count": None, "minutes": 0.1 / 60},
        }
    )
    kept = Checkpoints(tmp_path / "run", IDENTITY, Interval(steps=1), lines.append)
    with pytest.raises(EndedError):
        trained(run, problem, kept, at=[4])
    before = again(kept, lines).latest()
    assert before["seconds"] > 0.1 and before["wall_time"] >= before["seconds"]
    checks, outcome, *_ = trained(run, problem, again(kept, lines))
    assert outcome.status == "completed"
    assert before["seconds"] < 0.3 <= checks[-1]["training_time"] < before["seconds"] + 1
    steps = [check["step"] for check in checks]
    assert steps == sorted(set(steps))


# A piece of a job's long work: the function that computes it, and what calls it once for each.
PIECES = {
    "check": (measuring, "measure_gradients"),
    "product": (basis, "product"),
    "density": (density, "product"),
    "steps": (training, "take_steps"),
    "test": (sys.modules[__name__], "measured"),
}


def interrupt(monkeypatch, place, call, number, deliver=os.kill):
    """Let a signal come while one of a job's pieces is computed; return the calls of each piece."""
    calls = dict.fromkeys(PIECES, 0)

    def counting(name, original):
        def piece(*arguments, **options):
            calls[name] += 1
            if (name, calls[name]) == (place, call):
                deliver(os.getpid(), number)
                calls.update(dict.fromkeys(PIECES, 0))
            return original(*arguments, **options)

        return piece

    for name, (module, attribute) in PIECES.items():
        monkeypatch.setattr(module, attribute, counting(name, getattr(module, attribute)))
    return calls


def in_garbage_collection(process, number):
    """Send a signal where an exception of its handler is dropped: in a callback like JAX's."""

    def callback(phase, info):
        if phase == "start":
            os.kill(process, number)

    gc.callbacks.append(callback)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(callback)


@pytest.mark.parametrize("deliver", [os.kill, in_garbage_collection])
@pytest.mark.parametrize("number", [15, 2])
@pytest.mark.parametrize(
    ("place", "call"),
    [("check", 2), ("product", 5), ("density", 2), ("density", 7), ("steps", 3), ("test", 2)],
)
def test_a_signal_ends_the_run_after_the_piece_under_way_with_a_checkpoint(
    problem, tmp_path, lines, monkeypatch, number, place, call, deliver
):
    run = run_settings(**RUN)
    checks, *_ = trained(run, problem)
    kept = Checkpoints(tmp_path / "run", IDENTITY, Interval(), lines.append)
    with monkeypatch.context() as patched:
        calls = interrupt(patched, place, call, number, deliver)
        with pytest.raises(Interrupted) as caught:
            trained(run, problem, kept)
    assert caught.value.number == number
    assert calls == dict.fromkeys(PIECES, 0), "other pieces were begun after the signal"
    found, *_ = trained(run, problem, again(kept, lines))
    for one, other in zip(without_times(found), without_times(checks), strict=True):
        np.testing.assert_equal(one, other)

"""Signals end what takes long between its pieces, whatever it is."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samedge.base.errors import Interrupted
from samedge.curvature.density import spectral_density
from samedge.curvature.eigenpairs import top_eigenpairs
from samedge.data.file import read_data, write_data
from samedge.machine import gpus
from samedge.machine.signals import listening, raise_if_signalled
from samedge.tasks import problems
from samedge.tasks.kinds import evaluating
from synthetic import run_settings, task_data

pytestmark = pytest.mark.usefixtures("strict_jax")


def signalling(call):
    """Return a pause in whose n-th call a signal comes, and the calls so far."""
    calls = []

    def pause():
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        raise_if_signalled()

    return pause, calls


def test_of_several_signals_the_first_counts():
    with listening():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(2):
            with pytest.raises(Interrupted, match="SIGINT"):
                raise_if_signalled()
    raise_if_signalled()


def test_a_signal_that_came_too_late_for_one_run_is_there_for_the_next():
    with listening():
        with listening():
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="SIGTERM"):
            raise_if_signalled()
    raise_if_signalled()


def test_reading_data_ends_between_pieces(tmp_path):
    path = tmp_path / "data.npz"
    noise = np.random.default_rng(0).integers(0, 256, (2**22,), np.uint8)  # not to be compressed
    attributes = {"name": "noise", "kind": "images"}
    write_data(path, {"train_inputs": noise}, attributes)
    pause, calls = signalling(8)
    with listening(), pytest.raises(Interrupted):
        read_data(path, pause)
    assert len(calls) == 8
    np.testing.assert_array_equal(read_data(path, raise_if_signalled).arrays["train_inputs"], noise)


def quartic(params, scale):
    return jnp.sum(scale * params**2) + jnp.sum(params**4)


@pytest.mark.parametrize("measure", [top_eigenpairs, spectral_density])
def test_a_measurement_makes_a_pause_before_every_product(measure):
    params = jnp.linspace(0.1, 1, 50, dtype=jnp.float32)
    data = (jnp.arange(50, dtype=jnp.float32),)
    pause, calls = signalling(0)
    whole = measure(quartic, params, data, key=jax.random.key(0), pause=pause)
    assert len(calls) == whole.hvp_count
    pause, calls = signalling(6)
    with listening(), pytest.raises(Interrupted):
        measure(quartic, params, data, key=jax.random.key(0), pause=pause)
    assert len(calls) == 6


def test_the_test_ends_between_batches(monkeypatch):
    examples = 3 * evaluating.TEST_BATCH + 1
    settings = run_settings(
        model={"name": "mlp", "settings": {"depth": 2, "width": 4}},
        dataset={"name": "mnist", "train_examples": examples, "test_examples": examples},
    )
    problem = problems.build_problem(settings, task_data("mnist", examples))
    params = problem.init(jax.random.key(0))
    pause, calls = signalling(3)
    monkeypatch.setattr(evaluating, "raise_if_signalled", pause)
    with listening(), pytest.raises(Interrupted):
        problem.test(params)
    assert len(calls) == 3
    assert 0 <= problem.test(params) <= 1
    assert len(calls) == 3 + 4


def test_waiting_for_a_gpu_ends(monkeypatch):
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    monkeypatch.setattr(gpus, "devices", lambda: ["GPU-0"])
    monkeypatch.setattr(gpus, "_free", lambda found, jobs: None)
    monkeypatch.setattr(gpus, "SECONDS_BETWEEN_TRIES", 0.01)
    lines = []
    pause, calls = signalling(3)
    monkeypatch.setattr(gpus, "raise_if_signalled", pause)
    with listening(), pytest.raises(Interrupted):
        gpus.take_device(1, lines.append)
    assert len(calls) == 3
    assert lines == ["all 1 slots of 1 GPUs are taken; waiting"]

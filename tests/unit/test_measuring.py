"""What a check measures, by somebody who takes steps of their own."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samedge.training.loop import train
from samedge.training.measuring import NON_FINITE_GRADIENT, measure
from samedge.training.steps import StepSpec
from test_training import Line, loss, run_settings

pytestmark = pytest.mark.usefixtures("strict_jax")


def test_a_loop_of_ones_own_measures_what_a_run_records():
    line, run = Line(), run_settings()
    (first, second, *_), _ = train(run, line.problem(), lambda text: None)
    solver = jax.random.split(jax.random.key(run.seed))[1]
    spec = StepSpec.of(run, line.problem().loss)
    data, start = (line.inputs, line.targets), None
    for record, params in ((first, line.start), (second, None)):
        key = jax.random.fold_in(solver, record["step"])
        if params is None:
            params = line.by_hand(run, record["step"])
        found = measure(run, spec, params, data, key, start)
        start = found.spectrum
        assert record.keys() - found.values.keys() == {"step", "training_time", "wall_time"}
        for name, value in found.values.items():
            np.testing.assert_allclose(value, record[name], rtol=1e-3, atol=1e-5)


def test_what_is_not_finite_is_an_error_that_says_what():
    line = Line()
    run = run_settings()
    spec = StepSpec.of(run, lambda params, *data: jnp.inf * loss(params, *data))
    with pytest.raises(FloatingPointError, match=NON_FINITE_GRADIENT):
        measure(run, spec, line.start, (line.inputs, line.targets), jax.random.key(0))


def test_a_job_is_planned_without_jax(repository):
    code = "import samedge.training.job, sys; sys.exit('jax' in sys.modules)"
    scripts = repository / "workflow" / "scripts"
    assert subprocess.run([sys.executable, "-c", code], cwd=scripts).returncode == 0

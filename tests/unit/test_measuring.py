"""What a check measures, by somebody who takes steps of their own."""

import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samedge.config.parts import BudgetSettings, CheckSettings
from samedge.training.checkpoints import Checkpoints, Interval
from samedge.training.loop import train
from samedge.training.measuring import CERTIFICATE, NON_FINITE_GRADIENT, measure
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


# Checks that are not certified


def certifying_every(count, **changes):
    run = run_settings(**changes)
    return replace(run, curvature=replace(run.curvature, ends=0.05, certify=count))


def certified(records):
    """Return the numbers of the checks that were certified, all or nothing of each."""
    known = np.array([[np.isfinite(record[name]) for name in CERTIFICATE] for record in records])
    probability_and_ends, bounds = known[:, :3], known[:, 3:]
    assert (probability_and_ends.all(axis=1) | ~known.any(axis=1)).all()
    converged = [record["eigenvalue_converged"].all() for record in records]
    # Where the cap was reached there may be no bounds.
    assert (bounds.all(axis=1) >= (known[:, 0] & converged)).all()
    return np.flatnonzero(known[:, 0]).tolist()


def records_of(run):
    records, _ = train(run, Line().problem(), lambda text: None)
    return records


SEVEN = {
    "eta": "0.001",
    "budget": BudgetSettings(6, None),
    "checks": CheckSettings("even", 7, None),
}


@pytest.mark.parametrize(
    ("count", "numbers"), [(1, [*range(7)]), (2, [0, 2, 4, 6]), (4, [0, 4, 6]), (100, [0, 6])]
)
def test_every_so_many_checks_are_certified_and_the_first_and_the_last(count, numbers):
    every, some = (records_of(certifying_every(m, **SEVEN)) for m in (1, count))
    assert certified(some) == numbers
    for first, second in zip(every, some, strict=True):
        assert second["eigenvalue_converged"].all()
        margin = 2 * 1e-3 * abs(first["eigenvalue"][0])
        np.testing.assert_allclose(second["eigenvalue"], first["eigenvalue"], atol=margin)
    spent = [sum(one["hessian_vector_products"] for one in found) for found in (some, every)]
    assert spent[0] < spent[1] or count == 1


def test_a_budget_in_hours_ends_with_a_certified_check():
    run = certifying_every(
        100,
        budget=BudgetSettings(None, 2e-5),  # 72 ms
        checks=CheckSettings("time", None, 2e-4),
    )
    records = records_of(run)
    assert len(records) > 2
    assert {0, len(records) - 1} <= {*certified(records)}


def spectrum_of(*eigenvalues):
    """Return a loss whose Hessian has these eigenvalues, along the axes, at its parameters."""
    curvatures = jnp.array(eigenvalues, jnp.float32)

    def quadratic(params, scale):
        return jnp.sum(scale * curvatures * params**2) / 2

    return quadratic


def measured(loss, start, certify, **curvature):
    run = certifying_every(2)
    run = replace(run, curvature=replace(run.curvature, **curvature))
    params, batch = jnp.ones(12), (jnp.ones(()),)
    spec = StepSpec.of(run, loss)
    return measure(run, spec, params, batch, jax.random.key(4), start, certify)


BULK = [*np.linspace(0.1, 1, 8)]


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        ([9.1, 4.9, -2, -2.9], False),
        ([4.8, 9.2, -2, -2.9], True),  # the two ranks are of each other's pairs
        ([9.1, 4.9, -2, -7.0], False),  # what has overtaken a pair stays unseen
    ],
)
def test_a_check_at_which_ranks_change_is_certified_after_all(now, changed):
    before = measured(spectrum_of(9, 5, -2, -3, *BULK), None, True)
    after = measured(spectrum_of(*now, *BULK), before.spectrum, False)
    fresh = measured(spectrum_of(*now, *BULK), before.spectrum, True)
    assert bool(certified([after.values])) == changed
    np.testing.assert_allclose(after.values["eigenvalue"], sorted(now)[:-3:-1], rtol=1e-3)
    if changed:
        assert after.values["smallest_eigenvalue_bound"] <= min(now)
        assert after.values["largest_eigenvalue_bound"] >= max(now)
    else:
        # What the residuals alone say is of the pairs that were followed.
        assert after.values["eigenvalue_converged"].all()
        assert after.values["hessian_vector_products"] < fresh.values["hessian_vector_products"]


def test_without_an_earlier_measurement_a_check_is_certified():
    assert certified([measured(spectrum_of(9, 5, -2, -3, *BULK), None, False).values]) == [0]


def test_both_measurements_of_a_check_share_its_cap():
    before = measured(spectrum_of(9, 5, -2, -3, *BULK), None, True)
    swapped = spectrum_of(5, 9, -2, -3, *BULK)
    for cap in range(4, 40):
        values = measured(swapped, before.spectrum, False, max_products=cap).values
        assert values["hessian_vector_products"] <= cap
        if not certified([values]):
            assert not values["eigenvalue_converged"].any()
    assert certified([values]) and values["eigenvalue_converged"].all()


def test_a_run_that_goes_on_certifies_the_checks_that_it_would_have(tmp_path):
    run = certifying_every(3, **SEVEN)
    whole = records_of(run)

    def stop(snapshot):
        if snapshot.step == 4:
            raise RuntimeError("cut off")

    def kept():
        identity = {"settings": run.to_json()}
        return Checkpoints(tmp_path / "run", identity, Interval(steps=1), lambda text: None)

    with pytest.raises(RuntimeError):
        train(run, Line().problem(), lambda text: None, [stop], kept())
    records, _ = train(run, Line().problem(), lambda text: None, (), kept())
    assert certified(records) == certified(whole)
    for first, second in zip(whole, records, strict=True):
        for name in first.keys() - {"training_time", "wall_time"}:
            np.testing.assert_array_equal(first[name], second[name])

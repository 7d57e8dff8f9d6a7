"""The float64 audit against dense float64 algebra, closed forms, and files of other runs."""

import dataclasses
import functools
import itertools
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import synthetic
from samedge.audit import float64, table
from samedge.base.errors import Interrupted, UserError
from samedge.curvature.krylov import basis
from samedge.machine.provenance import provenance
from samedge.machine.signals import listening
from samedge.records import files as records
from samedge.records import parameters
from samedge.tasks import leaves as leaves_of
from samedge.tasks.inputs import Minibatches, character_windows
from samedge.tasks.problems import build_problem
from samedge.training import loop as training
from samedge.training.observers.parameters import ParameterKeeper
from synthetic import run_settings, task_data

pytestmark = pytest.mark.usefixtures("strict_jax")

SHAPES = {"mnist": (4, 4, 1), "cifar10": (4, 4, 3), "tiny_shakespeare": None}
EXAMPLES = {"mnist": 20, "cifar10": 12, "tiny_shakespeare": 120}
MODELS = {
    "mnist": {"name": "mlp", "settings": {"depth": 2, "width": 4}},
    "cifar10": {"name": "cnn", "settings": {"blocks": 1, "channels": 4}},
    "tiny_shakespeare": {
        "name": "transformer",
        "settings": synthetic.TRANSFORMER,
    },
}


def settings_of(task, **changes):
    text = task == "tiny_shakespeare"
    defaults = {
        "eta": "0.01",
        "kind": "characters" if text else "images",
        "dataset": {
            "name": task,
            "train_examples": EXAMPLES[task],
            "test_examples": EXAMPLES[task],
        },
        "model": MODELS[task],
        "loss": {"name": "cross_entropy" if text else "squared_error"},
        "batch_size": 5 if text else None,
        "microbatch": 4 if task == "cifar10" else None,
        "budget": {"steps": 4, "hours": None},
        "checks": {"spacing": "even", "count": 3, "minutes": None},
        "curvature": {
            "eigenvalues": 3,
            "tolerance": 1e-3,
            "max_products": 100,
            "max_vectors": 40,
            "overlook": 1e-3,
        },
        "audit": {"at": [0.5, 1.0]},
    }
    return run_settings(task, **(defaults | changes))


def data_of(task):
    return task_data(task, EXAMPLES[task], SHAPES[task])


@functools.cache
def problem_of(task, dtype):
    """Return the problem of a task, built once, so that its programs are compiled once."""
    return build_problem(settings_of(task), data_of(task), dtype)


@pytest.fixture(autouse=True)
def problems_built_once(monkeypatch):
    monkeypatch.setattr(
        float64, "build_problem", lambda settings, data, dtype: problem_of(settings.task, dtype)
    )


@pytest.fixture(scope="module")
def audited_run(tmp_path_factory):
    """Return settings, data, run file and parameters of a run, as they are read from files."""

    @functools.cache
    def run(task, eta="0.01"):
        settings, data = settings_of(task, eta=eta), data_of(task)
        with jax.enable_x64(False):
            problem = problem_of(task, np.float32)
            file, kept = (trained if task == "mnist" else started)(settings, data, problem)
        folder = tmp_path_factory.mktemp("run")
        records.write(file, folder / "run.nc")
        parameters.write_parameters(folder / "kept.nc", settings, kept, file.attrs)
        return (
            settings,
            data,
            records.read_run(folder / "run.nc"),
            parameters.read_parameters(folder / "kept.nc"),
        )

    return run


def trained(settings, data, problem):
    keeper = ParameterKeeper(settings.audit.at)
    checks, outcome = training.train(settings, problem, lambda line: None, [keeper])
    return records.run_dataset(settings, checks, outcome, provenance(data)), keeper.kept


def started(settings, data, problem):
    """Stand in for training, most of whose time would be compiling: initial weights, kept late."""
    params = jax.jit(problem.init)(jax.random.key(0))
    kept = parameters.Kept(20, leaves_of.named_leaves(params))
    return synthetic.run(settings, checks=3, data_checksum=data.checksum), [kept]


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def run_audit(run):
    return float64.audit(*run, report=lambda line: None)


@pytest.mark.parametrize("place", ["hessian", "products"])
def test_a_signal_ends_an_audit_between_its_pieces(audited_run, double, monkeypatch, place):
    module, name = {"hessian": (basis, "product"), "products": (float64, "_exact_product")}[place]
    original, calls = getattr(module, name), []

    def interrupting(*arguments):
        calls.append(None)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(module, name, interrupting)
    with listening(), pytest.raises(Interrupted, match="SIGTERM"):
        run_audit(audited_run("mnist"))
    assert len(calls) == 2


def by_name(check, method):
    return {finding.quantity: finding for finding in check.findings if finding.method == method}


def dense(settings, points):
    """Yield loss, norms of both gradients and Hessian at each point in float64, by JAX alone."""
    problem = problem_of(settings.task, np.float64)
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    _, unravel = ravel_pytree(jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes))

    def loss(vector, batch):
        return problem.loss(unravel(vector), *batch)

    @jax.jit
    def everything(vector, batch):
        gradient = jax.grad(loss)(vector, batch)
        length = jnp.linalg.norm(gradient) + settings.update.epsilon
        displaced = vector + float(settings.rho) * gradient / length
        norms = [jnp.linalg.norm(jax.grad(loss)(x, batch)) for x in (vector, displaced)]
        return loss(vector, batch), norms, jax.hessian(loss)(vector, batch)

    for kept in points:
        flat, _ = ravel_pytree(leaves_of.restore(kept.leaves, shapes, np.float64))
        assert flat.dtype == np.float64
        batch = problem.train
        if settings.batch_size:
            batches = Minibatches(len(batch[0]), settings.batch_size, settings.seed)
            chosen = list(itertools.chain(*map(batches.epoch, range(20))))[kept.step]
            batch = tuple(x[chosen] for x in batch)
        yield jax.tree.map(np.asarray, everything(flat, batch))


@pytest.mark.parametrize("task", MODELS)
def test_float64_agrees_with_dense_algebra(audited_run, double, task):
    run = audited_run(task)
    settings, _, file, saved = run
    audited = run_audit(run)
    assert [check.step for check in audited] == [kept.step for kept in saved.kept]
    exactly = dense(settings, saved.kept)
    for check, (loss, norms, hessian) in zip(audited, exactly, strict=True):
        values = np.linalg.eigvalsh(hessian)
        norm = np.max(np.abs(values))
        top = values[np.argsort(-np.abs(values), kind="stable")][:3]
        assert all(check.converged)
        assert max(check.residuals) <= 1e-8
        np.testing.assert_allclose(check.eigenvalues, top, rtol=0, atol=1e-8 * norm)
        recorded = by_name(check, table.RECORDED)
        exact = {name: finding.exact for name, finding in recorded.items()}
        assert exact["training_loss"] == pytest.approx(loss, rel=1e-12)
        assert exact["gradient_norm"] == pytest.approx(norms[0], rel=1e-10)
        assert exact["sam_gradient_norm"] == pytest.approx(norms[1], rel=1e-10)
        assert exact["largest_eigenvalue"] == pytest.approx(values[-1], abs=1e-8 * norm)
        assert exact["smallest_eigenvalue"] == pytest.approx(values[0], abs=1e-8 * norm)
        # What is held against it is what the run file says.
        assert int(file["step"][0, 0, 0, check.check]) == check.step
        for name in ("training_loss", "gradient_norm", "smallest_eigenvalue"):
            assert recorded[name].value == float(file[name][0, 0, 0, check.check])
        for rank in range(3):
            value = float(file["eigenvalue"][0, 0, 0, check.check, rank])
            assert recorded[f"eigenvalue_{rank + 1}"].value == value
        if task == "mnist":  # the others' records are made up
            assert max(finding.error for finding in recorded.values()) < 1e-3


def test_the_inputs_are_computed_in_float64(double):
    settings, data = settings_of("mnist"), data_of("mnist")
    inputs, targets = build_problem(settings, data, np.float64).train
    pixels = data.arrays["train_inputs"].astype(np.float64) / 256
    np.testing.assert_allclose(inputs, pixels - pixels.mean(axis=0), rtol=0, atol=1e-16)
    np.testing.assert_array_equal(targets, np.eye(10)[np.arange(20) % 10], strict=True)
    text = data_of("tiny_shakespeare")
    windows = build_problem(settings_of("tiny_shakespeare"), text, np.float64).train
    for found, expected in zip(
        windows, character_windows(text.arrays["train_text"], 4), strict=True
    ):
        np.testing.assert_array_equal(found, expected, strict=True)


def test_exact_float32_products_are_right_to_rounding(audited_run, double):
    for check in run_audit(audited_run("mnist")):
        for finding in by_name(check, table.EXACT).values():
            assert finding.error < 1e-5
            assert finding.residual < 1e-5


def powers(params, coefficients):
    cubes, fourths = params["cube"], params["fourth"]
    return jnp.sum(coefficients * cubes**3) / 6 + jnp.sum(fourths**4) / 24


def test_the_error_of_a_central_difference_is_its_third_derivative(double):
    """The gradient's difference over 2h is exact for a cubic loss, and h² v³/6 off for w⁴/24."""
    generator = np.random.default_rng(0)
    coefficients, *vectors = (jnp.asarray(generator.normal(size=5)) for _ in range(5))
    names = ("cube", "fourth")
    point, direction = (dict(zip(names, pair, strict=True)) for pair in (vectors[:2], vectors[2:]))
    arguments = (powers, None, point, (coefficients,), direction)
    difference, exact = float64._difference_product(*arguments), float64._exact_product(*arguments)
    np.testing.assert_allclose(exact["cube"], coefficients * point["cube"] * direction["cube"])
    np.testing.assert_allclose(difference["cube"], exact["cube"], atol=1e-12)
    truncation = float64.DIFFERENCE_STEP**2 * direction["fourth"] ** 3 / 6
    np.testing.assert_allclose(difference["fourth"] - exact["fourth"], truncation, atol=1e-12)


def test_tensorfloat32_is_asked_for_on_a_gpu_alone(audited_run, double, monkeypatch):
    """What is said of TF32 is computed under that precision, the rest under the run's own."""
    *files, saved = audited_run("mnist")
    run = (*files, dataclasses.replace(saved, kept=saved.kept[-1:]))
    precisions = []
    exact_product = float64._exact_product

    def spy(loss, microbatch, params, *others):
        if jax.tree.leaves(params)[0].dtype == np.float32:  # the products that are judged
            precisions.append(jax.config.jax_default_matmul_precision)
        return exact_product(loss, microbatch, params, *others)

    monkeypatch.setattr(float64, "_exact_product", spy)
    [check] = run_audit(run)
    assert by_name(check, table.TENSORFLOAT32) == {}
    assert precisions == 3 * ["highest"]

    precisions.clear()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    [check] = run_audit(run)
    assert precisions == 3 * ["highest"] + 3 * ["tensorfloat32"]
    assert list(by_name(check, table.TENSORFLOAT32)) == [
        *table.GRADIENT_QUANTITIES,
        *(f"eigenvalue_{rank}" for rank in (1, 2, 3)),
    ]
    assert jax.config.jax_default_matmul_precision == "highest"


def test_a_run_that_diverged_before_has_nothing_to_audit(audited_run, double):
    run = audited_run("mnist", eta="1e20")
    assert run[2].sizes["check"] == 1
    assert run_audit(run) == []


@pytest.mark.parametrize("other", ["settings", "parameters", "run", "data", "checks"])
def test_files_that_do_not_belong_together_are_refused(audited_run, double, other):
    settings, data, run, saved = audited_run("mnist")
    match other:
        case "settings":
            settings = settings_of("mnist", seed=1)
            message = "the run file is not of mnist eta0.01_rho0.1_seed1"
        case "parameters":
            saved = dataclasses.replace(saved, settings=settings_of("mnist", seed=1).to_json())
            message = "the parameters file is not of mnist eta0.01_rho0.1_seed0"
        case "run":
            run = run.assign_attrs(data_checksum="c0ffee")
            message = "the run file of .* was made with data of checksum c0ffee"
        case "data":
            data = dataclasses.replace(data, checksum="c0ffee")
            message = "the data file has c0ffee"
        case "checks":
            kept = [dataclasses.replace(check, step=3) for check in saved.kept]
            saved = dataclasses.replace(saved, kept=tuple(kept))
            message = "has a check at step 3, the run file has none"
    with pytest.raises(UserError, match=message):
        run_audit((settings, data, run, saved))


def test_an_audit_needs_float64(audited_run):
    with pytest.raises(ValueError, match="jax_enable_x64"):
        run_audit(audited_run("mnist"))

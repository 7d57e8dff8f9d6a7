"""What minibatches make of an edge: identities on quadratics, estimates, and through a run."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plot_stochastic
from samedge.analysis.statistics import STATISTICS
from samedge.base.errors import UserError
from samedge.config.settings import RunSettings
from samedge.figures.steps import stochastic
from samedge.records import cubes, files
from samedge.records.schema import STOCHASTIC_KEYS
from samedge.training import loop
from samedge.training.observers.stochastic import StochasticObserver, batch_products, quantities
from samedge.training.steps import StepSpec, as_optax_promotes
from samedge.updates.rule import RULES
from small_network import dense, tanh_problem
from synthetic import ENVIRONMENT, grid_settings, made_cube, run, run_settings

SIZE, EXAMPLES, BATCH = 5, 7, 3
RULE_CASES = {
    "sam": {},
    "unnormalized_sam": {},
    "momentum": {"momentum": 0.9},
    "rmsprop": {},
    "adam": {"weight_decay": 0.1},
    "asam": {},
}


def quadratic(params, matrices, slopes):
    """The mean over examples of quadratics, each with a Hessian of its own."""
    w = params["w"]
    return jnp.mean(0.5 * jnp.einsum("i,nij,j->n", w, matrices, w) + slopes @ w)


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    half = random.normal(size=(EXAMPLES, SIZE, SIZE))
    return half @ half.transpose(0, 2, 1), random.normal(size=(EXAMPLES, SIZE))


def all_batches(data):
    """Return every minibatch, each once."""
    chosen = [np.array(one) for one in itertools.combinations(range(EXAMPLES), BATCH)]
    return [tuple(jnp.asarray(x[one]) for x in data) for one in chosen]


def start(rule, eta):
    """Return parameters and an optimizer state after a few steps, so that it is none of zeros."""
    params = {"w": jnp.asarray(np.random.default_rng(1).normal(size=SIZE))}
    state = rule.optimizer(eta).init(params)
    for seed in range(3):
        gradient = {"w": jnp.asarray(np.random.default_rng(seed).normal(size=SIZE))}
        with as_optax_promotes():
            _, state = rule.optimizer(eta).update(gradient, state, params)
    return params, state


@pytest.mark.parametrize("name", RULE_CASES)
def test_quantities_are_2_over_eta_where_steps_leave_the_loss_of_quadratics(name, data):
    with jax.enable_x64(True):
        rule, eta, rho = RULES[name](**RULE_CASES[name]), jnp.asarray(0.01), jnp.asarray(0.1)
        spec = StepSpec(quadratic, rule, None, 1e-5)
        params, state = start(rule, eta)
        whole = tuple(map(jnp.asarray, data))
        _, slope, _, hessian = spec.gradients_and_hessian(params, rho, whole)
        norm = float(jnp.linalg.norm(slope["w"]))
        batches = all_batches(data)
        found = [
            {
                key: float(value)
                for key, value in batch_products(
                    spec, params, state, eta, rho, hessian, batch
                ).items()
            }
            for batch in batches
        ]
        made = quantities(found, norm)

        def change(step_of, losses):
            """Return the expected change of a loss by a step that each minibatch takes."""
            changes = [
                quadratic({"w": params["w"] + step_of(batch)}, *on) - quadratic(params, *on)
                for batch, on in zip(batches, losses, strict=True)
            ]
            return float(np.mean(changes))

        def gradients(batch):
            return spec.gradients_and_hessian(params, rho, batch)

        scale = float(np.mean([one["gg"] for one in found]))
        own = 2 / made["batch_sharpness"].value
        assert abs(change(lambda b: -own * gradients(b)[1]["w"], batches)) < 1e-12 * scale
        along = 2 / made["sam_batch_sharpness"].value
        assert abs(change(lambda b: -along * gradients(b)[2]["w"], batches)) < 1e-12 * scale
        full = 2 / made["noise_interaction"].value
        everywhere = [whole] * len(batches)
        assert abs(change(lambda b: -full * gradients(b)[1]["w"], everywhere)) < 1e-12 * scale

        def step(batch):
            with as_optax_promotes():
                return rule.optimizer(eta).update(gradients(batch)[2], state, params)[0]["w"]

        # The expected change is -E[s'g] (ratio / 2 - 1), zero at a ratio of 2.
        fall = -np.mean([one["sg"] for one in found])
        expected = fall * (made["step_sharpness"].value / 2 - 1)
        assert change(step, batches) == pytest.approx(expected, rel=1e-9, abs=1e-12 * scale)
        # The two definitions of batch sharpness are two numbers.
        quotients = [one["gHg"] / one["gg"] for one in found]
        assert made["mean_batch_quotient"].value == pytest.approx(np.mean(quotients))
        assert made["mean_batch_quotient"].value != pytest.approx(
            made["batch_sharpness"].value, rel=1e-3
        )
        if name == "sam":
            # Of plain steps along h the generalised one is SAM's times eta.
            assert made["step_sharpness"].value == pytest.approx(
                float(eta) * made["sam_batch_sharpness"].value
            )


def test_standard_errors_are_those_of_repeated_draws(data):
    with jax.enable_x64(True):
        spec = StepSpec(quadratic, RULES["sam"](), None, 1e-5)
        eta, rho = jnp.asarray(0.01), jnp.asarray(0.1)
        params, state = start(spec.rule, eta)
        _, slope, _, hessian = spec.gradients_and_hessian(
            params, rho, tuple(map(jnp.asarray, data))
        )
        norm = float(jnp.linalg.norm(slope["w"]))
        everything = [
            {k: float(v) for k, v in found.items()}
            for found in (
                batch_products(spec, params, state, eta, rho, hessian, batch)
                for batch in all_batches(data)
            )
        ]
    truth = quantities(everything, norm)
    random = np.random.default_rng(2)
    apart = {name: [] for name in truth}
    for _ in range(400):
        drawn = [everything[i] for i in random.integers(len(everything), size=24)]
        for name, (value, error) in quantities(drawn, norm).items():
            apart[name].append((value - truth[name].value) / error)
    for name, found in apart.items():
        assert abs(np.mean(found)) < 0.35, name
        assert 0.8 < np.std(found) < 1.35, name


@pytest.fixture(scope="module")
def problem():
    return tanh_problem()


def run_of(**changes) -> RunSettings:
    return run_settings(
        **{
            "eta": "0.05",
            "batch_size": 4,
            "budget": {"steps": 8, "hours": None},
            "checks": {"spacing": "even", "count": 5, "minutes": None},
            "stochastic": {"batches": 6, "examples": 8},
        }
        | changes
    )


def observed(run, problem):
    """Train; return the observer, a copy of the parameters at each check, the checks, and lines."""
    kept, lines = [], []

    def keep(snapshot):
        kept.append(jax.tree.map(np.array, snapshot.params))

    observer = StochasticObserver(run, problem, lines.append)
    checks, outcome = loop.train(run, problem, lambda line: None, [observer, keep])
    return observer, kept, checks, outcome, lines


@pytest.mark.usefixtures("strict_jax")
def test_a_run_of_minibatches_has_them_at_every_check(problem):
    observer, kept, checks, outcome, lines = observed(run_of(), problem)
    assert len(observer.records) == len(checks) == len(lines) == 5
    [sample] = {tuple(np.asarray(x).tobytes() for x in observer._sample)}
    for record, params in zip(observer.records, kept, strict=True):
        assert record.keys() == {*STOCHASTIC_KEYS}
        hessian, gradient = dense(params, observer._sample)
        values = np.linalg.eigvalsh(hessian)
        largest = values[np.argmax(np.abs(values))]
        assert record["sample_eigenvalue_converged"]
        assert record["sample_eigenvalue"] == pytest.approx(largest, rel=1e-3)
        assert record["sample_gradient_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-4)
        assert 0 < record["batch_sharpness_error"] < abs(record["batch_sharpness"])
    assert sample == tuple(np.asarray(x).tobytes() for x in observer._sample)
    assert len(observer._sample[0]) == 8
    # Warm, an eigenvalue costs less than cold.
    costs = [record["stochastic_products"] for record in observer.records]
    assert costs[1] < costs[0]
    dataset = files.run_dataset(
        observer.settings, checks, outcome, ENVIRONMENT, stochastic=observer.records
    )
    for name in STOCHASTIC_KEYS:
        found = dataset[name].values[0, 0, 0]
        np.testing.assert_array_equal(found, [record[name] for record in observer.records])


@pytest.mark.usefixtures("strict_jax")
def test_of_the_full_batch_there_is_one_and_no_error(problem):
    run = run_of(batch_size=None, stochastic={"batches": 6}, rho="0")
    observer, kept, checks, *_ = observed(run, problem)
    for record, params, check in zip(observer.records, kept, checks, strict=True):
        hessian, gradient = dense(params, problem.train)
        own = gradient @ hessian @ gradient / (gradient @ gradient)
        for name in ("batch_sharpness", "mean_batch_quotient", "noise_interaction"):
            assert record[name] == pytest.approx(own, rel=1e-4)
            assert record[f"{name}_error"] == 0
        assert record["step_sharpness"] == pytest.approx(0.05 * own, rel=1e-4)
        assert record["sample_eigenvalue"] == pytest.approx(check["eigenvalue"][0], rel=1e-3)


@pytest.mark.usefixtures("strict_jax")
def test_measuring_minibatches_changes_nothing_else_and_goes_on(problem):
    _, _, checks, *_ = observed(run_of(), problem)
    _, _, plain, *_ = observed(run_of(stochastic={"batches": 0}), problem)
    for one, other in zip(plain, checks, strict=True):
        for key in one.keys() - {"training_time", "wall_time"}:
            np.testing.assert_array_equal(one[key], other[key])
    observer, *_ = observed(run_of(), problem)
    again = StochasticObserver(run_of(), problem, print)
    again.restore(observer.state())
    assert again.records == observer.records
    np.testing.assert_array_equal(again.start.ritz_vectors, observer.start.ritz_vectors)


def test_runs_of_before_have_the_same_settings():
    assert "stochastic" not in run_settings().to_json()
    run = run_of()
    assert RunSettings.from_json(run.to_json()) == run


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """A cube whose batch sharpness is 0.4 of 2/eta, and whose noise interaction is at it."""
    folder = tmp_path_factory.mktemp("runs")
    settings = grid_settings(
        eta=["0.1", "0.3"], stochastic={"batches": 16, "examples": 100}, batch_size=32
    )
    for one in settings:
        whole = run(one)
        checks = whole.sizes["check"]
        made = dict.fromkeys(STOCHASTIC_KEYS, 1.0) | {
            "batch_sharpness": 0.4 * 2 / float(one.eta),
            "batch_sharpness_error": 0.04 * 2 / float(one.eta),
            "noise_interaction": 2 / float(one.eta),
            "step_sharpness": 0.8,
        }
        for name, value in made.items():
            whole[name][:] = np.full(checks, value)
        files.write(whole, folder / f"{one.name}.nc")
    return cubes.collect(settings, folder)


def test_statistics_are_over_their_thresholds(cube):
    for name, wanted in (
        ("batch_sharpness", 0.4),
        ("step_sharpness", 0.4),
        ("noise_interaction", 1),
    ):
        np.testing.assert_allclose(STATISTICS[f"{name}_ratio"].compute(cube), wanted)
    plain = made_cube()
    assert np.isnan(STATISTICS["batch_sharpness_ratio"].compute(plain)).all()


def test_the_figure_has_every_quantity_over_its_threshold(cube, tmp_path):
    files.write(cube, tmp_path / "mnist.nc")
    outputs = ["--output-pdf", str(tmp_path / "s.pdf"), "--output-png", str(tmp_path / "s.png")]
    plot_stochastic.main(["--cube", str(tmp_path / "mnist.nc"), "--rho", "0.1", *outputs])
    assert (tmp_path / "s.pdf").stat().st_size > 1000
    figure = stochastic.draw(cube, "0.1")
    shown = np.reshape(figure.axes, (2, 2))
    for row in shown:
        for rho, ax in zip((0, 0.1), row, strict=True):
            curves = {line.get_gid(): line.get_ydata() for line in ax.lines}
            assert ("sam_batch_sharpness" in curves) == bool(rho)
            np.testing.assert_allclose(curves["batch_sharpness"], 0.4)
            np.testing.assert_allclose(curves["noise_interaction"], 1)
            np.testing.assert_allclose(curves["threshold"], 1)
            low, high = ax.get_ylim()
            assert low < 0.36 and high > 1
    note = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
    assert "16 minibatches of 32 examples" in note and "Sample: 100 training examples" in note
    with pytest.raises(UserError, match=r"nothing of minibatches; give stochastic\.batches"):
        stochastic.draw(made_cube(), "0.1")

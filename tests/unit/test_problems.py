"""Classes that come from the data, and models whose output depends on the rest of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samedge.base.errors import UserError
from samedge.base.files import checksum
from samedge.data.file import TaskData
from samedge.tasks.inputs import image_arrays
from samedge.tasks.loss import LOSSES
from samedge.tasks.model import MODELS, Model
from samedge.tasks.problems import KINDS, Problem, build_problem
from samedge.training import loop
from synthetic import TRANSFORMER, run_settings, task_data

pytestmark = pytest.mark.usefixtures("strict_jax")

SIDE, WIDTH = 4, 32
MLP = {"depth": 2, "width": 16}


def image_data(train=200, test=150, patterns=10, noise=30.0, **attributes):
    """Return images of one pattern a class under noise, in an order without pattern."""
    random = np.random.default_rng(0)
    shown = random.integers(60, 200, (patterns, SIDE, SIDE, 1))
    arrays = {}
    for split, count in (("train", train), ("test", test)):
        labels = random.integers(patterns, size=count)
        pixels = shown[labels] + random.normal(scale=noise, size=(count, SIDE, SIDE, 1))
        arrays[f"{split}_inputs"] = pixels.clip(0, 255).astype(np.uint8)
        arrays[f"{split}_labels"] = labels.astype(np.uint8)
    attributes = task_data().attributes | attributes
    return TaskData(arrays, attributes, checksum(arrays, attributes))


def settings_of(data, name="normalized", **changes):
    counts = [len(data.arrays[f"{split}_labels"]) for split in ("train", "test")]
    dataset = dict(zip(("train_examples", "test_examples"), counts, strict=True))
    defaults = {
        "dataset": {"name": "mnist"} | dataset,
        "model": {"name": name, "settings": {}},
        "budget": {"steps": 300, "hours": None},
        "checks": {"spacing": "even", "count": 2, "minutes": None},
        "eta": "0.5",
    }
    return run_settings(**(defaults | changes))


def normalized(outputs, *, last=1.0):
    """Return a network of one hidden layer, normalised over the batch; ``last`` scales its end."""

    def init(key, inputs):
        keys, size = jax.random.split(key), inputs[0].size
        return {
            "first": jax.random.normal(keys[0], (size, WIDTH), jnp.float32) / size**0.5,
            "second": last * jax.random.normal(keys[1], (WIDTH, outputs), jnp.float32) / WIDTH**0.5,
        }

    def apply(params, inputs):
        hidden = inputs.reshape((inputs.shape[0], -1)) @ params["first"]
        spread = jnp.sqrt(jnp.var(hidden, axis=0) + 1e-5)
        return jnp.maximum((hidden - jnp.mean(hidden, axis=0)) / spread, 0) @ params["second"]

    return Model(init, apply)


@pytest.fixture(autouse=True)
def own_models(monkeypatch):
    monkeypatch.setitem(MODELS._entries, "normalized", normalized)
    monkeypatch.setitem(MODELS._entries, "zero", lambda outputs: normalized(outputs, last=0.0))


def errors_of(apply, params, inputs, labels):
    return np.argmax(np.asarray(apply(params, jnp.asarray(inputs))), axis=-1) != labels


def trained(settings, data):
    """Return the test metric of a run, its parameters, and the test images and labels."""
    problem = build_problem(settings, data)
    kept = []
    _, outcome = loop.train(
        settings, problem, lambda line: None, [lambda snapshot: kept.append(snapshot.params)]
    )
    arrays = image_arrays(data)
    return outcome.test_metric, kept[-1], (arrays["test_inputs"], arrays["test_labels"])


def test_the_test_error_of_a_normalised_network_is_that_of_whole_batches():
    """One image alone is normalised to nothing: 0.9 of them would count as wrong."""
    data = image_data()
    found, params, (inputs, labels) = trained(settings_of(data), data)
    apply = normalized(10).apply
    whole = errors_of(apply, params, inputs, labels)
    alone = [errors_of(apply, params, inputs[i : i + 1], labels[i])[0] for i in range(len(labels))]
    assert found == whole.mean()
    assert whole.mean() < 0.3 < 0.8 < np.mean(alone)


def test_a_test_set_larger_than_a_training_batch_is_cut_into_equal_batches():
    data = image_data(train=200, test=150, noise=80.0)
    found, params, (inputs, labels) = trained(settings_of(data, batch_size=40), data)
    # Of at most 40 there are 4, of every fourth example: 38, 38, 37 and 37.
    wrong = [
        errors_of(normalized(10).apply, params, inputs[first::4], labels[first::4])
        for first in range(4)
    ]
    assert [len(part) for part in wrong] == [38, 38, 37, 37]
    assert found == np.concatenate(wrong).mean() > 0


def test_the_test_loss_of_a_batchwise_model_of_text_is_that_of_whole_batches(monkeypatch):
    def centred(outputs, *, sequence_length):
        def init(key, tokens):
            return jax.random.normal(key, (outputs, outputs), jnp.float32)

        def apply(params, tokens):
            logits = params[tokens]
            return logits - jnp.mean(logits, axis=0)

        return Model(init, apply)

    monkeypatch.setitem(MODELS._entries, "centred", centred)
    data = task_data("tiny_shakespeare", examples=600)
    settings = run_settings(
        "tiny_shakespeare",
        kind="characters",
        dataset={"name": "tiny_shakespeare", "train_examples": 600, "test_examples": 600},
        model={"name": "centred", "settings": {"sequence_length": 9}},
        loss={"name": "cross_entropy"},
        batch_size=None,
    )
    problem = build_problem(settings, data)
    params = jax.jit(problem.init)(jax.random.key(0))
    # As many test windows as training ones: one batch, of the same loss as training would have.
    assert problem.batchwise()
    windows = build_problem(
        settings,
        TaskData({**data.arrays, "train_text": data.arrays["test_text"]}, data.attributes, ""),
    )
    expected = float(jax.jit(windows.loss)(params, *windows.train))
    assert problem.test(params) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("model", ["normalized", "zero"])
def test_microbatches_of_a_batchwise_model_are_refused(model):
    """Also where the initial output is zero whatever the batch."""
    data = image_data()
    message = (
        f"task mnist: microbatch 50: what model {model} makes of an example depends on the rest of "
        r"its batch \(as with batch normalisation\), .*; set microbatch: null"
    )
    with pytest.raises(UserError, match=message):
        build_problem(settings_of(data, model, microbatch=50), data)
    assert build_problem(settings_of(data, model), data).batchwise()


@pytest.mark.parametrize(
    ("name", "options"),
    [("mlp", {"depth": 3, "width": 16}), ("cnn", {"blocks": 1, "channels": 4})],
)
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_microbatches_of_the_papers_models_are_taken(name, options, loss):
    data = image_data()
    model = {"name": name, "settings": options}
    settings = settings_of(data, microbatch=50, model=model, loss={"name": loss})
    problem = build_problem(settings, data)
    assert not problem.batchwise()


def test_microbatches_of_text_are_refused_where_padding_makes_characters_count_unequally():
    data = task_data("tiny_shakespeare", examples=600)
    settings = run_settings(
        "tiny_shakespeare",
        kind="characters",
        dataset={"name": "tiny_shakespeare", "train_examples": 600, "test_examples": 600},
        model={"name": "transformer", "settings": TRANSFORMER | {"sequence_length": 10}},
        loss={"name": "cross_entropy"},
        batch_size=None,
        microbatch=11,
    )
    reason = "needs a loss that is a mean over examples, and cross_entropy is not"
    with pytest.raises(UserError, match=f"microbatch 11 {reason}; set microbatch: null"):
        build_problem(settings, data)


def test_a_loss_may_say_that_it_is_no_mean(monkeypatch):
    monkeypatch.setitem(LOSSES._facts, "squared_error", {"mean_over_examples": False})
    data = image_data()
    settings = settings_of(data, microbatch=50, model={"name": "mlp", "settings": MLP})
    with pytest.raises(UserError, match="needs a loss that is a mean over examples"):
        build_problem(settings, data)


def test_images_are_learnt_by_cross_entropy():
    """Its Hessian's largest eigenvalue is found as of any loss, and the labels are learnt."""
    data = image_data()
    model = {"name": "mlp", "settings": MLP}
    settings = settings_of(data, model=model, loss={"name": "cross_entropy"})
    problem = build_problem(settings, data)
    checks, outcome = loop.train(settings, problem, print)
    assert checks[0]["training_loss"] == pytest.approx(np.log(10), rel=0.3)
    assert checks[-1]["training_loss"] < 0.1 * checks[0]["training_loss"]
    assert all(check["eigenvalue_converged"].all() for check in checks)
    assert outcome.test_metric < 0.1


def test_a_kind_of_ones_own_shows_by_its_loss_whether_microbatches_may_be_taken(monkeypatch):
    data = image_data()
    settings = settings_of(data, kind="own", microbatch=50)
    for scale, good in ((0.0, True), (1.0, False)):

        def own(settings, data, dtype, scale=scale):
            known = build_problem(settings_of(data, "normalized"), data, dtype)

            def loss(params, inputs, targets):
                outputs = inputs.reshape((len(inputs), -1)) @ params["first"]
                outputs -= scale * jnp.mean(outputs, axis=0)
                return jnp.mean(jnp.square(outputs @ params["second"] - targets))

            return Problem(known.init, loss, known.train, known.test, known.metric)

        monkeypatch.setitem(KINDS._entries, "own", own)
        if good:
            build_problem(settings, data)
        else:
            with pytest.raises(UserError, match="the loss of a batch is not the mean of those of"):
                build_problem(settings, data)


@pytest.mark.parametrize("classes", [3, 10, 12])
def test_there_are_as_many_outputs_as_classes(classes):
    data = image_data(patterns=classes, **({} if classes == 10 else {"classes": classes}))
    problem = build_problem(settings_of(data), data)
    targets = np.asarray(problem.train[1])
    assert targets.shape == (200, classes)
    np.testing.assert_array_equal(targets.argmax(axis=1), data.arrays["train_labels"])
    np.testing.assert_array_equal(targets.sum(axis=1), 1)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_label_outside_the_classes_is_refused(split):
    """A file that does not say has ten classes, as all had before."""
    data = image_data()
    data.arrays[f"{split}_labels"][[7, 20]] = 12, 10
    message = rf"data set 'mnist', {split}_labels\[7\]: the label is 12, and the 10 classes have"
    with pytest.raises(UserError, match=message):
        build_problem(settings_of(data), data)

"""Data without code: sets of TensorFlow Datasets by name, and arrays of one's own."""

import hashlib

import jax
import numpy as np
import pytest

from prepared_tfds import write_prepared
from samedge.base.errors import UserError
from samedge.base.files import checksum
from samedge.data.file import TaskData, number_of_classes
from samedge.data.prepare import Request, prepare
from samedge.tasks.problems import build_problem
from samedge.training import loop
from synthetic import run_settings

RANDOM = np.random.default_rng(0)


def labelled(count, shape=(6, 5, 1), classes=3):
    """Return images and labels."""
    images = RANDOM.integers(0, 256, (count, *shape)).astype(np.uint8)
    return images, np.arange(count) % classes


def arrays_of(**changes):
    """Return arrays of images with labels as a file has them; None leaves one out."""
    arrays = {}
    for split, count in (("train", 12), ("test", 6)):
        arrays[f"{split}_inputs"], arrays[f"{split}_labels"] = labelled(count)
    return {name: array for name, array in (arrays | changes).items() if array is not None}


def numbers_of(**changes):
    """Return arrays of a regression likewise."""
    arrays = {}
    for split, count in (("train", 12), ("test", 6)):
        inputs = RANDOM.normal(size=(count, 4))
        arrays[f"{split}_inputs"] = inputs
        arrays[f"{split}_targets"] = np.stack([inputs[:, 0], 2 * inputs[:, 1]], axis=1)
    return {name: array for name, array in (arrays | changes).items() if array is not None}


@pytest.fixture
def prepared(tmp_path):
    """Return a function that prepares the arrays of a file."""

    def run(arrays, train=None, test=None):
        path = tmp_path / "mine.npz"
        np.savez(path, **arrays)
        return prepare(Request("arrays", "file", train, test, file=path))

    return run


def test_images_of_ones_own_are_taken_as_they_are(prepared, tmp_path):
    arrays, attributes = prepared(arrays_of(classes=np.array(5)), train=10)
    assert arrays["train_inputs"].shape == (10, 6, 5, 1)
    assert (attributes["kind"], attributes["source"]) == ("images", "file")
    digest = hashlib.sha256((tmp_path / "mine.npz").read_bytes()).hexdigest()
    assert attributes["origin"] == f"mine.npz, SHA-256 {digest}"
    assert attributes["description"] == "10 training images of mine.npz"
    assert number_of_classes(TaskData(arrays, attributes, "")) == 5


def test_a_regression_is_learnt(prepared):
    arrays, attributes = prepared(numbers_of())
    assert attributes["kind"] == "regression"
    data = TaskData(arrays, attributes, checksum(arrays, attributes))
    settings = run_settings(
        source="file",
        kind="regression",
        dataset={"name": "arrays", "train_examples": None, "test_examples": None},
        model={"name": "mlp", "settings": {"depth": 1, "width": 1}},
        eta="0.3",
        rho="0",
        budget={"steps": 200, "hours": None},
        checks={"spacing": "even", "count": 2, "minutes": None},
    )
    problem = build_problem(settings, data)
    checks, outcome = loop.train(settings, problem, print)
    assert checks[-1]["training_loss"] < 1e-3 * checks[0]["training_loss"]
    assert (problem.metric, outcome.test_metric < 0.01) == ("test_loss", True)
    # The Hessian of a linear model is known: that of the inputs' second moments.
    inputs = np.hstack([arrays["train_inputs"], np.ones((12, 1))])
    expected = np.linalg.eigvalsh(inputs.T @ inputs / 12)[-1]
    assert checks[0]["eigenvalue"][0] == pytest.approx(expected, rel=1e-3)
    with jax.enable_x64():
        exact = build_problem(settings, data, np.float64)
        assert exact.train[1].dtype == np.float64
        np.testing.assert_array_equal(exact.train[0], arrays["train_inputs"])


FLOATS = RANDOM.normal(size=(12, 6, 5, 1))


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        (arrays_of(train_labels=np.arange(12) - 1), r"train_labels\[0\]: the label is -1, and the"),
        (
            arrays_of(test_labels=np.full(6, 42), classes=np.array(3)),
            r"test_labels\[0\]: the label is 42, and the 3 classes have the labels 0 to 2; 6 of 6",
        ),
        (
            arrays_of(train_labels=np.zeros(11, int)),
            r"train_labels: expected integers \(12,\), one",
        ),
        (arrays_of(train_labels=np.zeros(12)), r"train_labels: expected integers .*, got float64"),
        (arrays_of(train_inputs=FLOATS), r"train_inputs: expected uint8 .*, got float64"),
        (arrays_of(train_inputs=np.zeros((12, 30), np.uint8)), r"expected uint8 .* \(12, 30\)"),
        (
            arrays_of(test_inputs=np.zeros((6, 5, 5, 1), np.uint8)),
            r"test_inputs: expected examples of \(6, 5, 1\) as in train_inputs, got \(5, 5, 1\)",
        ),
        (arrays_of(test_labels=None), r"mine.npz: lacks test_labels; it has train_inputs, train_l"),
        (
            arrays_of(test_labels=None, test_lables=np.zeros(6, int)),
            "lacks test_labels; .*; did you mean 'test_labels'",
        ),
        (arrays_of(weights=np.ones(12)), "mine.npz: has weights too; leave out what is not used"),
        (
            numbers_of(train_targets=np.full((12, 2), np.nan)),
            r"train_targets\[0, 0\]: found nan, must be a finite number; 24 of 24 are not",
        ),
        (numbers_of(train_targets=np.zeros(12)), r"train_targets: expected floats \(n, outputs\)"),
        (numbers_of(train_inputs=np.zeros((11, 4))), "train_targets: expected 11, one for each of"),
        (
            numbers_of(test_targets=np.zeros((6, 3))),
            r"test_targets: expected examples of \(2,\) as in train_targets, got \(3,\)",
        ),
    ],
)
def test_what_does_not_fit_is_named(prepared, arrays, complaint):
    with pytest.raises(UserError, match=complaint):
        prepared(arrays)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    missing = tmp_path / "none.npz"
    with pytest.raises(UserError, match=f"{missing}: cannot be read"):
        prepare(Request("arrays", "file", None, None, file=missing))
    text = tmp_path / "text.npz"
    text.write_text("no archive")
    with pytest.raises(UserError, match=f"{text}: is no .npz file; numpy.savez"):
        prepare(Request("arrays", "file", None, None, file=text))
    objects = tmp_path / "objects.npz"
    np.savez(objects, train_inputs=np.array([{}], object))
    with pytest.raises(UserError, match=f"{objects}: is no .npz file of plain arrays"):
        prepare(Request("arrays", "file", None, None, file=objects))


@pytest.fixture
def tfds_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 9, 3)])
def test_a_set_of_tfds_needs_no_code(tfds_folder, shape):
    splits = {"train": labelled(8, shape), "test": labelled(5, shape)}
    write_prepared(tfds_folder, "shapes", splits, classes=4)
    arrays, attributes = prepare(Request("tfds:shapes", "tfds", 6, None))
    np.testing.assert_array_equal(arrays["train_inputs"], splits["train"][0][:6])
    np.testing.assert_array_equal(arrays["test_labels"], splits["test"][1])
    assert attributes["origin"] == "TFDS shapes 1.0.0"
    assert attributes["name"] == "tfds:shapes"
    # Not one more than the largest label, which is 2.
    assert number_of_classes(TaskData(arrays, attributes, "")) == 4


def test_a_set_without_a_test_split_is_tested_on_its_validation_split(tfds_folder):
    splits = {"train": labelled(8), "validation": labelled(5)}
    write_prepared(tfds_folder, "shapes", splits)
    arrays, _ = prepare(Request("tfds:shapes", "tfds", None, None))
    np.testing.assert_array_equal(arrays["test_inputs"], splits["validation"][0])


@pytest.mark.parametrize(
    ("name", "splits", "options", "complaint"),
    [
        (
            "tfds:shaeps",
            {"train": labelled(4), "test": labelled(4)},
            {},
            "has no data set 'shaeps'; did you mean 'shapes.*Prepared in .*: shapes; the others",
        ),
        (
            "tfds:shapes",
            {"train": labelled(4)},
            {},
            "lacks the split test or validation; it has tr",
        ),
        (
            "tfds:shapes",
            {"train": labelled(4), "test": labelled(4)},
            {"label": "class"},
            "split train: has no field label, .* its fields are",
        ),
        (
            "tfds:shapes",
            {"train": labelled(4), "test": (labelled(4)[0], np.full(4, -1))},
            {},
            r"test_labels\[0\]: the label is -1",
        ),
    ],
    ids=["misspelt", "split", "field", "unlabelled"],
)
def test_a_set_of_tfds_that_cannot_serve_is_named(tfds_folder, name, splits, options, complaint):
    write_prepared(tfds_folder, "shapes", splits, **options)
    with pytest.raises(UserError, match=complaint):
        prepare(Request(name, "tfds", None, None))

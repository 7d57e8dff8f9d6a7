"""Data sets by name: cut, checked, and read as TensorFlow Datasets prepares them."""

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import prepare_data
from samedge.base.errors import UserError
from samedge.data import tfds as prepared
from samedge.data.file import read_data
from samedge.data.prepare import DATASETS, Examples, Request, images, prepare, text_by_lines


def own_set(monkeypatch, examples):
    monkeypatch.setitem(DATASETS._entries, "own", lambda request: examples)


def own_images(train=6, test=4):
    return {
        "train_inputs": np.arange(train * 12, dtype=np.uint8).reshape(train, 2, 2, 3),
        "train_labels": np.arange(train),
        "test_inputs": np.arange(test * 12, dtype=np.uint8).reshape(test, 2, 2, 3),
        "test_labels": np.arange(test),
    }


def test_a_users_own_set_is_one_function_and_is_cut_from_the_start(monkeypatch, tmp_path):
    own_set(monkeypatch, images(own_images(), description="my dots", origin="me"))
    path = tmp_path / "own.npz"
    arguments = ["--dataset", "own", "--source", "sample", "--output", str(path)]
    prepare_data.main([*arguments, "--train-examples", "5", "--test-examples", "all"])
    data = read_data(path)
    np.testing.assert_array_equal(data.arrays["train_labels"], np.arange(5))
    np.testing.assert_array_equal(data.arrays["test_labels"], np.arange(4))
    assert data.attributes == {
        "name": "own",
        "kind": "images",
        "source": "sample",
        "stand_in": False,
        "description": "5 training images of my dots",
        "origin": "me",
        "classes": 6,
    }


@pytest.mark.parametrize(
    ("largest", "declared", "classes"), [(9, None, None), (4, 10, None), (4, None, 5), (19, 25, 25)]
)
def test_the_classes_are_those_declared_or_as_many_as_the_largest_label_says(
    monkeypatch, largest, declared, classes
):
    """Of the whole set, be it cut to less; ten are not written, as in earlier files."""
    arrays = own_images(20, 20) | {"test_labels": np.minimum(np.arange(20), largest)}
    arrays["train_labels"] = np.zeros(20, int)
    own_set(monkeypatch, images(arrays, description="", origin="", classes=declared))
    _, attributes = prepare(Request("own", "sample", 2, 2))
    assert attributes.get("classes") == classes


@pytest.mark.parametrize(
    ("labels", "declared", "message"),
    [
        ([0, 1, 2, 10, 4, 11], 10, r"train_labels\[3\]: the label is 10, and the 10 classes have"),
        ([0, 1, -1, 3, 4, 5], None, r"train_labels\[2\]: the label is -1, and the 6 classes have"),
        ([0, 1, -1, 3, 4, -9], 6, "the labels 0 to 5; 2 of 6 labels are no class"),
    ],
)
def test_a_label_that_is_no_class_is_named_with_its_place(monkeypatch, labels, declared, message):
    arrays = own_images() | {"train_labels": np.array(labels)}
    own_set(monkeypatch, images(arrays, description="", origin="", classes=declared))
    with pytest.raises(UserError, match=f"data set 'own', .*{message}"):
        prepare(Request("own", "sample", 2, 2))


def test_a_set_too_small_says_what_was_asked_and_what_there_is(monkeypatch):
    own_set(monkeypatch, images(own_images(), description="", origin=""))
    with pytest.raises(UserError, match=r"'own' .*train_examples: 7 asked for, but only 6 are"):
        prepare(Request("own", "sample", 7, None))
    with pytest.raises(UserError, match=r"test_examples: 1,000 asked for, but only 4 are"):
        prepare(Request("own", "sample", None, 1000))
    with pytest.raises(UserError, match="train_examples: 0 is not a positive number"):
        prepare(Request("own", "sample", 0, None))


def test_an_empty_split_is_refused(monkeypatch):
    text = text_by_lines(b"one line\n", description="", origin="")
    own_set(monkeypatch, text)
    with pytest.raises(UserError, match="train_examples: the data set has none"):
        prepare(Request("own", "sample", None, None))


def test_unknown_names_name_the_nearest():
    with pytest.raises(UserError, match="unknown data set 'mnits'; did you mean 'mnist'"):
        prepare(Request("mnits", "sample", None, None))
    with pytest.raises(UserError, match="unknown source 'web'"):
        prepare(Request("mnist", "web", None, None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_inputs": np.zeros((6, 2, 2, 3))}, "train_inputs: expected uint8"),
        ({"test_inputs": np.zeros((4, 12), np.uint8)}, "test_inputs: expected uint8"),
        ({"train_labels": np.zeros(5, int)}, r"train_labels: expected integers \(6,\)"),
        ({"test_labels": np.zeros(4)}, "test_labels: expected integers"),
    ],
)
def test_arrays_that_do_not_fit_together_are_named(monkeypatch, change, message):
    own_set(monkeypatch, Examples("images", own_images() | change, "", ""))
    with pytest.raises(UserError, match=f"'own', {message}"):
        prepare(Request("own", "sample", None, None))


def test_a_text_is_split_by_lines_and_cut_by_characters(monkeypatch):
    lines = [f"line {number}\n".encode() for number in range(7)]
    text = text_by_lines(b"".join(lines), description="lines", origin="", test_lines=2)
    own_set(monkeypatch, text)
    whole, attributes = prepare(Request("own", "sample", None, None))
    assert whole["train_text"].tobytes() == b"".join(lines[:5])
    assert whole["test_text"].tobytes() == b"".join(lines[5:])
    assert attributes["description"] == "35 training characters of lines"
    cut, _ = prepare(Request("own", "sample", 10, 3))
    assert cut["train_text"].tobytes() == b"line 0\nlin"
    assert cut["test_text"].tobytes() == b"lin"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nbé\nc\nd\n".encode(), r"train text, line 2, column 2: 'é' \(U\+00E9\)"),
        ("a\nb\n€\nd\n".encode(), r"test text, line 1, column 1: '€' \(U\+20AC\)"),
        (b"a\nb\0\nc\nd\n", r"train text, line 2, column 2: NUL"),
        (b"a\nb\nc\nd\xff\n", r"test text, line 2, column 2: the byte 0xFF"),
    ],
)
def test_what_is_not_ascii_is_named_with_its_place(monkeypatch, text, message):
    own_set(monkeypatch, text_by_lines(text, description="", origin="", test_lines=2))
    with pytest.raises(UserError, match=message):
        prepare(Request("own", "sample", None, None))


# The whole of tiny_shakespeare.
TINY_SHAKESPEARE = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


class Decoding:
    """A split that notes which examples are decoded."""

    def __init__(self, examples):
        self.examples = examples
        self.decoded = []

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        example = self.examples[index]
        self.decoded.append(index)
        return example


def prepared_set(monkeypatch, name, **splits):
    data = prepared.Prepared(name, Path("data"), "1.0.0", splits)
    monkeypatch.setattr(prepared, "open_splits", lambda *args: data)


def example(value, **fields):
    return {"image": np.full((2, 2, 1), value, np.uint8), "label": value} | fields


def test_mnist_keeps_the_order_of_its_files_and_decodes_what_is_asked_for(monkeypatch):
    train, test = (Decoding([example(value) for value in (7, 3, 9, 1)]) for _ in range(2))
    prepared_set(monkeypatch, "mnist", train=train, test=test)
    arrays, attributes = prepare(Request("mnist", "tfds", 2, 3))
    assert arrays["train_labels"].tolist() == [7, 3]
    assert arrays["test_inputs"][:, 0, 0, 0].tolist() == [7, 3, 9]
    assert (train.decoded, test.decoded) == ([0, 1], [0, 1, 2])
    assert attributes["description"].endswith("(TFDS mnist 1.0.0, in the order of its files)")
    with pytest.raises(UserError, match="train_examples: 5 asked for, but only 4 are available"):
        prepare(Request("mnist", "tfds", 5, 3))


def test_cifar10_is_taken_in_the_original_order(monkeypatch):
    ids = [7, 3, 9, 0]
    train, test = (
        [example(value, id=f"{split}_{value:05d}".encode()) for value in ids]
        for split in ("train", "test")
    )
    prepared_set(monkeypatch, "cifar10", train=train, test=test)
    arrays, _ = prepare(Request("cifar10", "tfds", 3, None))
    assert arrays["train_labels"].tolist() == [0, 3, 7]
    assert arrays["test_inputs"][:, 0, 0, 0].tolist() == [0, 3, 7, 9]


def test_tiny_shakespeare_is_joined_and_split_by_lines(monkeypatch):
    lines = [f"{number}\n".encode() for number in range(10_003)]
    text = b"".join(lines)
    cuts = {"train": text[:11], "validation": text[11:40], "test": text[40:]}
    splits = {split: [{"text": part}] for split, part in cuts.items()}
    prepared_set(monkeypatch, "tiny_shakespeare", **splits)
    arrays, _ = prepare(Request("tiny_shakespeare", "tfds", None, None))
    assert arrays["train_text"].tobytes() == b"".join(lines[:3])
    assert arrays["test_text"].tobytes() == b"".join(lines[3:])


def test_the_folder_is_that_of_the_variable_or_the_default_of_tfds(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", "some/folder")
    assert prepared.data_dir() == tmp_path / "some" / "folder"
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert prepared.data_dir() == tmp_path / "tensorflow_datasets"


@pytest.fixture
def no_prepared_data(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    return tmp_path


def pretend_tensorflow(monkeypatch, installed):
    find_spec = importlib.util.find_spec

    def find(name, *args):
        if name == "tensorflow":
            return SimpleNamespace() if installed else None
        return find_spec(name, *args)

    monkeypatch.setattr(importlib.util, "find_spec", find)


def test_a_set_that_is_not_prepared_names_the_folder_and_the_ways_out(
    no_prepared_data, monkeypatch
):
    pretend_tensorflow(monkeypatch, installed=False)
    with pytest.raises(UserError) as caught:
        prepare(Request("tiny_shakespeare", "tfds", None, None))
    message = str(caught.value)
    for part in (
        "'tiny_shakespeare'",
        str(no_prepared_data),
        "TensorFlow",
        "TFDS_DATA_DIR",
        "--sdm conda",
        "source: sample",
    ):
        assert part in message


def test_a_download_that_fails_says_why_and_the_ways_out(no_prepared_data, monkeypatch):
    import tensorflow_datasets as tfds

    pretend_tensorflow(monkeypatch, installed=True)
    formats = []

    def fail(self, *, file_format):
        formats.append(file_format)
        raise ConnectionError("no route to the data host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(UserError) as caught:
        prepare(Request("mnist", "tfds", None, None))
    message = str(caught.value)
    assert "could not download and prepare the data set 'mnist'" in message
    assert str(no_prepared_data) in message
    assert "ConnectionError: no route to the data host" in message
    assert "source: sample" in message
    assert formats == ["array_record"]


def test_without_the_package_the_error_says_where_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match="needs the package tensorflow-datasets"):
        prepare(Request("mnist", "tfds", None, None))


def test_importing_the_sources_imports_neither_tfds_nor_jax(repository):
    code = (
        "import sys; sys.path.insert(0, 'workflow/scripts'); import samedge.data.prepare; "
        "print(sorted({'jax', 'tensorflow', 'tensorflow_datasets', 'PIL'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.fixture
def real_data(tfds_data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_data_dir))
    return tfds_data_dir


@pytest.mark.usefixtures("real_data")
def test_real_tiny_shakespeare_is_the_known_text_split_at_30000_lines():
    arrays, attributes = prepare(Request("tiny_shakespeare", "tfds", None, None))
    train, test = arrays["train_text"].tobytes(), arrays["test_text"].tobytes()
    assert hashlib.sha256(train + test).hexdigest() == TINY_SHAKESPEARE
    assert (train.count(b"\n"), test.count(b"\n")) == (30_000, 10_000)
    assert attributes["stand_in"] is False


@pytest.mark.usefixtures("real_data")
def test_real_cifar10_starts_as_the_original_does():
    arrays, attributes = prepare(Request("cifar10", "tfds", 10, 10))
    # The first labels of the original training set: frog, truck, truck, deer, automobile, …
    assert arrays["train_labels"].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert arrays["train_inputs"].shape == (10, 32, 32, 3)
    assert attributes["description"] == (
        "10 training images of CIFAR-10 (TFDS cifar10 3.0.2, in the original order)"
    )


@pytest.mark.usefixtures("real_data")
def test_real_mnist_is_read_without_tensorflow():
    arrays, _ = prepare(Request("mnist", "tfds", 500, 100))
    assert arrays["train_inputs"].shape == (500, 28, 28, 1)
    assert set(arrays["train_labels"].tolist()) == set(range(10))
    assert "tensorflow" not in sys.modules


def test_damaged_files_are_named(real_data, tmp_path, monkeypatch):
    for source in (real_data / "tiny_shakespeare").rglob("*"):
        if source.is_file():
            copy = tmp_path / source.relative_to(real_data)
            copy.parent.mkdir(parents=True, exist_ok=True)
            content = source.read_bytes()
            copy.write_bytes(content[: len(content) // 2] if "-train." in copy.name else content)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match=r"the split train of the data set 'tiny_shakespeare' in"):
        prepare(Request("tiny_shakespeare", "tfds", None, None))

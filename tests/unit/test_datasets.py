"""The data file and what training makes of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.base.errors import UserError
from samedge.base.files import checksum
from samedge.data.file import TaskData, read_data, write_data
from samedge.tasks.inputs import Minibatches, character_windows, image_arrays

ATTRIBUTES = {
    "name": "dots",
    "kind": "images",
    "source": "sample",
    "stand_in": True,
    "description": "5 training images of dots",
    "origin": "this test",
}


def dots(examples=5, test=3):
    rng = np.random.default_rng(0)
    return {
        "train_inputs": rng.integers(0, 256, (examples, 4, 4, 3), dtype=np.uint8),
        "train_labels": rng.integers(0, 10, examples, dtype=np.uint8),
        "test_inputs": rng.integers(0, 256, (test, 4, 4, 3), dtype=np.uint8),
        "test_labels": rng.integers(0, 10, test, dtype=np.uint8),
    }


def test_a_data_file_returns_what_was_written(tmp_path):
    arrays = dots()
    written = write_data(tmp_path / "new folder" / "dots.npz", arrays, ATTRIBUTES)
    data = read_data(tmp_path / "new folder" / "dots.npz")
    assert data.checksum == written
    assert data.attributes == ATTRIBUTES
    assert data.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(data.arrays[name], array, strict=True)


def test_equal_contents_give_equal_bytes_and_nothing_else_in_the_folder(tmp_path):
    write_data(tmp_path / "a.npz", dots(), ATTRIBUTES)
    write_data(tmp_path / "b.npz", dots(), ATTRIBUTES)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "b.npz"}


def test_a_failed_write_leaves_the_old_file_and_no_partial_one(tmp_path, monkeypatch):
    path = tmp_path / "dots.npz"
    written = write_data(path, dots(), ATTRIBUTES)

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="no space"):
        write_data(path, dots(6), ATTRIBUTES)
    assert read_data(path).checksum == written
    assert list(tmp_path.iterdir()) == [path]


def test_the_checksum_sees_names_types_shapes_contents_and_attributes():
    arrays = dots()
    flipped = arrays["train_inputs"].copy()
    flipped[0, 0, 0, 0] ^= 1
    labels = arrays["train_labels"]
    variants = [
        (arrays, ATTRIBUTES),
        (arrays | {"train_inputs": flipped}, ATTRIBUTES),
        (arrays | {"train_inputs": arrays["train_inputs"].reshape(5, 2, 8, 3)}, ATTRIBUTES),
        (arrays | {"train_labels": labels.view(np.int8)}, ATTRIBUTES),
        ({name: a for name, a in arrays.items() if name != "train_labels"}, ATTRIBUTES),
        (arrays | {"more": labels}, ATTRIBUTES),
        (arrays, ATTRIBUTES | {"stand_in": False}),
    ]
    assert len({checksum(*variant) for variant in variants}) == len(variants)
    assert checksum(dict(reversed(arrays.items())), ATTRIBUTES) == checksum(arrays, ATTRIBUTES)


def test_a_missing_file_names_the_rule_that_writes_it(tmp_path):
    with pytest.raises(UserError, match=r"dots\.npz is missing; the rule prepare_data"):
        read_data(tmp_path / "dots.npz")


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "flipped", "other archive"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "dots.npz"
    write_data(path, dots(), ATTRIBUTES)
    content = bytearray(path.read_bytes())
    match damage:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("step,loss\n")
        case "flipped":
            content[200] ^= 0xFF
            path.write_bytes(content)
        case "other archive":
            np.savez(path, numbers=np.arange(3))
    with pytest.raises(UserError, match=r"dots\.npz is damaged"):
        read_data(path)


def test_contents_that_do_not_fit_the_stated_checksum_are_refused(tmp_path):
    path = tmp_path / "dots.npz"
    write_data(path, dots(), ATTRIBUTES)
    with np.load(path) as file:
        entries = {name: file[name] for name in file.files}
    entries["train_labels"] = entries["train_labels"] + np.uint8(1)
    np.savez(path, **entries)
    with pytest.raises(UserError, match="damaged: its contents have the SHA-256"):
        read_data(path)


def test_images_are_scaled_by_256_and_centred_by_the_mean_training_image():
    arrays = dots(examples=8, test=8)
    centred = image_arrays(TaskData(arrays, ATTRIBUTES, ""))
    mean = arrays["train_inputs"].astype(np.float64).mean(axis=0) / 256
    for split in ("train", "test"):
        inputs = centred[f"{split}_inputs"]
        assert inputs.dtype == np.float32
        np.testing.assert_allclose(
            (inputs + mean) * 256, arrays[f"{split}_inputs"], rtol=0, atol=1e-4
        )
        np.testing.assert_array_equal(centred[f"{split}_labels"], arrays[f"{split}_labels"])
        assert centred[f"{split}_labels"].dtype == np.int32
    np.testing.assert_allclose(centred["train_inputs"].mean(axis=0), 0, atol=1e-7)


@given(text=st.binary(min_size=1, max_size=200), length=st.integers(1, 20))
def test_windows_are_the_text_and_targets_the_next_characters(text, length):
    codes = np.frombuffer(text, np.uint8) % 127 + 1
    inputs, targets = character_windows(codes, length)
    assert inputs.shape == targets.shape == (-(-len(codes) // (length + 1)), length)
    assert inputs.dtype == targets.dtype == np.int32
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    joined = np.concatenate([inputs, targets[:, -1:]], axis=1).ravel()
    np.testing.assert_array_equal(joined[: len(codes)], codes)
    np.testing.assert_array_equal(joined[len(codes) :], 0)


def test_windows_of_a_known_text():
    inputs, targets = character_windows(np.frombuffer(b"abcdefg", np.uint8), 3)
    assert inputs.tolist() == [[97, 98, 99], [101, 102, 103]]
    assert targets.tolist() == [[98, 99, 100], [102, 103, 0]]


@given(
    examples=st.integers(1, 30),
    batch=st.integers(1, 30),
    seed=st.integers(0, 2**32),
    first=st.integers(0, 100),
    count=st.integers(0, 40),
)
def test_minibatches_are_a_function_of_seed_and_step(examples, batch, seed, first, count):
    batch = min(batch, examples)
    batches = Minibatches(examples, batch, seed)
    found = batches.indices(first, count)
    assert found.shape == (count, batch)
    assert found.dtype == np.int32
    for row, step in zip(found, range(first, first + count), strict=True):
        epoch, position = divmod(step, examples // batch)
        order = np.random.default_rng([seed, epoch]).permutation(examples)
        np.testing.assert_array_equal(row, order[position * batch : (position + 1) * batch])


def test_an_epoch_visits_each_example_at_most_once_and_epochs_differ():
    batches = Minibatches(examples=103, batch_size=10, seed=3)
    epoch = batches.indices(0, batches.per_epoch)
    assert batches.per_epoch == 10
    assert len(np.unique(epoch)) == epoch.size == 100
    assert not np.array_equal(epoch, batches.indices(batches.per_epoch, batches.per_epoch))
    assert not np.array_equal(epoch, Minibatches(103, 10, seed=4).indices(0, 10))


@pytest.mark.parametrize("batch", [0, -1, 11])
def test_a_batch_size_that_does_not_fit_is_refused(batch):
    with pytest.raises(UserError, match=rf"batch_size: {batch} is not between 1 and 10"):
        Minibatches(examples=10, batch_size=batch, seed=0)

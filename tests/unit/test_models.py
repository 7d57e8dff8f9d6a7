"""Models and losses: the paper's shapes, initialisers and normalisations."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.convolutions import native_convolution
from samedge.tasks import layers
from samedge.tasks.inputs import PADDING
from samedge.tasks.loss import LOSSES
from samedge.tasks.model import MODELS
from samedge.tasks.models import cnn, vit

pytestmark = pytest.mark.usefixtures("strict_jax")


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def shapes(model, inputs):
    return jax.eval_shape(model.init, jax.random.key(0), inputs)


def test_mlp_at_paper_size():
    params = shapes(MODELS["mlp"](10, depth=4, width=1000), jnp.zeros((1, 28, 28, 1)))
    layers = [(784, 1000), (1000, 1000), (1000, 1000), (1000, 10)]
    assert count(params) == sum(rows * columns + columns for rows, columns in layers)


def test_cnn_at_paper_size():
    params = shapes(MODELS["cnn"](10, blocks=2, channels=16), jnp.zeros((1, 32, 32, 3)))
    convolutions = (9 * 3 * 16 + 16) + (9 * 16 * 32 + 32)
    norms = 2 * 16 + 2 * 32
    assert count(params) == convolutions + norms + (8 * 8 * 32 * 10 + 10)


def test_transformer_at_paper_size():
    model = MODELS["transformer"](
        128,
        layers=6,
        heads=8,
        key_size=32,
        model_size=128,
        sequence_length=64,
        widening_factor=4,
    )
    params = shapes(model, jnp.zeros((1, 64), jnp.int32))
    attention = 3 * (128 * 256 + 256) + (256 * 128 + 128)
    feed_forward = (128 * 512 + 512) + (512 * 128 + 128)
    norms = 2 * 2 * 128
    ends = 128 * 128 + 64 * 128 + 2 * 128 + (128 * 128 + 128)
    assert count(params) == 6 * (attention + feed_forward + norms) + ends


def test_weights_are_glorot_normal_and_biases_zero():
    model = MODELS["mlp"](10, depth=3, width=400)
    params = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, 300)))["params"]
    for name, (fan_in, fan_out) in {"dense_0": (300, 400), "dense_1": (400, 400)}.items():
        spread = float(jnp.std(params[name]["kernel"]))
        assert spread == pytest.approx((2 / (fan_in + fan_out)) ** 0.5, rel=0.01)
        assert not params[name]["bias"].any()


def test_transformer_weights_follow_their_initialisers():
    model = MODELS["transformer"](
        128,
        layers=2,
        heads=4,
        key_size=16,
        model_size=64,
        sequence_length=32,
        widening_factor=4,
    )
    params = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, 32), jnp.int32))
    spread = float(jnp.std(params["transformer/linear"]["w"]))
    assert spread == pytest.approx((2 / 2 / 64) ** 0.5, rel=0.05)  # variance 2 / layers / fan in
    embedding = params["language_model/embed"]["embeddings"]
    assert float(jnp.max(jnp.abs(embedding))) <= 2 * 0.02 + 1e-6
    assert float(jnp.std(embedding)) == pytest.approx(0.02 * 0.88, rel=0.03)


@pytest.fixture(scope="module")
def small_transformer():
    model = MODELS["transformer"](
        128,
        layers=1,
        heads=2,
        key_size=4,
        model_size=8,
        sequence_length=12,
        widening_factor=2,
    )
    tokens = jax.random.randint(jax.random.key(0), (2, 12), 32, 120, jnp.int32)
    return jax.jit(model.apply), jax.jit(model.init)(jax.random.key(1), tokens), tokens


def test_transformer_is_causal(small_transformer):
    apply, params, tokens = small_transformer
    changed = tokens.at[:, 7].set(33)
    before, after = apply(params, tokens), apply(params, changed)
    np.testing.assert_array_equal(before[:, :7], after[:, :7])
    assert not np.allclose(before[:, 7:], after[:, 7:])


def test_padding_is_not_attended_to(small_transformer):
    apply, params, tokens = small_transformer
    padded = tokens.at[:, 5:].set(PADDING)
    other = padded.at[0].set(tokens[0].at[5:].set(PADDING))
    np.testing.assert_array_equal(apply(params, padded), apply(params, other))
    np.testing.assert_allclose(
        apply(params, padded)[:, :5], apply(params, tokens)[:, :5], atol=1e-6
    )


def test_on_a_gpu_nothing_is_scattered_and_the_loss_is_the_same_function(monkeypatch):
    """A scatter whose order is fixed is a loop over its indices on a GPU, one after the other."""
    model = MODELS["transformer"](
        128, layers=1, heads=2, key_size=4, model_size=8, sequence_length=12, widening_factor=2
    )
    tokens = jax.random.randint(jax.random.key(0), (2, 12), 32, 120, jnp.int32)
    targets = jnp.roll(tokens, -1, axis=1).at[0, 9:].set(PADDING)
    params = jax.jit(model.init)(jax.random.key(1), tokens)
    direction = jax.tree.map(jnp.ones_like, params)

    def loss(params):
        return LOSSES["cross_entropy"](model.apply(params, tokens), targets)

    def all_of_it(params):
        product = jax.jvp(jax.grad(loss), (params,), (direction,))
        return loss(params), *product

    found = {}
    for platform in ("cpu", "gpu"):
        # What this machine is told of its platform; it goes on computing where it is.
        monkeypatch.setattr(jax, "default_backend", lambda platform=platform: platform)
        own = jax.jit(model.init)(jax.random.key(1), tokens)
        assert jax.tree.all(jax.tree.map(np.array_equal, own, params))
        # A function of its own each time: what is compiled is not looked up.
        found[platform] = jax.jit(lambda params: all_of_it(params))(params)
        scattered = "scatter" in str(jax.make_jaxpr(lambda params: all_of_it(params))(params))
        assert scattered == (platform == "cpu")
    for own, expected in zip(found["gpu"], found["cpu"], strict=True):
        difference = optax.tree.norm(optax.tree.sub(own, expected))
        assert difference < 1e-5 * optax.tree.norm(expected)


def test_both_convolutions_are_one_function():
    key = jax.random.key(2)
    images = jax.random.normal(key, (3, 8, 6, 4), jnp.float32)
    kernel = jax.random.normal(key, (3, 3, 4, 5), jnp.float32)
    np.testing.assert_allclose(
        layers.shifted_convolution(images, kernel),
        native_convolution(images, kernel),
        atol=1e-4,
    )


def test_pooling_takes_the_maximum_of_each_square():
    images = jax.random.normal(jax.random.key(4), (2, 6, 4, 3), jnp.float32)
    expected = np.asarray(images).reshape(2, 3, 2, 2, 2, 3).max(axis=(2, 4))
    np.testing.assert_array_equal(cnn._pool(images), expected)


RESNET = {"stages": 2, "blocks": 1, "channels": 8}
VIT = {"patch": 4, "layers": 2, "heads": 2, "model_size": 8, "widening_factor": 2}


def made(name, **settings):
    """Return a model, its parameters for a few images, and these."""
    images = jax.random.normal(jax.random.key(3), (6, 8, 8, 3), jnp.float32)
    model = MODELS[name](10, **settings)
    return model, jax.jit(model.init)(jax.random.key(0), images[:1]), images


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "settings"),
    [("resnet", RESNET | {"norm": "group"}), ("resnet", RESNET | {"norm": "batch"}), ("vit", VIT)],
)
def test_image_models_compute_in_the_type_of_their_parameters(name, settings, dtype):
    with jax.enable_x64(dtype is np.float64):
        model, params, images = made(name, **settings)
        params, images = jax.tree.map(lambda x: np.asarray(x, dtype), (params, images))
        outputs = jax.jit(model.apply)(params, images)
        assert (outputs.shape, outputs.dtype) == ((6, 10), dtype)
        assert np.isfinite(outputs).all()


def test_a_residual_networks_norms_are_those_of_groups_or_of_the_batch():
    for norm, alone in (("group", True), ("batch", False)):
        model, params, images = made("resnet", **RESNET, norm=norm)
        whole, part = jax.jit(model.apply)(params, images), jax.jit(model.apply)(params, images[:2])
        assert np.allclose(whole[:2], part, atol=1e-5) == alone
    x = jax.random.normal(jax.random.key(5), (4, 3, 3, 8), jnp.float32) * 3 + 1

    class Norm(nn.Module):
        @nn.compact
        def __call__(self, x):
            return layers.batch_norm(x)

    found, _ = Norm().init_with_output(jax.random.key(0), x)
    expected = (x - x.mean(axis=(0, 1, 2))) / np.sqrt(x.var(axis=(0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_vision_transformer_cuts_images_into_squares():
    image = np.arange(2 * 4 * 6 * 2).reshape(2, 4, 6, 2)
    cut = vit.patches(image, 2)
    assert cut.shape == (2, 6, 8)
    np.testing.assert_array_equal(cut[1, 4].reshape(2, 2, 2), image[1, 2:4, 2:4])
    with pytest.raises(ValueError, match="3 does not divide images of 4 × 6"):
        vit.patches(image, 3)


@pytest.mark.parametrize(
    ("name", "settings", "complaint"),
    [
        ("resnet", RESNET | {"norm": "layer"}, "norm must be one of batch, group, found 'layer'"),
        ("resnet", RESNET | {"norm": "batch", "channels": 6}, "multiple of 4, found 6"),
        ("vit", VIT | {"heads": 3}, "must be a multiple of heads, found 8 and 3"),
        ("vit", VIT | {"dropout": 1.0}, "dropout must be at least 0 and below 1, found 1.0"),
    ],
)
def test_settings_that_a_model_cannot_have_are_named(name, settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        MODELS[name](10, **settings)


def test_squared_error_is_a_mean_over_examples_and_outputs():
    outputs = jnp.asarray([[1.0, 2.0], [0.0, 0.0], [3.0, 1.0]])
    targets = jnp.asarray([[0.0, 2.0], [0.0, 2.0], [3.0, 0.0]])
    assert float(LOSSES["squared_error"](outputs, targets)) == pytest.approx((1 + 4 + 1) / 6)


def test_cross_entropy_of_images_is_a_mean_over_them():
    logits = jnp.log(jnp.asarray([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]))
    targets = jax.nn.one_hot(jnp.asarray([1, 2]), 3)
    expected = -(np.log(0.25) + np.log(0.7)) / 2
    assert float(LOSSES["cross_entropy"](logits, targets)) == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_is_a_mean_over_unmasked_characters():
    logits = jnp.log(jnp.asarray([[[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]]))
    targets = jnp.asarray([[1, 2, PADDING]], jnp.int32)
    expected = -(np.log(0.25) + np.log(0.7)) / 2
    assert float(LOSSES["cross_entropy"](logits, targets)) == pytest.approx(expected, rel=1e-6)

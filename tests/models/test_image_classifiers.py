"""What holds of every convolutional classifier: published sizes, bad input, features, types, randomness."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError, from_json, to_json
from genlab.models.alexnet import AlexNet
from genlab.models.densenet import DENSENET_SIZES, DenseNet
from genlab.models.googlenet import GoogLeNet
from genlab.models.mlp import MLP
from genlab.models.resnet import RESNET_SIZES, ResNet
from genlab.models.vgg import VGG, VGG_SIZES

SMALL = {
    "resnet": ResNet(num_classes=5, image_size=8, depths=(1, 1), widths=(4, 8), stem="small"),
    "mlp": MLP(num_classes=5, image_size=8, widths=(8,), dropout=0.5),
    "alexnet": AlexNet(num_classes=5, image_size=16, stem="small", hidden_widths=(8,)),
    "vgg": VGG(num_classes=5, image_size=8, depths=(1, 1), widths=(4, 8), hidden_widths=(8,)),
    "googlenet": GoogLeNet(num_classes=5, image_size=8, stem="small"),
    "densenet": DenseNet(num_classes=5, image_size=8, depths=(1, 1), growth=4, stem="small"),
}
# The counts in torchvision's documentation of each model; Caffe's GoogLeNet; the MLP by hand.
PUBLISHED = {
    "resnet 18": (RESNET_SIZES["18"], 11_689_512),
    "resnet 34": (RESNET_SIZES["34"], 21_797_672),
    "resnet 50": (RESNET_SIZES["50"], 25_557_032),
    "resnet 101": (RESNET_SIZES["101"], 44_549_160),
    "resnet 152": (RESNET_SIZES["152"], 60_192_808),
    "alexnet": (AlexNet(), 61_100_840),
    "vgg 11": (VGG_SIZES["11"], 132_863_336),
    "vgg 13": (VGG_SIZES["13"], 133_047_848),
    "vgg 16": (VGG_SIZES["16"], 138_357_544),
    "vgg 19": (VGG_SIZES["19"], 143_667_240),
    "googlenet": (GoogLeNet(), 6_998_552),
    "densenet 121": (DENSENET_SIZES["121"], 7_978_856),
    "densenet 169": (DENSENET_SIZES["169"], 14_149_480),
    "densenet 201": (DENSENET_SIZES["201"], 20_013_928),
    "densenet 161": (DENSENET_SIZES["161"], 28_681_000),
    "mlp": (MLP(num_classes=10, image_size=28, channels=1, widths=(512, 256)), 785 * 512 + 513 * 256 + 257 * 10),
}


def images_of(model, batch=3, size=None, seed=0):
    """Random images [batch, size, size, channels]."""
    size = size or model.image_size
    return np.random.default_rng(seed).normal(size=(batch, size, size, model.channels)).astype(np.float32)


@functools.cache
def shapes_of(model):
    """Shapes of a model's variables."""
    return jax.eval_shape(model.init, jax.random.key(0), images_of(model, batch=1))


@functools.cache
def random_variables(model):
    """Variables drawn by NumPy: an initialiser takes a second to compile."""
    rng = np.random.default_rng(5)

    def draw(shape):
        fan_in = np.prod(shape.shape[:-1]) if len(shape.shape) > 1 else 4
        return np.abs(rng.normal(0, fan_in**-0.5, shape.shape)).astype(np.float32)

    return jax.tree.map(draw, shapes_of(model))


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_have_the_published_numbers_of_parameters(name):
    model, published = PUBLISHED[name]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes_of(model)["params"])) == published


BAD_INPUT = [
    (ResNet(image_size=16), "images of 16 pixels are too small for ResNet with the imagenet stem: "
     "image_size must be at least 32"),
    (AlexNet(image_size=62), "images of 62 pixels are too small for AlexNet with the imagenet stem: "
     "image_size must be at least 63"),
    (VGG(image_size=31), "images of 31 pixels are too small for VGG: image_size must be at least 32"),
    (GoogLeNet(image_size=7, stem="small"), "image_size must be at least 8"),
    (DenseNet(image_size=7, stem="small"), "image_size must be at least 8"),
    (MLP(image_size=0), "image_size must be at least 1"),
    (ResNet(depths=(1, 2), widths=(4,)), r"one depth and one width, not depths \(1, 2\), widths \(4,\)"),
    (ResNet(depths=(), widths=()), "one depth and one width"),
    (ResNet(depths=(0,), widths=(4,)), "depths and widths must be at least 1"),
    (ResNet(norm="layernorm"), 'norm must be "batchnorm" or "groupnorm", not "layernorm"'),
    (ResNet(norm="groupnorm", depths=(1,), widths=(48,)), "GroupNorm has 32 groups"),
    (VGG(depths=(1,), widths=(4, 4)), "one depth and one width"),
    (VGG(hidden_widths=()), "at least one hidden layer"),
    (MLP(widths=()), "at least one hidden layer"),
    (DenseNet(depths=()), "at least one block"),
    (DenseNet(growth=0), "growth must be at least 1, not 0"),
    *((dataclasses.replace(SMALL[name], dropout=1.0), r"dropout must be in \[0, 1\), not 1.0")
      for name in ("mlp", "alexnet", "vgg", "googlenet")),
    *((dataclasses.replace(SMALL[name], stem="large"), 'stem must be "imagenet" or "small", not "large"')
      for name in ("resnet", "alexnet", "googlenet", "densenet")),
    (VGG(dtype="float16"), 'dtype must be "float32" or "bfloat16", not "float16"'),
    (VGG(num_classes=0), "num_classes must be at least 1, not 0"),
    (VGG(channels=0), "channels must be at least 1, not 0"),
]


@pytest.mark.parametrize(("model", "message"), BAD_INPUT)
def test_bad_hyper_parameters_are_one_line_errors(model, message):
    with pytest.raises(ConfigError, match=message) as error:
        model.validate()
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=message):
        model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))


@pytest.mark.parametrize("name", SMALL)
def test_grey_or_too_small_images_are_one_line_errors(name):
    model, variables = SMALL[name], random_variables(SMALL[name])
    grey = np.zeros((2, model.image_size, model.image_size, 1), np.float32)
    with pytest.raises(ConfigError, match=r"takes images \[B, I, J, 3\], not \[2, .*, 1\]: set the model's channels"):
        model.apply(variables, grey)
    small = images_of(model, size=model.smallest_image_size - 1) if name != "mlp" else images_of(model, size=7)
    if small.size:
        with pytest.raises(ConfigError, match="pixels"):
            model.apply(variables, small)


@pytest.mark.parametrize("model", [
    ResNet(), AlexNet(), AlexNet(stem="small"), VGG(), GoogLeNet(), GoogLeNet(stem="small"), DenseNet()], ids=repr)
def test_the_smallest_image_leaves_at_least_one_pixel_everywhere(model):
    model = dataclasses.replace(model, image_size=model.smallest_image_size)
    _, kept = jax.eval_shape(lambda: model.init_with_output(
        jax.random.key(0), images_of(model), capture_intermediates=True,
        mutable=["params", "batch_stats", "intermediates"]))
    assert min(leaf.size for leaf in jax.tree.leaves(kept["intermediates"])) > 0


@pytest.mark.parametrize("name", SMALL)
def test_the_head_reads_the_features(name):
    model = SMALL[name]
    variables, images = random_variables(model), images_of(model)

    @jax.jit
    def run(variables, images):
        features = model.apply(variables, images, method="features")
        return features, *model.apply(variables, images, mutable="intermediates")

    features, logits, kept = run(variables, images)
    head = variables["params"]["head"]
    assert features.dtype == logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, features @ head["kernel"] + head["bias"], rtol=1e-5)
    assert all(len(leaf) == 3 for leaf in jax.tree.leaves(kept["intermediates"]))


@pytest.mark.parametrize("name", [name for name in SMALL if name != "googlenet"])  # It compiles for seconds.
def test_bfloat16_computes_near_float32_and_keeps_float32_parameters_and_logits(name):
    model = dataclasses.replace(SMALL[name], dtype="bfloat16")
    variables, images = random_variables(model), images_of(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes_of(model))} == {jnp.dtype("float32")}
    logits, kept = jax.jit(functools.partial(model.apply, mutable="intermediates"))(variables, images)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {jnp.dtype("bfloat16")}
    exact = jax.jit(SMALL[name].apply)(variables, images)
    assert 1e-5 < np.abs(logits - exact).max() / np.abs(exact).max() < 0.05


@pytest.mark.parametrize("name", ["mlp", "alexnet", "vgg", "googlenet"])
def test_dropout_is_random_by_key_in_training_only(name):
    model = SMALL[name]
    variables, images = random_variables(model), images_of(model)
    train = jax.jit(lambda key: model.apply(variables, images, train=True, rngs={"dropout": key}))
    one, again, two = (train(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - two).max() > 1e-3
    assert "random_bits" not in str(jax.make_jaxpr(model.apply)(variables, images))


@pytest.mark.parametrize("name", SMALL)
def test_a_model_is_a_config(name):
    assert from_json(to_json(SMALL[name])) == SMALL[name]

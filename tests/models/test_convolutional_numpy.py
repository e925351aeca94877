"""Convolutional models against independent NumPy: logits on random parameters and running statistics to 1e-4."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.models.alexnet import AlexNet
from genlab.models.densenet import DenseNet
from genlab.models.googlenet import GoogLeNet
from genlab.models.mlp import MLP
from genlab.models.resnet import ResNet
from genlab.models.vgg import VGG
from tests.models import numpy_convolution

SMALL = {"num_classes": 5, "depths": (1, 2)}
BIT = {"widths": (32, 64), "preactivation": True, "norm": "groupnorm", "weight_standardization": True}
DENSE = {"num_classes": 5, "depths": (2, 1), "growth": 4, "stem_width": 6}
# Odd sizes too: there a pixel's difference in padding shows.
CASES = {
    "resnet basic": ("resnet", ResNet(**SMALL, widths=(4, 6), image_size=17)),
    "resnet bottleneck": ("resnet", ResNet(**SMALL, widths=(4, 6), image_size=18, bottleneck=True)),
    "resnet cifar": ("resnet", ResNet(num_classes=5, depths=(1, 1, 1), widths=(4, 6, 8), image_size=8, stem="small")),
    "resnet bit": ("resnet", ResNet(**SMALL, **BIT, image_size=16, bottleneck=True)),
    "resnet preactivation": ("resnet", ResNet(
        **SMALL, widths=(4, 6), image_size=8, stem="small", preactivation=True, channels=1)),
    "mlp": ("mlp", MLP(num_classes=5, image_size=8, channels=1, widths=(7, 6))),
    "alexnet": ("alexnet", AlexNet(num_classes=5, image_size=70, hidden_widths=(8, 7))),
    "alexnet small": ("alexnet", AlexNet(num_classes=5, image_size=16, hidden_widths=(8,), stem="small")),
    "vgg": ("vgg", VGG(num_classes=5, image_size=12, depths=(1, 2), widths=(4, 5), hidden_widths=(8, 7))),
    "vgg large": ("vgg", VGG(num_classes=5, image_size=36, depths=(1, 1), widths=(4, 5), hidden_widths=(8,))),
    "googlenet": ("googlenet", GoogLeNet(num_classes=5, image_size=48)),
    "googlenet small": ("googlenet", GoogLeNet(num_classes=5, image_size=9, stem="small")),
    "densenet": ("densenet", DenseNet(**DENSE, image_size=18)),
    "densenet small": ("densenet", DenseNet(**DENSE, image_size=8, stem="small")),
}


def random_variables(model, rng):
    """Variables of a model with nothing at 0 or 1, in a scale that neither grows nor dies with depth."""

    def draw(path, shape):
        kind = path[-1].key
        if kind == "kernel":
            return rng.normal(0, np.sqrt(2 / np.prod(shape.shape[:-1])), shape.shape)
        if kind in ("scale", "var"):
            return rng.uniform(0.5, 1.5, shape.shape)
        return rng.normal(0, 0.3, shape.shape)

    images = jnp.zeros((1, model.image_size, model.image_size, model.channels))
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return jax.tree.map(lambda x: x.astype(np.float32), jax.tree.map_with_path(draw, shapes))


@pytest.mark.parametrize("case", CASES)
def test_logits_agree_with_numpy(case):
    name, model = CASES[case]
    rng = np.random.default_rng(0)
    variables = random_variables(model, rng)
    images = rng.normal(size=(2, model.image_size, model.image_size, model.channels)).astype(np.float32)
    logits = jax.jit(model.apply)(variables, images)
    exact = jax.tree.map(lambda x: x.astype(np.float64), variables)
    reference = getattr(numpy_convolution, name)
    expected = reference(exact["params"], exact.get("batch_stats", {}), images.astype(np.float64), model)
    assert logits.shape == (2, 5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-2 * np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())

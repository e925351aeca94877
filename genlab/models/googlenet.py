"""GoogLeNet, the first Inception network (Szegedy et al. 2014, arXiv 1409.4842)."""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models import ops
from genlab.models.convolutional import Conv, check_stem, local_response_norm, max_pool, mean_pool
from genlab.models.image_classifier import ImageClassifier

# Table 1: channels of 1x1, of 3x3 and its reduction, of 5x5 and its reduction, and of the pool's projection.
_STAGES = {
    "3": {"a": (64, 96, 128, 16, 32, 32), "b": (128, 128, 192, 32, 96, 64)},
    "4": {
        "a": (192, 96, 208, 16, 48, 64),
        "b": (160, 112, 224, 24, 64, 64),
        "c": (128, 128, 256, 24, 64, 64),
        "d": (112, 144, 288, 32, 64, 64),
        "e": (256, 160, 320, 32, 128, 128),
    },
    "5": {"a": (256, 160, 320, 32, 128, 128), "b": (384, 192, 384, 48, 128, 128)},
}


class GoogLeNet(ImageClassifier):
    """Nine Inception modules, images [B, I, J, C] to logits; 6,998,552 parameters.

    As in the paper, with local response normalisation and without BatchNorm, but without the auxiliary
    classifiers, which He initialisation makes needless. Pools hang over the far edge, as in Caffe.
    `stem`: "imagenet" is 7x7 of stride 2 and a pool of stride 2, "small" 3x3 of stride 1 without a pool.
    """

    stem: Literal["imagenet", "small"] = "imagenet"
    dropout: float = 0.4

    @property
    def smallest_image_size(self) -> int:
        """Pools make ceil((I - 1) / 2) of I pixels: 8 of 3 leave one, 16 of 4, which 31 are by the first layer."""
        return 31 if self.stem == "imagenet" else 8

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        check_stem(self.stem)
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), not {self.dropout}")
        super().validate()

    @nn.compact
    def features(self, images_BIJC, train: bool = False):
        """Returns the mean of the last feature map over the image, float32 [B, 1024]."""
        x_BIJC = self.compute_input(images_BIJC)
        if self.stem == "imagenet":
            x_BIJC = max_pool(_conv(64, 7, "conv_1", x_BIJC, stride=2), ceil=True)
        else:
            x_BIJC = _conv(64, 3, "conv_1", x_BIJC)
        x_BIJC = _conv(64, 1, "conv_2_reduction", local_response_norm(x_BIJC))
        x_BIJC = local_response_norm(_conv(192, 3, "conv_2", x_BIJC))
        self.sow("intermediates", "stem_BIJC", x_BIJC)
        for stage, modules in _STAGES.items():
            x_BIJC = max_pool(x_BIJC, ceil=True)
            for letter, widths in modules.items():
                x_BIJC = Inception(widths, name=f"inception_{stage}{letter}")(x_BIJC)
        x_BD = mean_pool(x_BIJC)
        return ops.dropout(x_BD, self.dropout, self.make_rng("dropout")) if train and self.dropout else x_BD


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a pool side by side (figure 2b); `widths` as in table 1."""

    widths: tuple[int, int, int, int, int, int]

    @nn.compact
    def __call__(self, x_BIJC):
        """Returns [B, I, J, F] for x [B, I, J, C], F the sum of the four branches' channels."""
        one, three_reduction, three, five_reduction, five, projection = self.widths
        branches = (
            _conv(one, 1, "conv_1x1", x_BIJC),
            _conv(three, 3, "conv_3x3", _conv(three_reduction, 1, "conv_3x3_reduction", x_BIJC)),
            _conv(five, 5, "conv_5x5", _conv(five_reduction, 1, "conv_5x5_reduction", x_BIJC)),
            _conv(projection, 1, "pool_projection", max_pool(x_BIJC, 3, 1, padding=1)),
        )
        x_BIJC = jnp.concatenate(branches, axis=-1)
        self.sow("intermediates", "output_BIJC", x_BIJC)
        return x_BIJC


def _conv(features, kernel_size, name, x_BIJC, stride=1):
    return nn.relu(Conv(features, kernel_size, stride, use_bias=True, name=name)(x_BIJC))

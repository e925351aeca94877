"""AlexNet in its one-tower form (Krizhevsky 2014, arXiv 1404.5997)."""

from typing import Literal

from flax import linen as nn

from genlab.models.convolutional import Conv, adaptive_mean_pool, check_stem, max_pool
from genlab.models.image_classifier import ImageClassifier
from genlab.models.mlp import HiddenLayers, check_hidden_layers


class AlexNet(ImageClassifier):
    """Five convolutions, then hidden layers of `hidden_widths` (Krizhevsky et al. 2012): images to logits.

    The one-tower network of Krizhevsky 2014 as torchvision has it (61,100,840 parameters): convolutions of
    64, 192, 384, 256, 256 channels, without the two GPUs' towers (60,965,224) and the local response
    normalisation of 2012. The last feature map is pooled to 6x6, so that images of other sizes fit the
    same hidden layers. `stem` "imagenet" is 11x11 of stride 4, "small" 3x3 of stride 1. He initialisation
    replaces the paper's standard deviation of .01.
    """

    stem: Literal["imagenet", "small"] = "imagenet"
    hidden_widths: tuple[int, ...] = (4_096, 4_096)
    dropout: float = 0.5

    @property
    def smallest_image_size(self) -> int:
        """Three unpadded pools of 3, stride 2, leave one pixel of 15; 11x11, stride 4, makes 15 of 63."""
        return 63 if self.stem == "imagenet" else 15

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        check_stem(self.stem)
        check_hidden_layers(self.hidden_widths, self.dropout)
        super().validate()

    @nn.compact
    def features(self, images_BIJC, train: bool = False):
        """Returns the last hidden layer, float32 [B, D]."""
        x_BIJC = self.compute_input(images_BIJC)

        def layer(i, x_BIJC, *shape):
            x_BIJC = nn.relu(Conv(*shape, use_bias=True, name=f"conv_{i}")(x_BIJC))
            self.sow("intermediates", f"conv_{i}_BIJC", x_BIJC)
            return x_BIJC

        stem = (11, 4, 2) if self.stem == "imagenet" else (3, 1, 1)  # kernel, stride, padding
        x_BIJC = max_pool(layer(1, x_BIJC, 64, *stem))
        x_BIJC = max_pool(layer(2, x_BIJC, 192, 5))
        for i, width in ((3, 384), (4, 256), (5, 256)):
            x_BIJC = layer(i, x_BIJC, width)
        x_BIJC = adaptive_mean_pool(max_pool(x_BIJC), 6)
        return HiddenLayers(self.hidden_widths, self.dropout, train, name="hidden_layers")(x_BIJC)

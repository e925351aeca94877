"""DenseNet: every layer reads all layers of its block (Huang et al. 2016, arXiv 1608.06993)."""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models.convolutional import BatchNorm, Conv, check_stem, max_pool, mean_pool
from genlab.models.image_classifier import ImageClassifier


class DenseNet(ImageClassifier):
    """DenseNet-BC, images [B, I, J, C] to logits.

    `depths` are dense layers a block, each of which adds `growth` channels through a 1x1 convolution of 4
    `growth`; transitions between blocks halve channels and image. `stem`: "imagenet" is 7x7 of stride 2
    and a max pool of stride 2, "small" 3x3 of stride 1 without a pool; both have `stem_width` channels.
    """

    depths: tuple[int, ...] = (6, 12, 24, 16)
    growth: int = 32
    stem_width: int = 64
    stem: Literal["imagenet", "small"] = "imagenet"

    @property
    def smallest_image_size(self) -> int:
        """The product of all strides: one pixel is left to pool."""
        return (4 if self.stem == "imagenet" else 1) * 2 ** (len(self.depths) - 1)

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        if min(self.depths, default=0) < 1:
            raise ConfigError(f"depths must name at least one block of at least 1 layer, not {self.depths}")
        for name in ("growth", "stem_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        check_stem(self.stem)
        super().validate()

    @nn.compact
    def features(self, images_BIJC, train: bool = False):
        """Returns the mean of the last feature map over the image, float32 [B, D]."""

        def norm_relu(x_BIJC, name):
            return nn.relu(BatchNorm(train, name=name)(x_BIJC))

        x_BIJC = self.compute_input(images_BIJC)
        kernel_size, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x_BIJC = norm_relu(Conv(self.stem_width, kernel_size, stride, name="stem")(x_BIJC), "stem_norm")
        if self.stem == "imagenet":
            x_BIJC = max_pool(x_BIJC, 3, 2, padding=1)
        self.sow("intermediates", "stem_BIJC", x_BIJC)
        for block, depth in enumerate(self.depths, start=1):
            if block > 1:
                x_BIJC = norm_relu(x_BIJC, f"transition_{block - 1}_norm")
                x_BIJC = Conv(x_BIJC.shape[-1] // 2, 1, name=f"transition_{block - 1}")(x_BIJC)
                x_BIJC = nn.avg_pool(x_BIJC, (2, 2), (2, 2))
            for i in range(1, depth + 1):
                h_BIJC = norm_relu(x_BIJC, f"block_{block}_layer_{i}_norm_1")
                h_BIJC = Conv(4 * self.growth, 1, name=f"block_{block}_layer_{i}_conv_1")(h_BIJC)
                h_BIJC = norm_relu(h_BIJC, f"block_{block}_layer_{i}_norm_2")
                h_BIJC = Conv(self.growth, 3, name=f"block_{block}_layer_{i}_conv_2")(h_BIJC)
                x_BIJC = jnp.concatenate([x_BIJC, h_BIJC], axis=-1)
            self.sow("intermediates", f"block_{block}_BIJC", x_BIJC)
        return mean_pool(norm_relu(x_BIJC, "final_norm"))


# Named sizes: table 1 of the paper, and its DenseNet-161 of growth 48.
DENSENET_SIZES: dict[str, DenseNet] = {
    "121": DenseNet(depths=(6, 12, 24, 16)),
    "169": DenseNet(depths=(6, 12, 32, 32)),
    "201": DenseNet(depths=(6, 12, 48, 32)),
    "161": DenseNet(depths=(6, 12, 36, 24), growth=48, stem_width=96),
}

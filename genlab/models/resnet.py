"""ResNet: v1.5 with BatchNorm, the CIFAR ResNets, and BiT's pre-activation form with GroupNorm."""

import functools
from collections.abc import Callable
from typing import Literal

from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models.convolutional import HE_FAN_OUT, BatchNorm, Conv, GroupNorm, check_stem, max_pool, mean_pool
from genlab.models.image_classifier import ImageClassifier

_GROUPS = 32  # Wu and He 2018 (arXiv 1803.08494), section 3.1; BiT too.


class ResNet(ImageClassifier):
    """A residual network (He et al. 2015, arXiv 1512.03385), images [B, I, J, C] to logits.

    `depths` and `widths` are residual blocks a stage and the width of their 3x3 convolutions; every
    stage after the first halves the image. `bottleneck` blocks are 1x1, 3x3, 1x1 with an output of 4
    widths and the stride in the 3x3 ("v1.5"); the others two 3x3. Where shapes differ the shortcut is a
    1x1 convolution (option B of the paper). `stem`: "imagenet" is 7x7 of stride 2 and a max pool of
    stride 2, "small" 3x3 of stride 1 without a pool. `preactivation` puts norm and ReLU before the
    convolutions (He et al. 2016, arXiv 1603.05027). `weight_standardization` is Conv's `standardize`.
    `zero_init_residual` starts the last norm's scale of each branch at 0, so that blocks start as
    the identity (Goyal et al. 2017, section 5.1); pre-activation branches end without a norm.
    """

    depths: tuple[int, ...] = (2, 2, 2, 2)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    bottleneck: bool = False
    stem: Literal["imagenet", "small"] = "imagenet"
    preactivation: bool = False
    norm: Literal["batchnorm", "groupnorm"] = "batchnorm"
    weight_standardization: bool = False
    zero_init_residual: bool = True

    @property
    def smallest_image_size(self) -> int:
        """The product of all strides: one pixel is left to pool."""
        return (4 if self.stem == "imagenet" else 1) * 2 ** (len(self.depths) - 1)

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        if not self.depths or len(self.depths) != len(self.widths):
            raise ConfigError(f"a stage has one depth and one width, not depths {self.depths}, widths {self.widths}")
        if min(self.depths + self.widths) < 1:
            raise ConfigError(f"depths and widths must be at least 1, not {self.depths} and {self.widths}")
        check_stem(self.stem)
        if self.norm not in ("batchnorm", "groupnorm"):
            raise ConfigError(f'norm must be "batchnorm" or "groupnorm", not "{self.norm}"')
        if self.norm == "groupnorm" and any(width % _GROUPS for width in self.widths):
            raise ConfigError(f"GroupNorm has {_GROUPS} groups, which must divide all widths, not {self.widths}")
        super().validate()

    @nn.compact
    def features(self, images_BIJC, train: bool = False):
        """Returns the mean of the last feature map over the image, float32 [B, D]."""
        conv = functools.partial(Conv, standardize=self.weight_standardization, kernel_init=HE_FAN_OUT)
        norm = functools.partial(*(BatchNorm, train) if self.norm == "batchnorm" else (GroupNorm, _GROUPS))
        Block = PreactivationBlock if self.preactivation else ResidualBlock

        x_BIJC = self.compute_input(images_BIJC)
        kernel_size, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x_BIJC = conv(self.widths[0], kernel_size, stride, name="stem")(x_BIJC)
        if not self.preactivation:
            x_BIJC = nn.relu(norm(name="stem_norm")(x_BIJC))
        if self.stem == "imagenet":
            x_BIJC = max_pool(x_BIJC, 3, 2, padding=1)
        self.sow("intermediates", "stem_BIJC", x_BIJC)

        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            for i in range(depth):
                layers = block_layers(width, stride=2 if stage > 1 and i == 0 else 1, bottleneck=self.bottleneck)
                block = Block(layers, conv, norm, self.zero_init_residual, name=f"stage_{stage}_block_{i + 1}")
                x_BIJC = block(x_BIJC)
        if self.preactivation:
            x_BIJC = nn.relu(norm(name="final_norm")(x_BIJC))
        return mean_pool(x_BIJC)


def block_layers(width: int, stride: int, bottleneck: bool) -> tuple[tuple[int, int, int], ...]:
    """Returns (features, kernel size, stride) of each convolution in a residual branch."""
    if bottleneck:
        return ((width, 1, 1), (width, 3, stride), (4 * width, 1, 1))
    return ((width, 3, stride), (width, 3, 1))


class ResidualBlock(nn.Module):
    """relu(shortcut(x) + branch(x)), a norm after each convolution (He et al. 2015, figures 2 and 5)."""

    layers: tuple[tuple[int, int, int], ...]
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    zero_init: bool

    @nn.compact
    def __call__(self, x_BIJC):
        """Returns [B, I / stride, J / stride, features of the last layer]."""
        h_BIJC = x_BIJC
        for i, layer in enumerate(self.layers, start=1):
            h_BIJC = self.conv(*layer, name=f"conv_{i}")(h_BIJC)
            if i < len(self.layers):
                h_BIJC = nn.relu(self.norm(name=f"norm_{i}")(h_BIJC))
        scale_init = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        h_BIJC = self.norm(name=f"norm_{i}", scale_init=scale_init)(h_BIJC)
        if h_BIJC.shape != x_BIJC.shape:
            x_BIJC = self.conv(h_BIJC.shape[-1], 1, stride_of(self.layers), name="projection")(x_BIJC)
            x_BIJC = self.norm(name="projection_norm")(x_BIJC)
        x_BIJC = nn.relu(x_BIJC + h_BIJC)
        self.sow("intermediates", "output_BIJC", x_BIJC)
        return x_BIJC


class PreactivationBlock(nn.Module):
    """shortcut(x) + branch(x), norm and ReLU before each convolution (He et al. 2016, figure 4e).

    A projection reads what the branch's first convolution reads. `zero_init` finds no last norm.
    """

    layers: tuple[tuple[int, int, int], ...]
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    zero_init: bool

    @nn.compact
    def __call__(self, x_BIJC):
        """Returns [B, I / stride, J / stride, features of the last layer]."""
        h_BIJC = first_BIJC = nn.relu(self.norm(name="norm_1")(x_BIJC))
        for i, layer in enumerate(self.layers, start=1):
            if i > 1:
                h_BIJC = nn.relu(self.norm(name=f"norm_{i}")(h_BIJC))
            h_BIJC = self.conv(*layer, name=f"conv_{i}")(h_BIJC)
        if h_BIJC.shape != x_BIJC.shape:
            x_BIJC = self.conv(h_BIJC.shape[-1], 1, stride_of(self.layers), name="projection")(first_BIJC)
        x_BIJC = x_BIJC + h_BIJC
        self.sow("intermediates", "output_BIJC", x_BIJC)
        return x_BIJC


def stride_of(layers: tuple[tuple[int, int, int], ...]) -> int:
    """Returns the stride of a branch: that of the one layer that has any."""
    return max(stride for _, _, stride in layers)


_bottleneck = functools.partial(ResNet, bottleneck=True)


def _bit(depths: tuple[int, ...], factor: int) -> ResNet:
    """Returns BiT's ResNet-v2, `factor` times as wide (Kolesnikov et al. 2019, arXiv 1912.11370, section 3.1)."""
    return _bottleneck(
        depths=depths,
        widths=tuple(factor * width for width in (64, 128, 256, 512)),
        preactivation=True,
        norm="groupnorm",
        weight_standardization=True,
        zero_head=True,
    )


def _cifar(layers: int) -> ResNet:
    """Returns a ResNet for 32x32 images (He et al. 2015, section 4.2, but with projection shortcuts)."""
    depth = (layers - 2) // 6
    return ResNet(num_classes=10, image_size=32, depths=(depth,) * 3, widths=(16, 32, 64), stem="small")


# Named sizes: He et al. 2015, table 1; BiT; the CIFAR networks by their number of layers, 6n + 2.
RESNET_SIZES: dict[str, ResNet] = {
    "18": ResNet(depths=(2, 2, 2, 2)),
    "34": ResNet(depths=(3, 4, 6, 3)),
    "50": _bottleneck(depths=(3, 4, 6, 3)),
    "101": _bottleneck(depths=(3, 4, 23, 3)),
    "152": _bottleneck(depths=(3, 8, 36, 3)),
    "bit-50x1": _bit((3, 4, 6, 3), 1),
    "bit-50x3": _bit((3, 4, 6, 3), 3),
    "bit-101x1": _bit((3, 4, 23, 3), 1),
    "bit-101x3": _bit((3, 4, 23, 3), 3),
    "bit-152x4": _bit((3, 8, 36, 3), 4),
    **{f"cifar-{layers}": _cifar(layers) for layers in (20, 32, 44, 56, 110)},
}

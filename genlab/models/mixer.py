"""MLP-Mixer: an image classifier of nothing but MLPs over patches and over channels (Tolstikhin et al. 2021)."""

import dataclasses
from typing import NamedTuple

from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models import images, ops
from genlab.models.image_classifier import ImageClassifier
from genlab.models.layers import Dense, Mlp, Norm
from genlab.models.transformer import depth_rates


class MixerBlock(nn.Module):
    """x + token_mlp(norm(x)^T)^T, x + channel_mlp(norm(x)) (arXiv 2105.01601, equation 1)."""

    token_mlp_width: int
    channel_mlp_width: int
    output_scale: float

    @nn.compact
    def __call__(self, x_BPD, drop_rate=None):
        """Returns x [B, P, D]; `drop_rate` is this block's stochastic depth, where it is random."""

        def mlp(width, name):
            return Mlp(width, use_bias=True, output_scale=self.output_scale, name=name)

        def drop(h):
            return h if drop_rate is None else ops.stochastic_depth(h, drop_rate, self.make_rng("dropout"))

        # Turned over and back, so that patches are the last axis of plain matmuls. Other forms, value and
        # gradient on 2 CPU cores at B 128, P 64, D 128, F 256: 74 ms this, 82 as [P, B D], 94 to 177 einsums.
        h_BDP = Norm(use_bias=True, name="token_norm")(x_BPD).swapaxes(1, 2)
        h_BPD = mlp(self.token_mlp_width, "token_mlp")(h_BDP).swapaxes(1, 2)
        x_BPD = x_BPD + drop(h_BPD)
        h_BPD = mlp(self.channel_mlp_width, "channel_mlp")(Norm(use_bias=True, name="channel_norm")(x_BPD))
        x_BPD = x_BPD + drop(h_BPD)
        self.sow("intermediates", "output_BPD", x_BPD)
        return x_BPD


class Mixer(ImageClassifier):
    """Images [B, I, J, C] to patches to logits [B, num_classes], by the mean of the patches.

    `token_mlp_width` and `channel_mlp_width` are D_S and D_C of the paper; None means width / 2 and
    4 width, its proportions. `stochastic_depth` is the last block's rate (transformer.depth_rates).
    A trained Mixer fits one number of patches only.
    """

    patch_size: int = 16
    width: int = 512
    depth: int = 8
    token_mlp_width: int | None = None
    channel_mlp_width: int | None = None
    stochastic_depth: float = 0.0
    zero_head: bool = True

    @property
    def smallest_image_size(self) -> int:
        """The smallest image side, in pixels: one patch."""
        return self.patch_size

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        images.check_patches(self.image_size, self.patch_size)
        super().validate()
        for name in ("width", "depth", "token_mlp_width", "channel_mlp_width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}")
        if not 0 <= self.stochastic_depth < 1:
            raise ConfigError(f"stochastic_depth must be in [0, 1), not {self.stochastic_depth}")

    def setup(self):
        """Declares the parameters; raises ConfigError if the hyper-parameters do not fit together."""
        super().setup()
        self.patch_embedding = Dense(self.width, use_bias=True)
        widths = (self.token_mlp_width or max(self.width // 2, 1), self.channel_mlp_width or 4 * self.width)
        # Each of the 2 depth MLPs adds to the residual stream's variance.
        self.block = [MixerBlock(*widths, output_scale=(2 * self.depth) ** -0.5) for _ in range(self.depth)]
        self.final_norm = Norm(use_bias=True)

    def features(self, images_BIJC, train: bool = False):
        """Returns the mean of the final patches, which the head reads, float32 [B, D].

        Raises ConfigError if the images are not of image_size and channels.
        """
        images.check_images(images_BIJC, self.image_size, self.channels)
        x_BPD = self.patch_embedding(images.patchify(images_BIJC, self.patch_size).astype(self.dtype))
        rates = depth_rates(self.stochastic_depth, self.depth)
        for block, rate in zip(self.block, rates, strict=True):
            x_BPD = block(x_BPD, rate if train and self.stochastic_depth else None)
        x_BD = images.mean_pool(self.final_norm(x_BPD))
        self.sow("intermediates", "features_BD", x_BD)
        return x_BD


class MixerSize(NamedTuple):
    """The shape of a Mixer."""

    width: int
    depth: int
    token_mlp_width: int
    channel_mlp_width: int


# Tolstikhin et al. 2021 (arXiv 2105.01601), table 1: widths do not depend on the patch size.
MIXER_SIZES: dict[str, MixerSize] = {
    "S": MixerSize(512, 8, 256, 2_048),
    "B": MixerSize(768, 12, 384, 3_072),
    "L": MixerSize(1_024, 24, 512, 4_096),
    "H": MixerSize(1_280, 32, 640, 5_120),
}


def mixer(name: str, **fields) -> Mixer:
    """Returns the Mixer that a size and patch size name, as "B/16"; `fields` are of Mixer, over those of the size.

    Raises ConfigError, in one line, for an unknown name.
    """
    size, patch_size = images.size_and_patch(name, MIXER_SIZES, "Mixer")
    return dataclasses.replace(Mixer(patch_size=patch_size, **size._asdict()), **fields)

"""Masked autoencoder: a ViT sees a few patches, a light decoder predicts the others (He et al. 2021)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models import images
from genlab.models.layers import Dense
from genlab.models.transformer import Transformer, TransformerConfig
from genlab.models.vit import ViT
from genlab.randomness import per_example


class MAE(nn.Module):
    """Images [B, I, J, C] to predicted pixels of every patch, from a random share 1 - `mask_ratio` of them.

    Section 3 of arXiv 2111.06377: the encoder reads the visible patches only; the decoder, a stack of
    its own width and depth with fixed positions, reads their tokens and a learned one in every masked
    place. The encoder's parameters are those of a ViT without its head, under "encoder".
    """

    encoder: ViT
    mask_ratio: float = 0.75
    decoder_width: int = 128
    decoder_depth: int = 2
    decoder_num_heads: int = 4

    @property
    def image_size(self) -> int:
        """Side of the images, in pixels."""
        return self.encoder.image_size

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.encoder.channels

    @property
    def dtype(self) -> str:
        """The type of the computation."""
        return self.encoder.dtype

    @property
    def num_patches(self) -> int:
        """Patches P of an image."""
        return self.encoder.grid[0] * self.encoder.grid[1]

    @property
    def num_visible(self) -> int:
        """How many patches the encoder sees: P (1 - mask_ratio), rounded."""
        return round(self.num_patches * (1 - self.mask_ratio))

    def decoder_config(self) -> TransformerConfig:
        """Returns the hyper-parameters of the decoder's stack."""
        return TransformerConfig(
            width=self.decoder_width,
            depth=self.decoder_depth,
            num_heads=self.decoder_num_heads,
            mlp_width=4 * self.decoder_width,
            use_bias=True,
            attention_block=self.encoder.attention_block,
            scan_layers=self.encoder.scan_layers,
            remat=self.encoder.remat,
            dtype=self.encoder.dtype,
        )

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        self.encoder.validate()
        if self.encoder.pooling == "attention":
            raise ConfigError('masked patches do not train attention pooling: encoder.pooling must be "class_token" or '
                              '"mean"')
        if not 0 < self.num_visible < self.num_patches:
            raise ConfigError(f"mask_ratio {self.mask_ratio} of {self.num_patches} patches leaves {self.num_visible} "
                              "visible: some must be, and some not")
        if self.decoder_width % 4:
            raise ConfigError(f"sincos2d positions are four quarters: decoder_width {self.decoder_width} is not "
                              "divisible by 4")
        self.decoder_config().validate()

    def setup(self):
        """Declares the parameters; raises ConfigError if the hyper-parameters do not fit together."""
        self.validate()
        self.decoder_embedding = Dense(self.decoder_width, use_bias=True)
        self.mask_token = self.param("mask_token", nn.initializers.normal(0.02), (1, self.decoder_width), jnp.float32)
        self.decoder = Transformer(self.decoder_config())
        self.pixels = Dense(self.encoder.patch_size**2 * self.channels, use_bias=True)

    def __call__(self, images_BIJC, train: bool = False):
        """Returns (predictions float32 [B, P, p p C], mask bool [B, P], True where a patch was not seen).

        Patches and their pixels are in the order of images.patchify. Which are masked is drawn from the
        rng "mask", for each example on its own. Raises ConfigError if the images are not of image_size
        and channels.
        """
        B, P, K = images_BIJC.shape[0], self.num_patches, self.num_visible
        order_BP = jnp.argsort(per_example(jax.random.uniform, self.make_rng("mask"), (B, P)), axis=-1)
        rank_BP = jnp.argsort(order_BP, axis=-1)  # of each patch in that order: the first K are visible
        x_BTD = self.encoder.encode(self.encoder.embed(images_BIJC, order_BP[:, :K]), train)

        x_BTD = self.decoder_embedding(x_BTD)
        prefix, visible_BKD = jnp.split(x_BTD, [self.encoder.prefix_tokens], axis=1)
        masked = jnp.broadcast_to(self.mask_token.astype(x_BTD.dtype), (B, P - K, self.decoder_width))
        x_BPD = images.take_patches(jnp.concatenate([visible_BKD, masked], axis=1), rank_BP)
        x_BPD = x_BPD + images.sincos_positions(self.encoder.grid, self.decoder_width).astype(x_BPD.dtype)
        x_BTD = self.decoder(jnp.concatenate([prefix, x_BPD], axis=1), train=train)
        predictions = self.pixels(x_BTD[:, self.encoder.prefix_tokens:]).astype(jnp.float32)
        return predictions, rank_BP >= K

    def features(self, images_BIJC, train: bool = False):
        """Returns the encoder's representation of whole images, float32 [B, D]."""
        return self.encoder.features(images_BIJC, train)

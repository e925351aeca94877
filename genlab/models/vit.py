"""Vision Transformer: an encoder over image patches (Dosovitskiy et al. 2020), with later choices."""

import dataclasses
from typing import Literal, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models import images, ops
from genlab.models.attention import Attention
from genlab.models.image_classifier import ImageClassifier
from genlab.models.layers import Dense, Mlp, Norm
from genlab.models.transformer import Remat, Transformer, TransformerConfig

# Tokens, registers, positions and probes start small, as in GPT. Not at 0: a class token of zeros
# without a position would meet a LayerNorm whose derivative there is 1 / sqrt(epsilon) = 1,000.
_TABLE_INIT = nn.initializers.normal(0.02)


class AttentionPooling(nn.Module):
    """Pools tokens with one learned query: x = attention(probe, tokens), then x + mlp(norm(x)).

    The multi-head attention pooling of Zhai et al. 2021 (arXiv 2106.04560, section 3.2).
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, x_BTD):
        """Returns [B, D] for tokens [B, T, D]."""
        c = self.config
        probe_1D = self.param("probe", _TABLE_INIT, (1, c.width), jnp.float32)
        probe_B1D = jnp.broadcast_to(probe_1D.astype(x_BTD.dtype), (x_BTD.shape[0], 1, c.width))
        attention = Attention(c.num_heads, use_bias=c.use_bias, initialization=c.initialization, name="attention")
        x_B1D, _ = attention(probe_B1D, x_BTD)
        h_B1D = Norm(c.norm, c.use_bias, c.norm_epsilon, name="mlp_norm")(x_B1D)
        mlp = Mlp(c.mlp_width, c.mlp, c.use_bias, c.initialization, name="mlp")
        return (x_B1D + mlp(h_B1D))[:, 0]


class ViT(ImageClassifier):
    """Images [B, I, J, C] to tokens to logits [B, num_classes].

    Its tokens are [class token,] registers, patches row by row. `mlp_width` None means 4 width.
    `positions` are a learned table (with a row for the class token) or fixed sines and cosines
    (images.sincos_positions). `pooling` reads the class token, the mean of the patches, or
    attention over them (AttentionPooling). `registers` are learned tokens that nothing reads
    (Darcet et al. 2023, arXiv 2309.16588). The remaining choices are those of TransformerConfig and
    of ImageClassifier; the head starts at zero, as for fine-tuning in section 3.2 of the paper.
    """

    patch_size: int = 16
    width: int = 192
    depth: int = 12
    num_heads: int = 3
    mlp_width: int | None = None
    positions: Literal["learned", "sincos2d"] = "learned"
    pooling: Literal["class_token", "mean", "attention"] = "class_token"
    registers: int = 0
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    attention_block: int | None = None
    scan_layers: bool = False
    remat: Remat = "none"
    zero_head: bool = True

    @property
    def smallest_image_size(self) -> int:
        """The smallest image side, in pixels: one patch."""
        return self.patch_size

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return (self.image_size // self.patch_size,) * 2

    @property
    def prefix_tokens(self) -> int:
        """How many tokens stand before the patches: the class token and the registers."""
        return int(self.pooling == "class_token") + self.registers

    def stack_config(self) -> TransformerConfig:
        """Returns the hyper-parameters of this model's Transformer stack."""
        return TransformerConfig(
            width=self.width,
            depth=self.depth,
            num_heads=self.num_heads,
            mlp_width=4 * self.width if self.mlp_width is None else self.mlp_width,
            use_bias=True,
            dropout=self.dropout,
            stochastic_depth=self.stochastic_depth,
            attention_block=self.attention_block,
            scan_layers=self.scan_layers,
            remat=self.remat,
            dtype=self.dtype,
        )

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        images.check_patches(self.image_size, self.patch_size)
        super().validate()
        if self.positions not in ("learned", "sincos2d"):
            raise ConfigError(f'positions must be "learned" or "sincos2d", not "{self.positions}"')
        if self.pooling not in ("class_token", "mean", "attention"):
            raise ConfigError(f'pooling must be "class_token", "mean" or "attention", not "{self.pooling}"')
        if self.registers < 0:
            raise ConfigError(f"registers must not be negative, not {self.registers}")
        if self.positions == "sincos2d" and self.width % 4:
            raise ConfigError(f"sincos2d positions are four quarters: width {self.width} is not divisible by 4")
        self.stack_config().validate()

    def setup(self):
        """Declares the parameters; raises ConfigError if the hyper-parameters do not fit together."""
        super().setup()
        c, class_token = self.stack_config(), int(self.pooling == "class_token")
        rows, columns = self.grid
        tables = {"class_token": class_token, "register_tokens": self.registers}
        if self.positions == "learned":
            tables["position_embedding"] = class_token + rows * columns
        for name, length in tables.items():
            if length:
                setattr(self, name, self.param(name, _TABLE_INIT, (length, self.width), jnp.float32))
        self.patch_embedding = Dense(self.width, use_bias=True)
        self.transformer = Transformer(c)
        if self.pooling == "attention":
            self.attention_pooling = AttentionPooling(c)

    def features(self, images_BIJC, train: bool = False):
        """Returns the pooled representation that the head reads, float32 [B, D]."""
        return self.pool(self.encode(self.embed(images_BIJC), train))

    def embed(self, images_BIJC, kept_BP=None):
        """Returns the patches as vectors with positions, [B, P, D]; of `kept`, those alone and in that order.

        `kept`: places of patches, int32 [B, P']. Raises ConfigError if the images are not of image_size
        and channels.
        """
        images.check_images(images_BIJC, self.image_size, self.channels)
        patches = images.patchify(images_BIJC, self.patch_size)
        if self.positions == "learned":
            positions_PD = self.position_embedding[int(self.pooling == "class_token"):]
        else:
            positions_PD = jnp.asarray(images.sincos_positions(self.grid, self.width))
        if kept_BP is not None:
            patches = images.take_patches(patches, kept_BP)
            positions_PD = positions_PD[kept_BP]
        return self.patch_embedding(patches.astype(self.dtype)) + positions_PD.astype(self.dtype)

    def encode(self, x_BPD, train: bool = False):
        """Returns the final tokens [B, T, D], prefix first, of embedded patches [B, P, D], all or some of them."""
        prefix = []
        if self.pooling == "class_token":
            prefix.append(self.class_token + (self.position_embedding[:1] if self.positions == "learned" else 0))
        if self.registers:
            prefix.append(self.register_tokens)
        if prefix:
            prefix_TD = jnp.concatenate(prefix).astype(x_BPD.dtype)
            prefix_BTD = jnp.broadcast_to(prefix_TD, (x_BPD.shape[0], *prefix_TD.shape))
            x_BTD = jnp.concatenate([prefix_BTD, x_BPD], axis=1)
        else:
            x_BTD = x_BPD
        if train and self.dropout:
            x_BTD = ops.dropout(x_BTD, self.dropout, self.make_rng("dropout"))
        return self.transformer(x_BTD, train=train)

    def pool(self, x_BTD):
        """Returns the representation, float32 [B, D], of final tokens [B, T, D]."""
        patches_BPD = x_BTD[:, self.prefix_tokens:]
        if self.pooling == "class_token":
            x_BD = x_BTD[:, 0]
        else:
            x_BD = images.mean_pool(patches_BPD) if self.pooling == "mean" else self.attention_pooling(patches_BPD)
        x_BD = x_BD.astype(jnp.float32)
        self.sow("intermediates", "features_BD", x_BD)
        return x_BD

    def adapt(self, params: dict, from_model: "ViT") -> dict:
        """Returns the params of another ViT with its learned positions resampled to this one's grid.

        Nothing else is changed, and fixed positions need no change. Raises ConfigError, in one line,
        where the two place their tokens in different ways.
        """
        for name in ("positions", "pooling", "width"):
            old, new = getattr(from_model, name), getattr(self, name)
            if old != new:
                raise ConfigError(f"the positions of a ViT with {name}={old} do not fit one with {name}={new}")
        if self.positions != "learned" or from_model.grid == self.grid:
            return params
        positions_TD, prefix = params["position_embedding"], int(self.pooling == "class_token")
        patches_PD = images.resample_positions(positions_TD[prefix:], from_model.grid, self.grid)
        return params | {"position_embedding": jnp.concatenate([positions_TD[:prefix], patches_PD])}


class ViTSize(NamedTuple):
    """The shape of a ViT's stack."""

    width: int
    depth: int
    num_heads: int
    mlp_width: int


# Ti, S: Touvron et al. 2020 (arXiv 2012.12877), table 1; B, L, H: Dosovitskiy et al. 2020, table 1;
# g, G: Zhai et al. 2021 (arXiv 2106.04560), table 2.
VIT_SIZES: dict[str, ViTSize] = {
    "Ti": ViTSize(192, 12, 3, 768),
    "S": ViTSize(384, 12, 6, 1_536),
    "B": ViTSize(768, 12, 12, 3_072),
    "L": ViTSize(1_024, 24, 16, 4_096),
    "H": ViTSize(1_280, 32, 16, 5_120),
    "g": ViTSize(1_408, 40, 16, 6_144),
    "G": ViTSize(1_664, 48, 16, 8_192),
}


def vit(name: str, **fields) -> ViT:
    """Returns the ViT that a size and patch size name, as "B/16"; `fields` are of ViT, over those of the size.

    Raises ConfigError, in one line, for an unknown name.
    """
    size, patch_size = images.size_and_patch(name, VIT_SIZES, "ViT")
    return dataclasses.replace(ViT(patch_size=patch_size, **size._asdict()), **fields)

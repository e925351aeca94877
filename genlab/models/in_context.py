"""A causal Transformer over the points of a function and what it says there (Garg et al. 2022)."""

import jax.numpy as jnp
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models.layers import Dense, Initialization
from genlab.models.transformer import Remat, Transformer, TransformerConfig


class InContextTransformer(nn.Module):
    """Reads x_1, y_1, x_2, y_2, ... and says at every x_k what y_k is, from the k - 1 points before it.

    Garg et al. 2022 (arXiv 2208.01066), section 3: points and targets enter through linear layers (here one for each,
    there one for both with y in the first of D channels), and a linear layer reads predictions where points stand.

    Fields:
      dimensions: D, of a point.
      points: most points of a prompt; a sequence has twice as many tokens.
      mlp_width: None means 4 width.

    The remaining choices are those of TransformerConfig.
    """

    dimensions: int = 8
    points: int = 16
    width: int = 64
    depth: int = 4
    num_heads: int = 4
    mlp_width: int | None = None
    use_bias: bool = True
    initialization: Initialization = "fan_in"
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: str = "float32"

    def stack_config(self) -> TransformerConfig:
        """Returns the hyper-parameters of this model's Transformer stack."""
        return TransformerConfig(
            width=self.width,
            depth=self.depth,
            num_heads=self.num_heads,
            mlp_width=4 * self.width if self.mlp_width is None else self.mlp_width,
            causal=True,
            use_bias=self.use_bias,
            initialization=self.initialization,
            scan_layers=self.scan_layers,
            remat=self.remat,
            dtype=self.dtype,
        )

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        for name in ("dimensions", "points"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        self.stack_config().validate()

    @nn.compact
    def __call__(self, x_BKD, y_BK):
        """Returns predictions float32 [B, K] for points [B, K, D] and targets [B, K]; the k-th does not see y_k.

        Raises ConfigError for points of other dimensions, or more than there are positions for.
        """
        self.validate()
        B, K, D = x_BKD.shape
        if self.dimensions != D or self.points < K:
            raise ConfigError(f"the model reads at most {self.points} points of {self.dimensions} dimensions, not {K} "
                              f"of {D}")
        point_BKW = Dense(self.width, self.use_bias, name="read_point")(x_BKD)
        target_BKW = Dense(self.width, self.use_bias, name="read_target")(y_BK[..., None])
        tokens_BTW = jnp.stack([point_BKW, target_BKW], axis=2).reshape(B, 2 * K, self.width)
        init = nn.initializers.normal(0.02)
        positions = self.param("position_embedding", init, (2 * self.points, self.width), jnp.float32)
        h_BTW = Transformer(self.stack_config(), name="transformer")(tokens_BTW + positions[:2 * K])
        return Dense(1, True, name="read_out")(h_BTW[:, ::2].astype(jnp.float32))[..., 0]

"""The one Transformer stack: pre-norm blocks, unrolled or scanned, with or without remat."""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from genlab.configuration import ConfigError, check_choice
from genlab.models import ops
from genlab.models.attention import Attention, KVCache, LayerCache
from genlab.models.layers import AdaptiveNorm, Initialization, Mlp, Norm
from genlab.models.placement import place

# What of a block's forward pass is kept for its backward pass, by name; the rest is computed again.
Remat = Literal["none", "dots", "dots_no_batch", "full"]
_KEPT = {
    "dots": jax.checkpoint_policies.dots_saveable,  # results of products: nothing but elementwise work comes again
    # Those of linear layers; attention, with its T x S scores of each head, comes again.
    "dots_no_batch": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,  # its input alone
}


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Everything that decides the shape and the arithmetic of a stack.

    `num_kv_heads` None means num_heads. `rotary_base` None means no rotary positions. `use_bias` is
    for linear layers and norms alike. `adaptive_norm` lets a vector of each example modulate every norm
    and gate every branch (layers.AdaptiveNorm). `initialization` is that of layers.kernel_initializer.
    `stochastic_depth` is the rate at which the last block's branches are left out of an example
    (ops.stochastic_depth); the rates of the blocks before it fall linearly to 0 at the first.
    `window` is how many positions, its own included, a query of causal self-attention sees (ops.attention_weights).
    With an `attention_block`, no more than so many keys meet as many queries at a time (blockwise_attention.py).
    `scan_layers` compiles one block and scans it over stacked parameters. `remat` says what of each block's
    activations is kept for the backward pass: all ("none" is recomputed), the results of matrix products ("dots"),
    those of linear layers ("dots_no_batch"), or its input alone ("full": all is recomputed).
    """

    width: int
    depth: int
    num_heads: int
    mlp_width: int
    num_kv_heads: int | None = None
    causal: bool = False
    window: int | None = None
    cross_attention: bool = False
    rotary_base: float | None = None
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_epsilon: float = 1e-6
    adaptive_norm: bool = False
    mlp: Literal["gelu", "swiglu"] = "gelu"
    use_bias: bool = False
    qk_norm: bool = False
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    initialization: Initialization = "fan_in"
    attention_block: int | None = None
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: str = "float32"

    @property
    def head_width(self) -> int:
        """The width K of one head."""
        return self.width // self.num_heads

    def validate(self) -> None:
        """Raises ValueError, in one line, for hyper-parameters that cannot be built."""
        kv_heads = self.num_heads if self.num_kv_heads is None else self.num_kv_heads
        for name in ("width", "depth", "num_heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.width % self.num_heads:
            raise ConfigError(
                f"width {self.width} is not divisible by num_heads {self.num_heads}: "
                f"each head needs the same number of channels"
            )
        if kv_heads < 1 or self.num_heads % kv_heads:
            raise ConfigError(
                f"num_heads {self.num_heads} is not divisible by num_kv_heads {self.num_kv_heads}: "
                f"each key-value head serves the same number of query heads"
            )
        ops.check_window(self.window, self.causal)
        if self.attention_block is not None and self.attention_block < 1:
            raise ConfigError(f"attention_block={self.attention_block} must be at least 1 position, or None for all")
        if self.rotary_base is not None and self.head_width % 2:
            raise ConfigError(
                f"rotary positions turn pairs of channels: width / num_heads must be even, "
                f"not {self.head_width}"
            )
        if self.norm not in ("layernorm", "rmsnorm"):
            raise ConfigError(f'norm must be "layernorm" or "rmsnorm", not "{self.norm}"')
        if self.mlp not in ("gelu", "swiglu"):
            raise ConfigError(f'mlp must be "gelu" or "swiglu", not "{self.mlp}"')
        if self.initialization not in ("fan_in", "gpt2"):
            raise ConfigError(
                f'initialization must be "fan_in" or "gpt2", not "{self.initialization}"'
            )
        check_choice("remat", self.remat, ("none", *_KEPT))
        for name in ("dropout", "stochastic_depth"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be in [0, 1), not {getattr(self, name)}")
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f'dtype must be "float32" or "bfloat16", not "{self.dtype}"')

    def empty_cache(self, batch_size: int, slots: int, start_B=None) -> KVCache:
        """Returns an empty cache of `slots` slots for `batch_size` rows that start at `start_B` (0)."""
        shape = (batch_size, slots, self.num_kv_heads or self.num_heads, self.head_width)
        if self.scan_layers:
            zeros = jnp.zeros((self.depth, *shape), self.dtype)
            layers = LayerCache(zeros, zeros)
        else:
            zeros = jnp.zeros(shape, self.dtype)
            layers = (LayerCache(zeros, zeros),) * self.depth
        if start_B is None:
            start_B = jnp.zeros((batch_size,), jnp.int32)
        return KVCache(layers, jnp.zeros((), jnp.int32), start_B)


class Context(NamedTuple):
    """What all blocks of one call share: masks, the source, rotary angles, the slot to write, the condition."""

    mask: jax.Array | None = None
    source_BSD: jax.Array | None = None
    source_mask: jax.Array | None = None
    angles: tuple[jax.Array, jax.Array] | None = None
    index: jax.Array | None = None
    condition_BD: jax.Array | None = None


class Block(nn.Module):
    """x + attention(norm(x)), [x + cross_attention(norm(x), source),] x + mlp(norm(x)) (pre-norm).

    With `adaptive_norm`, x + gate attention(norm(x) (1 + scale) + shift) and so on.
    """

    config: TransformerConfig
    deterministic: bool = True

    @nn.compact
    def __call__(self, x_BTD, cache, context: Context, drop_rate=None):
        """Returns (x [B, T, D], this layer's cache); `drop_rate` is this block's stochastic depth."""
        c = self.config
        # Each of the 2 depth (3 with cross attention) outputs adds to the residual stream's variance.
        output_scale = ((3 if c.cross_attention else 2) * c.depth) ** -0.5
        residual = {"initialization": c.initialization, "output_scale": output_scale}

        def norm(name, x_BTD):
            """Returns (the norm of x, the gate of the branch that reads it, or None)."""
            if c.adaptive_norm:
                return AdaptiveNorm(c.norm, c.norm_epsilon, name=name)(x_BTD, context.condition_BD)
            return Norm(c.norm, c.use_bias, c.norm_epsilon, name=name)(x_BTD), None

        def attention(name, causal, window=None):
            return Attention(
                num_heads=c.num_heads,
                num_kv_heads=c.num_kv_heads,
                causal=causal,
                window=window,
                block=c.attention_block,
                qk_norm=c.qk_norm,
                norm=c.norm,
                norm_epsilon=c.norm_epsilon,
                use_bias=c.use_bias,
                dropout=c.dropout,
                deterministic=self.deterministic,
                **residual,
                name=name,
            )

        def branch(h, gate):
            """Returns what a branch's output h adds to the residual stream."""
            if c.dropout and not self.deterministic:
                h = ops.dropout(h, c.dropout, self.make_rng("dropout"))
            if drop_rate is not None:
                h = ops.stochastic_depth(h, drop_rate, self.make_rng("dropout"))
            return h if gate is None else gate * h

        x_BTD = place(x_BTD, "BTD")
        h, gate = norm("attention_norm", x_BTD)
        h, cache = attention("attention", c.causal, c.window)(
            h,
            mask=context.mask,
            angles=context.angles,
            cache=cache,
            index=context.index,
        )
        x_BTD = x_BTD + branch(h, gate)
        if c.cross_attention:
            h, gate = norm("cross_attention_norm", x_BTD)
            h, _ = attention("cross_attention", False)(h, context.source_BSD, mask=context.source_mask)
            x_BTD = x_BTD + branch(h, gate)
        h, gate = norm("mlp_norm", x_BTD)
        mlp = Mlp(c.mlp_width, c.mlp, c.use_bias, **residual, name="mlp")
        x_BTD = x_BTD + branch(mlp(h), gate)
        self.sow("intermediates", "output_BTD", x_BTD)
        return x_BTD, cache


class Transformer(nn.Module):
    """A stack of `depth` pre-norm blocks and a final norm.

    Attention weights and block outputs are returned by `apply(..., mutable="intermediates")`.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(
        self,
        x_BTD,
        *,
        mask=None,
        source_BSD=None,
        source_mask=None,
        positions_BT=None,
        condition_BD=None,
        cache: KVCache | None = None,
        train: bool = False,
    ):
        """Returns x [B, T, D] after the final norm; with a `cache`, (x, cache).

        `mask` (and `source_mask`): boolean, broadcastable to [B, H, T, S], True where attention is
        allowed, on top of causality (see attention.padding_mask). `positions_BT`: for rotary
        angles, 0, 1, 2, ... by default. `condition_BD`: what adaptive norms read. Raises ValueError
        where a source, a condition or causality is missing.
        """
        c = self.config
        if c.cross_attention and source_BSD is None:
            raise ValueError("a stack with cross_attention needs source_BSD, the array to attend to")
        if c.adaptive_norm != (condition_BD is not None):
            raise ValueError("a stack with adaptive_norm needs condition_BD, which its norms read; others take none")
        T = x_BTD.shape[1]
        x_BTD = x_BTD.astype(c.dtype)
        index, layers = None, None if c.scan_layers else (None,) * c.depth
        if cache is not None:
            if not c.causal:
                raise ValueError("a key-value cache needs causal attention")
            layers, index = cache.layers, cache.index
            slots = (layers if c.scan_layers else layers[0]).key_BSGK.shape[-3]
            seen = cache.mask(T, slots, c.window)
            mask = seen if mask is None else mask & seen
            positions_BT = cache.positions(T) if positions_BT is None else positions_BT
        angles = None
        if c.rotary_base is not None:
            positions_BT = jnp.arange(T)[None] if positions_BT is None else positions_BT
            angles = ops.rotary_angles(positions_BT, c.head_width, c.rotary_base)
        if source_BSD is not None:
            source_BSD = source_BSD.astype(c.dtype)
        if condition_BD is not None:
            condition_BD = condition_BD.astype(c.dtype)
        context = Context(mask, source_BSD, source_mask, angles, index, condition_BD)
        x_BTD, layers = self._blocks(x_BTD, layers, context, deterministic=not train)
        if c.adaptive_norm:
            x_BTD, _ = AdaptiveNorm(c.norm, c.norm_epsilon, gated=False, name="final_norm")(x_BTD, condition_BD)
        else:
            x_BTD = Norm(c.norm, c.use_bias, c.norm_epsilon, name="final_norm")(x_BTD)
        return x_BTD if cache is None else (x_BTD, KVCache(layers, index + T, cache.start_B))

    def _blocks(self, x_BTD, layers, context, deterministic):
        """Returns (x, the layers' caches) after all blocks, as a scan or one after another."""
        c = self.config
        # Inside a scan the loop itself keeps XLA from merging the recomputation with the forward pass.
        block = Block
        if c.remat != "none":
            block = nn.remat(Block, prevent_cse=not c.scan_layers, policy=_KEPT[c.remat])
        rates_L = None if deterministic or not c.stochastic_depth else depth_rates(c.stochastic_depth, c.depth)
        if c.scan_layers:
            scanned = nn.scan(
                block,
                variable_axes={"params": 0, "intermediates": 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=(0, nn.broadcast, 0),
                length=c.depth,
            )
            return scanned(c, deterministic, name="blocks")(x_BTD, layers, context, rates_L)
        new_layers = []
        for i, layer in enumerate(layers):
            rate = None if rates_L is None else rates_L[i]
            x_BTD, layer = block(c, deterministic, name=f"block_{i}")(x_BTD, layer, context, rate)
            new_layers.append(layer)
        return x_BTD, tuple(new_layers)


def depth_rates(rate: float, depth: int) -> np.ndarray:
    """Returns the rates of stochastic depth of `depth` blocks, float32 [L]: from 0 to `rate`, linearly.

    Huang et al. 2016 (arXiv 1603.09382), figure 2, with the first block always kept.
    """
    return np.linspace(0, rate, depth, dtype=np.float32)


def stack_blocks(params: dict) -> dict:
    """Returns unrolled parameters (block_0, block_1, ...) as scanned ones (blocks, layers first)."""
    rest = {name: value for name, value in params.items() if not name.startswith("block_")}
    blocks = [params[f"block_{i}"] for i in range(len(params) - len(rest))]
    return rest | {"blocks": jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)}

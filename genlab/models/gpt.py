"""GPT: a pre-norm causal decoder over tokens (Radford et al. 2019), with later choices."""

import math
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models import ops
from genlab.models.attention import KVCache
from genlab.models.layers import Initialization
from genlab.models.placement import place
from genlab.models.token_losses import token_losses
from genlab.models.transformer import Remat, Transformer, TransformerConfig


class GPT(nn.Module):
    """A causal language model: tokens [B, T] to logits [B, T, V].

    `mlp_width` None means 4 width, or for SwiGLU 8/3 width rounded up to a multiple of 8 (as many
    parameters). `num_kv_heads` None means num_heads. `use_bias` is for linear layers and norms
    alike. `tied_head` reuses the token embedding as the output layer. The remaining choices are
    those of TransformerConfig.
    """

    vocab_size: int = 256
    context_length: int = 256
    width: int = 64
    depth: int = 2
    num_heads: int = 2
    num_kv_heads: int | None = None
    mlp_width: int | None = None
    positions: Literal["learned", "rotary"] = "learned"
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_epsilon: float = 1e-6
    mlp: Literal["gelu", "swiglu"] = "gelu"
    use_bias: bool = False
    tied_head: bool = True
    qk_norm: bool = False
    rotary_base: float = 10_000.0
    window: int | None = None
    dropout: float = 0.0
    initialization: Initialization = "fan_in"
    attention_block: int | None = None
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: str = "float32"

    def stack_config(self) -> TransformerConfig:
        """Returns the hyper-parameters of this model's Transformer stack."""
        mlp_width = self.mlp_width
        if mlp_width is None:
            mlp_width = 4 * self.width if self.mlp == "gelu" else 8 * math.ceil(self.width / 3)
        return TransformerConfig(
            width=self.width,
            depth=self.depth,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            mlp_width=mlp_width,
            causal=True,
            window=self.window,
            rotary_base=self.rotary_base if self.positions == "rotary" else None,
            norm=self.norm,
            norm_epsilon=self.norm_epsilon,
            mlp=self.mlp,
            use_bias=self.use_bias,
            qk_norm=self.qk_norm,
            dropout=self.dropout,
            initialization=self.initialization,
            attention_block=self.attention_block,
            scan_layers=self.scan_layers,
            remat=self.remat,
            dtype=self.dtype,
        )

    def validate(self) -> None:
        """Raises ValueError, in one line, for hyper-parameters that cannot be built."""
        for name in ("vocab_size", "context_length"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.positions not in ("learned", "rotary"):
            raise ConfigError(f'positions must be "learned" or "rotary", not "{self.positions}"')
        self.stack_config().validate()

    def setup(self):
        """Declares the parameters; raises ValueError if the hyper-parameters do not fit together."""
        self.validate()
        # 1 / sqrt(D) gives the tied head's logits unit variance; .02 and .01 are GPT-2's own. Positions
        # start small: at 1 / sqrt(D), byte models of width 32 and 64 end 1.5 and 4 % higher in loss
        # (1 million tokens, 2 seeds, no difference from .005 to .05).
        gpt2 = self.initialization == "gpt2"
        table_std = 0.02 if gpt2 else self.width**-0.5
        tables = {"token_embedding": (self.vocab_size, table_std)}
        if self.positions == "learned":
            tables["position_embedding"] = (self.context_length, 0.01 if gpt2 else 0.02)
        if not self.tied_head:
            tables["head"] = (self.vocab_size, table_std)
        for name, (rows, std) in tables.items():
            initializer = nn.initializers.normal(std)
            setattr(self, name, self.param(name, initializer, (rows, self.width), jnp.float32))
        self.transformer = Transformer(self.stack_config())

    def __call__(self, tokens_BT, train: bool = False, cache: KVCache | None = None):
        """Returns float32 logits [B, T, V] for integer tokens [B, T]; with a `cache`, (logits, cache).

        Raises ValueError if T exceeds context_length.
        """
        if cache is None:
            return self.logits(self.hidden_states(tokens_BT, train))
        x_BTD, cache = self.hidden_states(tokens_BT, train, cache)
        return self.logits(x_BTD), cache

    def hidden_states(self, tokens_BT, train: bool = False, cache: KVCache | None = None):
        """Returns the final states [B, T, D] that `logits` reads; with a `cache`, (states, cache)."""
        T = tokens_BT.shape[1]
        if cache is None and self.context_length < T:
            raise ValueError(
                f"{T} tokens are longer than the model's context_length {self.context_length}: "
                f"shorten the sequence or raise context_length"
            )
        # Whole along D, for devices share tokens: XLA weighs a table cut along D, and warns that this would not do.
        x_BTD = ops.embed(place(self.token_embedding, "VD"), tokens_BT)
        if self.positions == "learned":
            if cache is None:
                x_BTD = x_BTD + self.position_embedding[:T]
            else:
                x_BTD = x_BTD + self.position_embedding[cache.positions(T)]
        if train and self.dropout:
            x_BTD = ops.dropout(x_BTD, self.dropout, self.make_rng("dropout"))
        return self.transformer(x_BTD, cache=cache, train=train)

    def logits(self, x_BTD):
        """Returns float32 logits [B, T, V] for final hidden states [B, T, D]."""
        return ops.unembed(x_BTD, self.token_embedding if self.tied_head else self.head)

    def losses(self, tokens_BT, targets_BT, train: bool = False, chunk: int | None = None, accuracy: bool = False):
        """Returns the losses of targets [B, T] after tokens [B, T]; `chunk` and `accuracy` as in token_losses."""
        x_BTD = self.hidden_states(tokens_BT, train)
        head_VD = self.token_embedding if self.tied_head else self.head
        return token_losses(x_BTD, head_VD, targets_BT, chunk, accuracy)

    def empty_cache(self, batch_size: int, slots: int, start_B=None) -> KVCache:
        """Returns an empty key-value cache (see TransformerConfig.empty_cache)."""
        return self.stack_config().empty_cache(batch_size, slots, start_B)


def _gpt2(width: int, depth: int, num_heads: int) -> GPT:
    """Returns a model with GPT-2's architecture (Radford et al. 2019, table 2; heads of width 64)."""
    return GPT(
        vocab_size=50_257,
        context_length=1_024,
        width=width,
        depth=depth,
        num_heads=num_heads,
        norm_epsilon=1e-5,
        use_bias=True,
        initialization="gpt2",
    )


# Named sizes. The first four are bytes for a CPU; the last four are GPT-2's, with its vocabulary.
GPT_SIZES: dict[str, GPT] = {
    "nano": GPT(width=32, depth=2, num_heads=2),
    "tiny": GPT(width=64, depth=2, num_heads=2),
    "mini": GPT(width=128, depth=4, num_heads=4),
    "small": GPT(width=256, depth=6, num_heads=8),
    "124M": _gpt2(768, 12, 12),
    "350M": _gpt2(1_024, 24, 16),
    "774M": _gpt2(1_280, 36, 20),
    "1.5B": _gpt2(1_600, 48, 25),
}

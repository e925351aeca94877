"""Multi-head attention: causal or not, self or cross, grouped-query, with an explicit cache."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from genlab.models import ops, weight_masks
from genlab.models.layers import Dense, Initialization, Norm, kernel_initializer
from genlab.models.placement import place


class LayerCache(NamedTuple):
    """Keys (normalised and rotated) and values of one layer's past: each [B, S, G, K], S slots."""

    key_BSGK: jax.Array
    value_BSGK: jax.Array


class KVCache(NamedTuple):
    """What a stack remembers between calls, as a pytree that goes in and comes out.

    `layers`: one LayerCache per block, or one with a leading layer axis when layers are scanned.
    `index`: slots written so far, int32 []. `start_B`: the first slot that holds a real token of
    each row, int32 [B]: prompts of different lengths are padded on the left, so that all rows
    write the same slot.
    """

    layers: tuple[LayerCache, ...] | LayerCache
    index: jax.Array
    start_B: jax.Array

    def positions(self, length: int) -> jax.Array:
        """Returns positions [B, length] of the next `length` tokens in their rows (0 for padding)."""
        slots = self.index + jnp.arange(length, dtype=jnp.int32)
        return jnp.maximum(slots[None, :] - self.start_B[:, None], 0)

    def mask(self, length: int, slots: int, window: int | None = None) -> jax.Array:
        """Returns which of the S `slots` the next `length` tokens may see: [B, 1, length, S].

        They see no later token, no padding, and nothing before their `window` (ops.attention_weights).
        """
        slot_S = jnp.arange(slots, dtype=jnp.int32)
        query_T = self.index + jnp.arange(length, dtype=jnp.int32)
        causal_TS = weight_masks.causally_seen(query_T[:, None], slot_S, window)
        real_BS = slot_S[None, :] >= self.start_B[:, None]
        return (causal_TS[None] & real_BS[:, None])[:, None]


def padding_mask(valid_BS: jax.Array) -> jax.Array:
    """Returns the attention mask [B, 1, 1, S] that hides the positions where valid [B, S] is 0 or False."""
    return valid_BS.astype(bool)[:, None, None, :]


class Attention(nn.Module):
    """Multi-head attention of x over itself, or over a source when one is given."""

    num_heads: int
    num_kv_heads: int | None = None
    causal: bool = False
    window: int | None = None
    block: int | None = None
    qk_norm: bool = False
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_epsilon: float = 1e-6
    use_bias: bool = False
    dropout: float = 0.0
    deterministic: bool = True
    initialization: Initialization = "fan_in"
    output_scale: float = 1.0

    @nn.compact
    def __call__(self, x_BTD, source_BSD=None, mask=None, angles=None, cache=None, index=None):
        """Returns ([B, T, D], cache).

        `mask`: boolean, broadcastable to [B, H, T, S]. `angles`: rotary (cos, sin) for queries and
        keys. With a `cache` the new keys and values go to slots index..index + T - 1, and `mask`
        alone says which slots are seen, within their `window` too (KVCache.mask).
        """
        ops.check_window(self.window, self.causal)
        q_BTHK, k_BSGK, v_BSGK = self._project(x_BTD, source_BSD)
        q_BTHK, k_BSGK, v_BSGK = place(q_BTHK, "BTHK"), place(k_BSGK, "BSGK"), place(v_BSGK, "BSGK")
        if self.qk_norm:
            q_BTHK = Norm(self.norm, epsilon=self.norm_epsilon, name="query_norm")(q_BTHK)
            k_BSGK = Norm(self.norm, epsilon=self.norm_epsilon, name="key_norm")(k_BSGK)
        if angles is not None:
            q_BTHK, k_BSGK = ops.rotate(q_BTHK, angles), ops.rotate(k_BSGK, angles)
        causal = self.causal and cache is None
        window = self.window if causal else None
        if cache is not None:
            write = jax.lax.dynamic_update_slice_in_dim
            k_BSGK = write(cache.key_BSGK, k_BSGK.astype(cache.key_BSGK.dtype), index, axis=1)
            v_BSGK = write(cache.value_BSGK, v_BSGK.astype(cache.value_BSGK.dtype), index, axis=1)
            cache = LayerCache(k_BSGK, v_BSGK)

        if self.is_mutable_collection("intermediates"):
            weights = ops.attention_weights(q_BTHK, k_BSGK, causal=causal, mask=mask, window=window)
            self.sow("intermediates", "weights_BHTS", weights)
        drop = self.dropout > 0 and not self.deterministic
        out_BTHK = ops.attention(
            q_BTHK,
            k_BSGK,
            v_BSGK,
            causal=causal,
            mask=mask,
            window=window,
            dropout_rate=self.dropout,
            dropout_key=self.make_rng("dropout") if drop else None,
            block=self.block,
        )
        init = kernel_initializer(self.initialization, self.output_scale)
        output = Dense(x_BTD.shape[-1], self.use_bias, init, name="output")
        return output(out_BTHK.reshape(x_BTD.shape)), cache

    def _project(self, x_BTD, source_BSD):
        """Returns queries [B, T, H, K], keys and values [B, S, G, K].

        They come from one fused kernel where x is its own source.
        """
        B, T, D = x_BTD.shape
        H, G = self.num_heads, self.num_kv_heads or self.num_heads
        K = D // H
        init = kernel_initializer(self.initialization)
        if source_BSD is None:
            qkv = Dense((H + 2 * G) * K, self.use_bias, init, name="qkv")(x_BTD)
            q, k, v = jnp.split(qkv, [H * K, (H + G) * K], axis=-1)
        else:
            q = Dense(H * K, self.use_bias, init, name="query")(x_BTD)
            kv = Dense(2 * G * K, self.use_bias, init, name="key_value")(source_BSD)
            k, v = jnp.split(kv, 2, axis=-1)
        S = k.shape[1]
        return q.reshape(B, T, H, K), k.reshape(B, S, G, K), v.reshape(B, S, G, K)

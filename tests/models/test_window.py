"""Sliding-window attention against an explicit mask, with and without a cache."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.models import ops
from genlab.models.gpt import GPT
from genlab.models.transformer import TransformerConfig
from tests.models.fast_and_plain import normal, pull

MODEL = GPT(vocab_size=13, context_length=12, width=8, depth=2, num_heads=2, num_kv_heads=1, positions="rotary")


def window_mask(T, window):
    """Which keys each query sees, by the definition: i - window < j <= i."""
    return np.array([[i - window < j <= i for j in range(T)] for i in range(T)])


@pytest.mark.parametrize("window", [1, 3, 8, 9, 100])
def test_a_window_is_its_mask(window):
    q, k, v = normal(2, 8, 4, 5), normal(2, 8, 2, 5, seed=1), normal(2, 8, 2, 5, seed=2)

    def windowed(q, k, v):
        return ops.attention(q, k, v, causal=True, window=window)

    def masked(q, k, v):
        return ops.attention(q, k, v, mask=window_mask(8, window))

    for ours, exact in zip(*(jax.jit(lambda *a, f=f: pull(f, a))(q, k, v) for f in (windowed, masked)), strict=True):
        np.testing.assert_allclose(ours, exact, atol=1e-5)


@pytest.mark.parametrize("window", [1, 4])
def test_a_cached_decoder_sees_the_same_window(window):
    model = dataclasses.replace(MODEL, window=window)
    tokens = np.random.default_rng(0).integers(13, size=(2, 12))
    params = jax.jit(model.init)(jax.random.key(0), tokens)
    whole = jax.jit(model.apply)(params, tokens)
    step = jax.jit(lambda tokens, cache: model.apply(params, tokens, cache=cache))
    logits, cache = step(tokens[:, :5], model.empty_cache(2, 12))
    parts = [logits]
    for t in range(5, 12):
        logits, cache = step(tokens[:, t : t + 1], cache)
        parts.append(logits)
    np.testing.assert_allclose(jnp.concatenate(parts, axis=1), whole, atol=1e-5)
    # Two layers of it see 2 (window - 1) positions back, and no further.
    other = tokens.copy()
    other[:, 0] = (tokens[:, 0] + 1) % 13
    changed = np.abs(jax.jit(model.apply)(params, other) - whole).max(axis=(0, 2)) > 1e-6
    np.testing.assert_array_equal(np.flatnonzero(changed), np.arange(2 * (window - 1) + 1))


@pytest.mark.parametrize("change, line", [
    ({"window": 4}, "window=4 is of the past, and this attention is not causal: set causal=True or window=None"),
    ({"window": 0, "causal": True}, "window=0 must be at least 1"),
])
def test_a_window_that_cannot_be(change, line):
    with pytest.raises(ConfigError, match=line):
        TransformerConfig(width=8, depth=1, num_heads=2, mlp_width=8, **change).validate()
    with pytest.raises(ConfigError, match=line):
        ops.attention(*[normal(1, 4, 2, 4)] * 3, **change)

"""GPT's loss and gradients against an independent implementation in float64 NumPy, differentiated by autograd."""

import autograd
import autograd.numpy as anp
import jax
import numpy as np
import pytest
from autograd.tracer import getval

from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken

SHAPE = {"vocab_size": 13, "context_length": 9, "depth": 2}
VARIANTS = {
    "gpt2": GPT(**SHAPE, width=8, num_heads=2, use_bias=True, norm_epsilon=1e-5, initialization="gpt2"),
    "nanodo": GPT(**SHAPE, width=8, num_heads=2, use_bias=False, norm_epsilon=1e-6),
    "llama": GPT(
        **SHAPE,
        width=16,
        num_heads=4,
        num_kv_heads=2,
        positions="rotary",
        norm="rmsnorm",
        mlp="swiglu",
        tied_head=False,
        qk_norm=True,
    ),
}


def normalise(x, p, kind, epsilon):
    """LayerNorm or RMSNorm from their definitions."""
    if kind == "layernorm":
        x = x - anp.mean(x, axis=-1, keepdims=True)
    y = x / anp.sqrt(anp.mean(x**2, axis=-1, keepdims=True) + epsilon) * p["scale"]
    return y + p.get("bias", 0.0)


def linear(x, p):
    """x kernel + bias."""
    return anp.dot(x, p["kernel"]) + p.get("bias", 0.0)


def rotation(position, K, base):
    """The block rotation matrix [K, K] that turns the pair (i, i + K/2) by position * base^(-2i / K)."""
    matrix = np.zeros((K, K))
    for i in range(K // 2):
        angle = position * base ** (-2 * i / K)
        matrix[i, i] = matrix[i + K // 2, i + K // 2] = np.cos(angle)
        matrix[i, i + K // 2], matrix[i + K // 2, i] = -np.sin(angle), np.sin(angle)
    return matrix


def attend(x, p, model):
    """Causal attention of one sequence x [T, D], head by head."""
    T, D = x.shape
    H, K = model.num_heads, D // model.num_heads
    G = model.num_kv_heads or H
    qkv = linear(x, p["qkv"])
    heads = []
    for h in range(H):
        g = h // (H // G)
        q = qkv[:, h * K : (h + 1) * K]
        k = qkv[:, (H + g) * K : (H + g + 1) * K]
        v = qkv[:, (H + G + g) * K : (H + G + g + 1) * K]
        if model.qk_norm:
            q = normalise(q, p["query_norm"], model.norm, model.norm_epsilon)
            k = normalise(k, p["key_norm"], model.norm, model.norm_epsilon)
        if model.positions == "rotary":
            turns = [rotation(t, K, model.rotary_base) for t in range(T)]
            q = anp.stack([turns[t] @ q[t] for t in range(T)])
            k = anp.stack([turns[t] @ k[t] for t in range(T)])
        rows = []
        for t in range(T):
            scores = anp.dot(k[: t + 1], q[t]) / np.sqrt(K)
            weights = anp.exp(scores - np.max(getval(scores)))
            rows.append(anp.dot(weights / anp.sum(weights), v[: t + 1]))
        heads.append(anp.stack(rows))
    return linear(anp.concatenate(heads, axis=-1), p["output"])


def feed_forward(x, p, kind):
    """The MLP: GELU by tanh, or SwiGLU."""
    h = linear(x, p["up"])
    if kind == "gelu":
        h = 0.5 * h * (1 + anp.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
    else:
        F = h.shape[-1] // 2
        h = h[:, :F] / (1 + anp.exp(-h[:, :F])) * h[:, F:]
    return linear(h, p["down"])


def numpy_loss(params, tokens, model):
    """Mean cross-entropy of sequences [B, T + 1], one after another."""
    total = 0.0
    for row in tokens:
        x = params["token_embedding"][row[:-1]]
        if model.positions == "learned":
            x = x + params["position_embedding"][: len(x)]
        stack = params["transformer"]
        for i in range(model.depth):
            p, norm = stack[f"block_{i}"], (model.norm, model.norm_epsilon)
            x = x + attend(normalise(x, p["attention_norm"], *norm), p["attention"], model)
            x = x + feed_forward(normalise(x, p["mlp_norm"], *norm), p["mlp"], model.mlp)
        x = normalise(x, stack["final_norm"], *norm)
        logits = anp.dot(x, params["head" if "head" in params else "token_embedding"].T)
        log_z = anp.log(anp.sum(anp.exp(logits), axis=-1))
        total = total + anp.sum(log_z - logits[np.arange(len(x)), row[1:]])
    return total / tokens[:, 1:].size


@pytest.mark.parametrize("name", VARIANTS)
def test_loss_and_gradients_agree_to_1e_minus_5(name):
    model = VARIANTS[name]
    objective = NextToken(model)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(objective.init, jax.random.key(0))["params"]
    # Random norms and biases too: at their initial ones and zeros a mistake in them would not show.
    params = jax.tree.map(lambda s: rng.normal(0.3, 0.5, s.shape).astype(np.float32), shapes)
    tokens = rng.integers(0, model.vocab_size, (3, model.context_length + 1))

    def loss(params):
        return objective.loss({"params": params}, {"tokens": tokens}, None, True)[0]

    value, gradients = jax.jit(jax.value_and_grad(loss))(params)
    exact = jax.tree.map(lambda x: x.astype(np.float64), params)
    expected = numpy_loss(exact, tokens, model)
    expected_gradients = autograd.grad(numpy_loss)(exact, tokens, model)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    largest = max(np.abs(g).max() for g in jax.tree.leaves(expected_gradients))
    assert largest > 1e-2
    jax.tree.map_with_path(
        lambda path, ours, theirs: np.testing.assert_allclose(
            ours, theirs, rtol=0, atol=1e-5 * max(np.abs(theirs).max(), 0.1 * largest), err_msg=str(path)
        ),
        gradients,
        expected_gradients,
    )

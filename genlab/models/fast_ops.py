"""Hand-written backward passes for float32 on CPU: the same numbers as ops.py, in less time.

XLA's CPU backend runs a Transformer's step as a few hundred small kernels, and what decides their
speed is not what decides it on an accelerator: which side of a weight gradient is the longer one,
whether a tanh is kept or computed again, whether heads are copied piece by piece. Each function
here is one of ops.py with its backward pass written out for that; `ops` chooses it when `eligible`,
and tests hold the two together. Times are of one core of a 2.1 GHz Sapphire Rapids, 2,048 tokens.
"""

import contextlib
import contextvars

import jax
import jax.numpy as jnp
from jax import lax

_allowed = contextvars.ContextVar("fast_ops_allowed", default=True)


@contextlib.contextmanager
def disabled():
    """Traces the plain operations of ops.py instead: for references, and for forward-mode derivatives.

    Functions with a hand-written reverse mode have no forward mode (`jax.jvp`). What was traced and
    cached before (by `jax.jit`) stays as it was traced.
    """
    token = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(token)


def allowed() -> bool:
    """Whether this is not traced within `disabled`."""
    return _allowed.get()


def eligible(*arrays) -> bool:
    """Whether these arrays take the fast path: all float32, on a CPU, and not `disabled`."""
    return (
        allowed()
        and jax.default_backend() == "cpu"
        and all(a is None or a.dtype == jnp.float32 for a in arrays)
    )


def _contract(a, b, axis_a, axis_b, batch=()):
    """Returns the product of a and b summed over one axis of each; `batch` axes lead in both."""
    return lax.dot_general(a, b, (((axis_a,), (axis_b,)), (batch, batch)))


def _row_sum(x):
    return jnp.sum(x, axis=-1, keepdims=True)


# Linear layers.


@jax.custom_vjp
def dense(x_ND, kernel_DF):
    """Returns x @ kernel, [N, F]."""
    return x_ND @ kernel_DF


def _dense_backward(saved, g_NF):
    x_ND, kernel_DF = saved
    return _contract(g_NF, kernel_DF, 1, 1), weight_gradient(x_ND, g_NF)


dense.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _dense_backward)


def weight_gradient(x_ND, g_NF):
    """Returns x^T g, [D, F], computed as (g^T x)^T where D > F.

    Both operands are contracted over their rows, which Eigen does in .16 ms for 16 x 2,048 x 256 and
    in .90 for 256 x 2,048 x 16 (64 x 256: .63 against 1.4). The barrier keeps XLA from turning the
    product round again.
    """
    if x_ND.shape[1] <= g_NF.shape[1]:
        return _contract(x_ND, g_NF, 0, 0)
    return lax.optimization_barrier(_contract(g_NF, x_ND, 0, 0)).T


# Normalisation.


@jax.custom_vjp
def layer_norm(x_ND, scale_D, epsilon):
    """Returns (x - mean) / sqrt(variance + epsilon) * scale over the last axis (see ops.layer_norm)."""
    return _layer_norm_forward(x_ND, scale_D, epsilon)[0]


def _layer_norm_forward(x, scale, epsilon):
    mean = _row_sum(x) / x.shape[-1]
    centred = x - mean
    inverse = lax.rsqrt(_row_sum(centred * centred) / x.shape[-1] + epsilon)
    return centred * inverse * scale, (x, mean, inverse, scale)


def _layer_norm_backward(saved, g):
    """With y = (x - mean) r and h = g scale: dx = r (h - mean(h) - y mean(h y))."""
    x, mean, inverse, scale = saved
    width = x.shape[-1]
    y = (x - mean) * inverse
    h = g * scale
    dx = (h - _row_sum(h) / width - y * (_row_sum(h * y) / width)) * inverse
    return dx, jnp.sum(g * y, axis=0), None


layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


# GELU.

_SQRT_2_OVER_PI = 0.7978845608028654
_CUBIC = 0.044715  # arXiv 1606.08415, section 2.


def _gelu_gate(x):
    """Returns (1 + tanh u) / 2 = sigmoid(2 u) for u = sqrt(2 / pi) (x + .044715 x^3)."""
    return 1 / (1 + jnp.exp(-2 * _SQRT_2_OVER_PI * (x + _CUBIC * x * x * x)))


@jax.custom_vjp
def gelu(x):
    """Returns GELU by its tanh approximation, whose gate is computed again in the backward pass.

    Keeping it would write and read as many bytes as x has, three times slower than an exp.
    """
    return x * _gelu_gate(x)


def _gelu_backward(x, g):
    x = lax.optimization_barrier(x)  # Otherwise XLA keeps the forward pass's gate after all.
    gate = _gelu_gate(x)
    slope = 2 * _SQRT_2_OVER_PI * (1 + 3 * _CUBIC * x * x)
    return (g * gate * (1 + x * (1 - gate) * slope),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


# Attention.


def attention(q_BTHK, k_BSGK, v_BSGK, *, causal=False):
    """Returns scaled dot-product attention, [B, T, H, K], without mask or dropout (see ops.attention).

    The query heads that share a key head lie below one another as rows of one matrix.
    """
    B, T, H, K = q_BTHK.shape
    G = k_BSGK.shape[2]
    q_NRK = _split_heads(q_BTHK).reshape(B * G, H // G * T, K)
    out_NRK = _attention(q_NRK, _split_heads(k_BSGK), _split_heads(v_BSGK), T, causal)
    return _merge_heads(out_NRK.reshape(B * H, T, K), H)


@jax.custom_vjp
def _split_heads(x_BTHK):
    """Returns [B, T, H, K] as [B H, T, K]."""
    B, T, H, K = x_BTHK.shape
    return x_BTHK.transpose(0, 2, 1, 3).reshape(B * H, T, K)


def _concatenate_heads(x_NTK, heads):
    """Returns [B H, T, K] as [B, T, H, K], head by head: twice as fast as a transpose."""
    x_BHTK = x_NTK.reshape(-1, heads, *x_NTK.shape[1:])
    B, H, T, K = x_BHTK.shape
    return jnp.concatenate([x_BHTK[:, h] for h in range(H)], axis=-1).reshape(B, T, H, K)


_split_heads.defvjp(
    lambda x: (_split_heads(x), x.shape[2]), lambda heads, g: (_concatenate_heads(g, heads),)
)
_merge_heads = jax.custom_vjp(_concatenate_heads, nondiff_argnums=(1,))
_merge_heads.defvjp(
    lambda x, heads: (_concatenate_heads(x, heads), None), lambda heads, _, g: (_split_heads(g),)
)


def _attention_forward(q_NRK, k_NSK, v_NSK, T, causal):
    R, S = q_NRK.shape[1], k_NSK.shape[1]
    scores_NRS = _contract(q_NRK, k_NSK, 2, 2, (0,)) * q_NRK.shape[-1] ** -0.5
    if causal:
        seen_RS = jnp.arange(S)[None] <= (jnp.arange(R) % T)[:, None]
        scores_NRS = jnp.where(seen_RS, scores_NRS, jnp.finfo(jnp.float32).min)
    unnormalised_NRS = jnp.exp(scores_NRS - scores_NRS.max(axis=-1, keepdims=True))
    scale_NR1 = 1 / _row_sum(unnormalised_NRS)
    out_NRK = _contract(unnormalised_NRS, v_NSK, 2, 1, (0,)) * scale_NR1
    return out_NRK, (q_NRK, k_NSK, v_NSK, unnormalised_NRS, scale_NR1, out_NRK)


def _attention_backward(T, causal, saved, g_NRK):
    """With weights p: ds = p (g v^T - sum(g out)) (Dao et al. 2022, arXiv 2205.14135, appendix B.2).

    dk and dv are products over the rows of both operands, computed with the longer side last (see
    `weight_gradient`: .36 ms against .60 for 128 heads of 64 x 64 x 16) and then turned over.
    """
    q_NRK, k_NSK, v_NSK, unnormalised_NRS, scale_NR1, out_NRK = saved
    transposed = (0, 2, 1)
    dv_NKS = _contract(g_NRK * scale_NR1, unnormalised_NRS, 1, 1, (0,))
    dp_NRS = _contract(g_NRK, v_NSK, 2, 2, (0,))
    scale = scale_NR1 * q_NRK.shape[-1] ** -0.5
    ds_NRS = unnormalised_NRS * scale * (dp_NRS - _row_sum(g_NRK * out_NRK))
    dq_NRK = _contract(ds_NRS, k_NSK, 2, 1, (0,))
    dk_NKS = _contract(q_NRK, ds_NRS, 1, 1, (0,))
    dk_NKS, dv_NKS = lax.optimization_barrier((dk_NKS, dv_NKS))
    return dq_NRK, dk_NKS.transpose(transposed), dv_NKS.transpose(transposed)


_attention = jax.custom_vjp(
    lambda *arguments: _attention_forward(*arguments)[0], nondiff_argnums=(3, 4)
)
_attention.defvjp(_attention_forward, _attention_backward)


# The output layer together with its loss.


@jax.custom_vjp
def cross_entropy(x_ND, table_VD, targets_N):
    """Returns (-log softmax(x table^T)[target], log sum exp(x table^T)), both [N].

    The exponentials are written once and turned into the gradient of the logits in place.
    """
    return _cross_entropy_forward(x_ND, table_VD, targets_N)[0]


def _cross_entropy_forward(x_ND, table_VD, targets_N):
    logits_NV = _contract(x_ND, table_VD, 1, 1)
    picked_N = jnp.take_along_axis(logits_NV, targets_N[:, None], axis=-1)[:, 0]
    largest_N1 = logits_NV.max(axis=-1, keepdims=True)
    unnormalised_NV = jnp.exp(logits_NV - largest_N1)
    total_N1 = _row_sum(unnormalised_NV)
    log_z_N = (jnp.log(total_N1) + largest_N1)[:, 0]
    return (log_z_N - picked_N, log_z_N), (x_ND, table_VD, targets_N, unnormalised_NV, total_N1)


def _cross_entropy_backward(saved, gradients):
    """d logits = p (g_loss + g_log_z) - onehot(target) g_loss."""
    x_ND, table_VD, targets_N, unnormalised_NV, total_N1 = saved
    g_loss_N1, g_log_z_N1 = (g[:, None] for g in gradients)
    onehot_NV = targets_N[:, None] == jnp.arange(table_VD.shape[0])
    g_NV = unnormalised_NV * ((g_loss_N1 + g_log_z_N1) / total_N1)
    g_NV = g_NV - jnp.where(onehot_NV, g_loss_N1, 0.0)
    return g_NV @ table_VD, weight_gradient(g_NV, x_ND), None


cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)

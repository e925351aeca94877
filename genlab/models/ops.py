"""The arithmetic of the Transformer as plain functions, each in its simplest form.

Modules call these and nothing else, so a faster equivalent of one (fast_ops.py, fast_convolutions.py) has
exactly one place to be chosen: here, where its arguments are eligible. Statistics (softmax, norms) are in
float32 whatever the compute type.
"""

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.models import blockwise_attention, fast_convolutions, fast_ops, flash, placement, weight_masks
from genlab.models.weight_masks import MASKED_SCORE, causally_seen
from genlab.randomness import per_example


def dense(x, kernel, bias=None):
    """Returns x @ kernel + bias, [..., F], for x [..., D], kernel [D, F], bias [F].

    Computed as one flat matmul [N, D] x [D, F]: XLA on CPU turns the weight gradient of a
    [B, T, D] product into a slower one (1.2 to 1.6 times a step, with the fused QKV kernel).
    """
    rows = _rows(x)
    fast = rows.ndim == 2 and fast_ops.eligible(x, kernel)
    y = fast_ops.dense(rows, kernel) if fast else rows @ kernel.astype(x.dtype)
    if bias is not None:
        y = y + bias.astype(x.dtype)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def _rows(x):
    """Returns x [..., D] as rows [N, D], but x [B, T, D] as it is where a plan cuts T (genlab/models/placement.py).

    N = B T could not be cut as T is: each device would gather all positions, and compute them all.
    """
    cut = x.ndim == 3 and placement.parts("T", x.shape[1]) > 1
    return x if cut else x.reshape(-1, x.shape[-1])


def layer_norm(x, scale, bias=None, epsilon=1e-5):
    """Returns (x - mean) / sqrt(variance + epsilon) * scale + bias over the last axis.

    Ba et al. 2016 (arXiv 1607.06450), equation 4.
    """
    rows = _rows(x)
    if rows.ndim == 2 and fast_ops.eligible(x, scale, bias):
        y = fast_ops.layer_norm(rows, scale, epsilon).reshape(x.shape)
        return y if bias is None else y + bias
    x32 = x.astype(jnp.float32)
    centred = x32 - x32.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    y = centred * jax.lax.rsqrt(variance + epsilon) * scale
    if bias is not None:
        y = y + bias
    return y.astype(x.dtype)


def rms_norm(x, scale, bias=None, epsilon=1e-5):
    """Returns x / sqrt(mean(x^2) + epsilon) * scale + bias over the last axis.

    Zhang and Sennrich 2019 (arXiv 1910.07467), equation 4.
    """
    x32 = x.astype(jnp.float32)
    y = x32 * jax.lax.rsqrt(jnp.square(x32).mean(axis=-1, keepdims=True) + epsilon) * scale
    if bias is not None:
        y = y + bias
    return y.astype(x.dtype)


def convolution(x_BIJC, kernel_KKCF, stride=1, padding=0):
    """Returns the 2-D cross-correlation [B, I', J', F] of x and a kernel [K, K, C, F].

    `padding` zeros are added on all four sides: I' = floor((I + 2 padding - K) / stride) + 1.
    """
    if kernel_KKCF.shape[:2] == (1, 1) and not padding:
        return dense(x_BIJC[:, ::stride, ::stride], kernel_KKCF[0, 0])
    if fast_ops.eligible(x_BIJC, kernel_KKCF):
        return fast_convolutions.convolution(x_BIJC, kernel_KKCF, stride, padding)
    return jax.lax.conv_general_dilated(
        x_BIJC,
        kernel_KKCF.astype(x_BIJC.dtype),
        (stride, stride),
        ((padding, padding),) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def moments(x_BIJC):
    """Returns (mean, variance) of each channel, float32 [C] each, the variance divided by B I J."""
    x32 = x_BIJC.astype(jnp.float32)
    mean_C = x32.mean(axis=(0, 1, 2))
    return mean_C, jnp.square(x32 - mean_C).mean(axis=(0, 1, 2))


def batch_norm(x_BIJC, mean_C, variance_C, scale_C, bias_C, epsilon=1e-5):
    """Returns (x - mean) / sqrt(variance + epsilon) * scale + bias for each channel.

    Ioffe and Szegedy 2015 (arXiv 1502.03167), algorithm 1.
    """
    y_BIJC = (x_BIJC - mean_C) * (jax.lax.rsqrt(variance_C + epsilon) * scale_C) + bias_C
    return y_BIJC.astype(x_BIJC.dtype)


def group_norm(x_BIJC, scale_C, bias_C, groups, epsilon=1e-5):
    """Returns x with each group of C / groups channels of each image at mean 0 and variance 1, scaled.

    Wu and He 2018 (arXiv 1803.08494), equations 1, 2 and 7.
    """
    if fast_ops.eligible(x_BIJC, scale_C, bias_C):
        return fast_convolutions.group_norm(x_BIJC, scale_C, bias_C, groups, epsilon, silu=False)
    B, I, J, C = x_BIJC.shape
    x_BIJGR = x_BIJC.astype(jnp.float32).reshape(B, I, J, groups, C // groups)
    centred = x_BIJGR - x_BIJGR.mean(axis=(1, 2, 4), keepdims=True)
    variance = jnp.square(centred).mean(axis=(1, 2, 4), keepdims=True)
    y_BIJC = (centred * jax.lax.rsqrt(variance + epsilon)).reshape(B, I, J, C) * scale_C + bias_C
    return y_BIJC.astype(x_BIJC.dtype)


def group_norm_silu(x_BIJC, scale_C, bias_C, groups, epsilon=1e-5):
    """Returns silu(group_norm(x, ...)), the pair of every residual block of a diffusion U-Net."""
    if fast_ops.eligible(x_BIJC, scale_C, bias_C):
        return fast_convolutions.group_norm(x_BIJC, scale_C, bias_C, groups, epsilon, silu=True)
    return jax.nn.silu(group_norm(x_BIJC, scale_C, bias_C, groups, epsilon))


def gelu(x):
    """Returns GELU by its tanh approximation, as in GPT-2 (arXiv 1606.08415, section 2)."""
    return fast_ops.gelu(x) if fast_ops.eligible(x) else jax.nn.gelu(x, approximate=True)


def swiglu(gate_up):
    """Returns silu(gate) * up, the two halves of the last axis (arXiv 2002.05202, equation 6)."""
    gate, up = jnp.split(gate_up, 2, axis=-1)
    return jax.nn.silu(gate) * up


def dropout(x, rate, key):
    """Returns x [B, ...] with each number set to 0 at `rate` and the others divided by 1 - rate.

    Srivastava et al. 2014 (Journal of Machine Learning Research 15), scaled in training instead of in testing.
    """
    kept = per_example(jax.random.bernoulli, key, x.shape, p=1 - rate)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def stochastic_depth(x, rate, key):
    """Returns x [B, ...] with whole examples set to 0 at `rate` and the others divided by 1 - rate.

    Applied to a residual branch, it leaves the branch out for some examples and keeps its mean
    (Huang et al. 2016, arXiv 1603.09382, section 3, scaled in training instead of in testing).
    `rate` may be traced.
    """
    kept = per_example(jax.random.bernoulli, key, (x.shape[0],) + (1,) * (x.ndim - 1), p=1 - rate)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def embed(table_VD, tokens):
    """Returns the rows of table [V, D] that integer tokens [...] name: [..., D]."""
    return table_VD[tokens]


def rotary_angles(positions_BT, head_width, base=10_000.0):
    """Returns (cos, sin) of position * base^(-2i / K), each [B, T, 1, K / 2], float32.

    Su et al. 2021 (arXiv 2104.09864), equation 15.
    """
    frequencies = base ** (-jnp.arange(0, head_width, 2, dtype=jnp.float32) / head_width)
    angles = positions_BT[..., None, None].astype(jnp.float32) * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x_BTHK, angles):
    """Returns x with each pair (x_i, x_{i + K/2}) turned by its angle.

    Su et al. 2021 (arXiv 2104.09864), equation 34, with channels paired by halves as in Llama.
    """
    cos, sin = angles
    first, second = jnp.split(x_BTHK.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x_BTHK.dtype)


def check_window(window, causal, name="window"):
    """Raises ConfigError, in one line, for a window that attention has not."""
    if window is None:
        return
    if not causal:
        raise ConfigError(f"{name}={window} is of the past, and this attention is not causal: "
                          f"set causal=True or {name}=None")
    if window < 1:
        raise ConfigError(f"{name}={window} must be at least 1, a query's own position, or None for the whole past")


def attention_weights(q_BTHK, k_BSGK, *, causal=False, mask=None, window=None):
    """Returns softmax(q k^T / sqrt(K)) over the source axis: [B, H, T, S], float32.

    Vaswani et al. 2017 (arXiv 1706.03762), equation 1. With fewer key heads G than query heads H,
    head h reads key head h // (H / G) (Ainslie et al. 2023, arXiv 2305.13245). `mask` is boolean,
    broadcastable to [B, H, T, S], True where attention is allowed; `causal` needs T == S. With a
    `window`, which needs `causal`, query i sees the keys i - window < j <= i (Beltagy et al. 2020,
    arXiv 2004.05150, section 3.1; one-sided, as in Mistral: arXiv 2310.06825, section 2).
    """
    B, T, H, K = q_BTHK.shape
    S, G = k_BSGK.shape[1:3]
    q_BTGRK = q_BTHK.reshape(B, T, G, H // G, K) * K**-0.5
    low = fast_ops.allowed() and jnp.float32 not in (q_BTHK.dtype, k_BSGK.dtype)
    scores = (_low_precision_scores if low else _scores)(q_BTGRK, k_BSGK)
    scores_BHTS = scores.reshape(B, H, T, S)
    if causal:
        seen_TS = causally_seen(jnp.arange(T)[:, None], jnp.arange(S), window)
        scores_BHTS = jnp.where(seen_TS, scores_BHTS, MASKED_SCORE)
    if mask is not None:
        scores_BHTS = jnp.where(mask, scores_BHTS, MASKED_SCORE)
    return jax.nn.softmax(scores_BHTS, axis=-1)


def attention(
    q_BTHK, k_BSGK, v_BSGK, *, causal=False, mask=None, window=None, dropout_rate=0.0, dropout_key=None, block=None
):
    """Returns scaled dot-product attention, [B, T, H, K]; arguments as in `attention_weights`.

    Weights are dropped at `dropout_rate` when a `dropout_key` is given, the same ones however they are computed. With a
    `block` that is smaller than T and S, that many queries meet as many keys at a time (blockwise_attention.py), but
    where cuDNN's flash attention serves the call (flash.py).
    """
    check_window(window, causal)
    B, T, H, K = q_BTHK.shape
    S, G = k_BSGK.shape[1:3]
    window = None if window is None or window >= S else window
    drop = dropout_rate > 0 and dropout_key is not None
    block = block if block is not None and block < min(T, S) and fast_ops.allowed() else None
    if flash.eligible(q_BTHK, k_BSGK, v_BSGK, causal=causal, masked=mask is not None, dropout=drop, block=block):
        return flash.attention(q_BTHK, k_BSGK, v_BSGK, causal=causal, window=window)
    if block is not None:
        return blockwise_attention.attention(
            q_BTHK, k_BSGK, v_BSGK, causal=causal, mask=mask, window=window, dropout_rate=dropout_rate,
            dropout_key=dropout_key, block=block)
    # Devices that share the heads have none of the CPU's rows of all heads together.
    whole = mask is None and not drop and window is None and placement.parts("H", H) == 1
    if whole and fast_ops.eligible(q_BTHK, k_BSGK, v_BSGK):
        return fast_ops.attention(q_BTHK, k_BSGK, v_BSGK, causal=causal)
    weights_BHTS = attention_weights(q_BTHK, k_BSGK, causal=causal, mask=mask, window=window)
    if drop:
        keys_B = weight_masks.keys_of_examples(dropout_key, B)
        kept_BHTS = weight_masks.kept(keys_B, dropout_rate, H, jnp.arange(T), jnp.arange(S))
        weights_BHTS = jnp.where(kept_BHTS, weights_BHTS / (1 - dropout_rate), 0)
    weights = weights_BHTS.astype(v_BSGK.dtype).reshape(B, G, H // G, T, S)
    return jnp.einsum("bgrts,bsgk->btgrk", weights, v_BSGK).reshape(B, T, H, K)


def unembed(x, table_VD):
    """Returns the logits x @ table^T, [..., V], float32, for x [..., D] and table [V, D]."""
    flat_ND = x.reshape(-1, x.shape[-1])
    product = jnp.matmul if x.dtype == jnp.float32 else _low_precision_product
    logits_NV = product(flat_ND, table_VD.T)
    return logits_NV.reshape(*x.shape[:-1], table_VD.shape[0])


def cross_entropy(logits, targets):
    """Returns (-log softmax(logits)[target], log sum exp(logits)), each [...], in nats.

    `logits` [..., V] are float32, `targets` [...] integers.
    """
    return (_cross_entropy if fast_ops.allowed() else _plain_cross_entropy)(logits, targets)


def unembed_cross_entropy(x, table_VD, targets):
    """Returns cross_entropy(unembed(x, table), targets), each [...], for x [..., D]."""
    if not fast_ops.eligible(x, table_VD):
        return cross_entropy(unembed(x, table_VD), targets)
    x_ND, targets_N = x.reshape(-1, x.shape[-1]), targets.reshape(-1)
    losses_N, log_z_N = fast_ops.cross_entropy(x_ND, table_VD, targets_N)
    return losses_N.reshape(targets.shape), log_z_N.reshape(targets.shape)


def _plain_cross_entropy(logits, targets):
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    log_z = jax.nn.logsumexp(logits, axis=-1)
    return log_z - picked, log_z


_cross_entropy = jax.custom_vjp(_plain_cross_entropy)


def _cross_entropy_backward(saved, gradients):
    """d logits = p (g_loss + g_log_z) - onehot(target) g_loss, in one pass.

    Left to itself, JAX scatters the second term into as many zeros as there are logits, which are written and read: by
    XLA's count for a CPU, eight times the logits' bytes are moved in both passes, so four.
    """
    logits, targets, log_z = saved
    g_loss, g_log_z = (g[..., None] for g in gradients)
    onehot = targets[..., None] == jnp.arange(logits.shape[-1])
    return jnp.exp(logits - log_z[..., None]) * (g_loss + g_log_z) - jnp.where(onehot, g_loss, 0), None


def _cross_entropy_forward(logits, targets):
    losses, log_z = _plain_cross_entropy(logits, targets)
    return (losses, log_z), (logits, targets, log_z)


_cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def _scores(q_BTGRK, k_BSGK):
    return jnp.einsum("btgrk,bsgk->bgrts", q_BTGRK, k_BSGK, preferred_element_type=jnp.float32)


_low_precision_scores = jax.custom_vjp(_scores)


def _scores_backward(saved, gradient):
    """The float32 gradient of scores is rounded to the type of queries and keys, as in `_low_precision_product`."""
    q_BTGRK, k_BSGK = saved
    gradient = gradient.astype(q_BTGRK.dtype)
    q_gradient = jnp.einsum("bgrts,bsgk->btgrk", gradient, k_BSGK)
    return q_gradient, jnp.einsum("bgrts,btgrk->bsgk", gradient, q_BTGRK)


_low_precision_scores.defvjp(lambda q, k: (_scores(q, k), (q, k)), _scores_backward)


@jax.custom_vjp
def _low_precision_product(a, b):
    """Returns a @ b, float32, with both operands rounded to the type of a, in both directions.

    Left to itself, JAX multiplies the float32 gradient of the logits without rounding it, which
    takes the two largest matmuls of a small model's backward pass off the fast units.
    """
    return jnp.matmul(a, b.astype(a.dtype), preferred_element_type=jnp.float32)


def _product_forward(a, b):
    return _low_precision_product(a, b), (a, b)


def _product_backward(saved, gradient):
    a, b = saved
    gradient = gradient.astype(a.dtype)
    b_gradient = jnp.matmul(a.T, gradient, preferred_element_type=jnp.float32)
    return gradient @ b.T.astype(a.dtype), b_gradient.astype(b.dtype)


_low_precision_product.defvjp(_product_forward, _product_backward)

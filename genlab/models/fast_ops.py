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


def eligible(*arrays) -> bool:
    """Whether these arrays take the fast path: all float32, on a CPU, and not `disabled`."""
    return (
        _allowed.get()
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


# Images, a few at a time.

_CONVOLUTION = ("NHWC", "HWIO", "NHWC")
# Channels from which a kernel's gradient is a convolution itself: 64 x 32 x 32 take 11 ms by taps and 32 by convolution
# from 16 to 16 channels; 16 x 32 x 32 take 6.2 and 4.8 from 32 to 32, 26 and 12 from 96 to 32.
_COLUMNS = 32
# Places (images times pixels) that are worked on at a time, so that they stay in the cache. All at once, a ResNet-20's
# step took a fifth longer (batch 64); from 1,024 to 8,192 there is little between them.
_PLACES = 2_048


def _parts(*arrays):
    """Returns arrays [B, ...], of which the first are images [B, I, J, C], as [B / n, n, ...] with n I J <= _PLACES.

    Two parts at least, where there are two images: a loop of one step is no loop to XLA, which fuses across it.
    """
    B, height, width = arrays[0].shape[:3]
    n = max(n for n in range(1, max(B // 2, 1) + 1) if B % n == 0 and (n == 1 or n * height * width <= _PLACES))
    return tuple(a.reshape(B // n, n, *a.shape[1:]) for a in arrays)


def _by_images(function, *arrays):
    """Returns function(*arrays), where arrays and results are [B, ...] and each image's own, by a loop over parts."""
    _, results = lax.scan(lambda _, part: (None, function(*part)), None, _parts(*arrays))
    return tuple(a.reshape(-1, *a.shape[2:]) for a in results)


def _sum_over_images(function, *arrays):
    """Returns function(*arrays), which is a sum over images, by a loop over parts."""
    parts = _parts(*arrays)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(function, *(a[0] for a in parts)))
    return lax.scan(lambda total, part: (total + function(*part), None), zeros, parts)[0]


# Convolutions.

_CONVOLUTION = ("NHWC", "HWIO", "NHWC")


def convolution(x_BIJC, kernel_KKCF, stride, padding):
    """Returns the 2-D cross-correlation [B, I', J', F] (see ops.convolution).

    On one core XLA's forward convolution runs at 40 to 120 GFLOP/s, its gradients at 30 to 80, but inside a scan over
    steps as a plain loop at 1 (to the input) and .3 (to the kernel; 64 x 32 x 32 x 16, jax 0.10.2): so the gradient to
    the input is one more forward convolution, and so is that to the kernel at stride 1, if it is wide. A step of
    ResNet-20 on 64 images: .34 s of CPU time inside a scan in place of 10 s, and outside .37 in place of .44.
    """
    return _convolution(x_BIJC, kernel_KKCF, stride, padding)


def _convolution_forward(x, kernel, stride, padding):
    y = lax.conv_general_dilated(x, kernel, (stride,) * 2, ((padding,) * 2,) * 2, dimension_numbers=_CONVOLUTION)
    return y, (x, kernel)


def _convolution_backward(stride, padding, saved, g_BIJF):
    x_BIJC, kernel_KKCF = saved
    return (_input_gradient(g_BIJF, kernel_KKCF, x_BIJC.shape, stride, padding),
            _kernel_gradient(x_BIJC, g_BIJF, kernel_KKCF.shape, stride, padding))


def _input_gradient(g_BIJF, kernel_KKCF, shape, stride, padding):
    """The cross-correlation of g, spread out by the stride, with the kernel turned round."""
    K = kernel_KKCF.shape[0]
    before = K - 1 - padding
    turned = lax.optimization_barrier(kernel_KKCF[::-1, ::-1].swapaxes(2, 3))
    if stride == 1 and before >= 0:
        return _correlate(g_BIJF, turned, before)
    # What g, spread out, lacks on the far side: pixels that the stride left over.
    sizes = zip(shape[1:3], g_BIJF.shape[1:3], strict=True)
    after = [size + padding - stride * (g_size - 1) - 1 for size, g_size in sizes]
    edges = [(before, rest, stride - 1) for rest in after]
    spread = lax.pad(g_BIJF, jnp.zeros((), g_BIJF.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    return _correlate(spread, turned, 0)


def _correlate(x_BIJC, kernel_KKCF, padding):
    edges = ((padding, padding),) * 2
    return lax.conv_general_dilated(x_BIJC, kernel_KKCF, (1, 1), edges, dimension_numbers=_CONVOLUTION)


def _kernel_gradient(x_BIJC, g_BIJF, shape, stride, padding):
    """By parts: at once XLA would compute all that went into x and g again, in the order of turned axes."""
    by_convolution = stride == 1 and padding < shape[0] and max(shape[2:]) >= _COLUMNS
    part = _kernel_gradient_by_convolution if by_convolution else _kernel_gradient_by_taps
    return _sum_over_images(lambda g, x: part(x, g, shape, stride, padding), g_BIJF, x_BIJC)


def _kernel_gradient_by_convolution(x_BIJC, g_BIJF, shape, _, padding):
    """The cross-correlation of x and g over images.

    One of them is the image, the other the kernel, whose channels are the batch: the wider one, for these are the
    columns of the matmul within. The barriers keep XLA from turning the axes back, and the convolution into the plain
    loop of above.
    """
    K, _, C, F = shape
    if C < F:
        image_CIJB, kernel_IJBF = lax.optimization_barrier((x_BIJC.transpose(3, 1, 2, 0), g_BIJF.transpose(1, 2, 0, 3)))
        y_CKKF = lax.optimization_barrier(_correlate(image_CIJB, kernel_IJBF, padding))
        return y_CKKF.transpose(1, 2, 0, 3)
    image_FIJB, kernel_IJBC = lax.optimization_barrier((g_BIJF.transpose(3, 1, 2, 0), x_BIJC.transpose(1, 2, 0, 3)))
    y_FKKC = lax.optimization_barrier(_correlate(image_FIJB, kernel_IJBC, K - 1 - padding))
    return y_FKKC[:, ::-1, ::-1].transpose(1, 2, 3, 0)


def _kernel_gradient_by_taps(x_BIJC, g_BIJF, shape, stride, padding):
    """For each tap, the pixels that it met times g: one matmul a row of the kernel, whose taps lie side by side."""
    K, _, C, F = shape
    _, height, width, _ = g_BIJF.shape
    padded = jnp.pad(x_BIJC, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    last_row, last_column = stride * (height - 1), stride * (width - 1)
    met = jnp.concatenate([padded[:, :, j : j + last_column + 1 : stride] for j in range(K)], axis=-1)
    rows = [met[:, i : i + last_row + 1 : stride].reshape(-1, K * C) for i in range(K)]
    return jnp.stack([weight_gradient(row, g_BIJF.reshape(-1, F)) for row in rows]).reshape(shape)


_convolution = jax.custom_vjp(lambda *arguments: _convolution_forward(*arguments)[0], nondiff_argnums=(2, 3))
_convolution.defvjp(_convolution_forward, _convolution_backward)


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


def group_norm(x_BIJC, scale_C, bias_C, groups, epsilon, silu):
    """Returns ops.group_norm of these, and SiLU of that if `silu`, a few images at a time.

    Channels are summed as columns before groups are, a few channels side by side, and SiLU's slope is computed again
    from x: 16 x 32 x 32 x 96 take 2.5 ms forward in place of 5.4, with the gradient 5.4 in place of 12.9. The loop over
    images besides keeps XLA from computing all that went into x and its gradient again for each that reads them.
    """
    return _group_norm(x_BIJC, scale_C, bias_C, groups, epsilon, silu)


def _group_norm_forward(x_BIJC, scale_C, bias_C, groups, epsilon, silu):
    def normalise(x_BIJC):
        mean_B11C = _group_mean(jnp.sum(x_BIJC, axis=(1, 2), keepdims=True), x_BIJC.shape, groups)
        centred = x_BIJC - mean_B11C
        variance_B11C = _group_mean(jnp.sum(centred * centred, axis=(1, 2), keepdims=True), x_BIJC.shape, groups)
        inverse_B11C = lax.rsqrt(variance_B11C + epsilon)
        z = centred * (inverse_B11C * scale_C) + bias_C
        return z / (1 + jnp.exp(-z)) if silu else z, mean_B11C, inverse_B11C

    y_BIJC, mean_B11C, inverse_B11C = _by_images(normalise, x_BIJC)
    return y_BIJC, (x_BIJC, mean_B11C, inverse_B11C, scale_C, bias_C)


def _group_norm_backward(groups, epsilon, silu, saved, g_BIJC):
    """With y = (x - mean) r and h = g scale: dx = r (h - mean(h) - y mean(h y)), the means over a group."""
    x_BIJC, mean_B11C, inverse_B11C, scale_C, bias_C = saved

    def gradients(x_BIJC, mean_B11C, inverse_B11C, g_BIJC):
        y = (x_BIJC - mean_B11C) * inverse_B11C
        if silu:
            z = y * scale_C + bias_C
            gate = 1 / (1 + jnp.exp(-z))
            g_BIJC = g_BIJC * gate * (1 + z * (1 - gate))
        sum_B11C = jnp.sum(g_BIJC, axis=(1, 2), keepdims=True)
        moment_B11C = jnp.sum(g_BIJC * y, axis=(1, 2), keepdims=True)
        constant, slope = (_group_mean(a * scale_C, x_BIJC.shape, groups) for a in (sum_B11C, moment_B11C))
        return (g_BIJC * scale_C - constant - y * slope) * inverse_B11C, moment_B11C, sum_B11C

    dx_BIJC, moment_B11C, sum_B11C = _by_images(gradients, x_BIJC, mean_B11C, inverse_B11C, g_BIJC)
    return dx_BIJC, moment_B11C.sum(axis=(0, 1, 2)), sum_B11C.sum(axis=(0, 1, 2))


def _group_mean(sums_B11C, shape, groups):
    """The mean over each group of a [B, I, J, C] whose sums over I and J these are, once for each of its channels."""
    B, I, J, C = shape
    mean_BG1 = sums_B11C.reshape(B, groups, C // groups).sum(axis=-1, keepdims=True) / (I * J * (C // groups))
    return jnp.broadcast_to(mean_BG1, (B, groups, C // groups)).reshape(B, 1, 1, C)


_group_norm = jax.custom_vjp(lambda *arguments: _group_norm_forward(*arguments)[0], nondiff_argnums=(3, 4, 5))
_group_norm.defvjp(_group_norm_forward, _group_norm_backward)


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
    largest_N1 = logits_NV.max(axis=-1, keepdims=True)
    unnormalised_NV = jnp.exp(logits_NV - largest_N1)
    total_N1 = _row_sum(unnormalised_NV)
    log_z_N = (jnp.log(total_N1) + largest_N1)[:, 0]
    picked_N = jnp.take_along_axis(logits_NV, targets_N[:, None], axis=-1)[:, 0]
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

"""Hand-written backward passes of images' operations, as those of fast_ops.py: convolution and group norm."""

import jax
import jax.numpy as jnp
from jax import lax

from genlab.models.fast_ops import weight_gradient

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


def convolution(x_BIJC, kernel_KKCF, stride, padding):
    """Returns the 2-D cross-correlation [B, I', J', F] (see ops.convolution).

    On one core XLA's forward convolution runs at 40 to 120 GFLOP/s, its gradients at 30 to 80, but inside a scan over
    steps as a plain loop at 1 (to the input) and .3 (to the kernel; 64 x 32 x 32 x 16, jax 0.10.2): so the gradient to
    the input is one more forward convolution, and so is that to the kernel at stride 1, if it is wide. A step of
    ResNet-20 on 64 images: .34 s of CPU time inside a scan in place of 10 s, and outside .37 in place of .44.
    """
    return _convolution(x_BIJC, kernel_KKCF, stride, padding)


def _convolution_forward(x, kernel, stride, padding):
    return _correlate(x, kernel, padding, stride), (x, kernel)


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


def _correlate(x_BIJC, kernel_KLCF, padding, stride=1):
    if x_BIJC.shape[1] < kernel_KLCF.shape[0] or x_BIJC.shape[2] < kernel_KLCF.shape[1]:
        return _correlate_by_columns(x_BIJC, kernel_KLCF, padding, stride)
    edges = ((padding, padding),) * 2
    return lax.conv_general_dilated(x_BIJC, kernel_KLCF, (stride, stride), edges, dimension_numbers=_CONVOLUTION)


def _correlate_by_columns(x_BIJC, kernel_KLCF, padding, stride):
    """All that each result meets side by side, times the kernel: one matmul, for images smaller than the kernel.

    XLA's convolution runs there at 1 to 6 GFLOP/s, this at 55 to 65: 32 x 2 x 2 from 128 to 128 channels take .65 ms in
    place of 7.2, from 512 to 512 11 in place of 720 (one core); from 3 x 3 on there is little between them. The step
    of a DDPM++ of width 64 on 32 x 16 x 16, whose lowest level is 2 x 2, takes a tenth less.
    """
    K, L, C, F = kernel_KLCF.shape
    padded = jnp.pad(x_BIJC, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = padded.shape[1] - K + 1, padded.shape[2] - L + 1
    met = [padded[:, k : k + rows : stride, m : m + columns : stride] for k in range(K) for m in range(L)]
    met_BIJD = jnp.concatenate(met, axis=-1)
    return (met_BIJD.reshape(-1, K * L * C) @ kernel_KLCF.reshape(-1, F)).reshape(*met_BIJD.shape[:3], F)


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

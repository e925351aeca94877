"""Convolutional layers and networks in float64 NumPy, written from their definitions: slow, and independent of genlab.

Networks read genlab's parameters p (and running statistics s), trees of arrays by name.
"""

import numpy as np


def relu(x):
    """max(x, 0)."""
    return np.maximum(x, 0)


def windows(x, size, stride):
    """Yields (i, j, x of output pixel (i, j) [B, size, size, C]) for every window that lies within x."""
    for i in range((x.shape[1] - size) // stride + 1):
        for j in range((x.shape[2] - size) // stride + 1):
            yield i, j, x[:, i * stride : i * stride + size, j * stride : j * stride + size]


def gather(x, size, stride, reduce):
    """reduce(window) for every window, as [B, I', J', ...]."""
    rows = {}
    for i, _, window in windows(x, size, stride):
        rows.setdefault(i, []).append(reduce(window))
    return np.stack([np.stack(row, axis=1) for row in rows.values()], axis=1)


def pad(x, low, high, value):
    """x with `low` pixels before and `high` after each image axis."""
    return np.pad(x, ((0, 0), (low, high), (low, high), (0, 0)), constant_values=value)


def convolve(x, p, stride=1, padding=None, standardize=False):
    """Cross-correlation with p's kernel [k, k, C, F], plus its bias."""
    kernel = p["kernel"]
    if standardize:
        flat = kernel.reshape(-1, kernel.shape[-1])
        kernel = (kernel - flat.mean(axis=0)) / np.sqrt(flat.var(axis=0) + 1e-10)
    size = kernel.shape[0]
    padding = (size - 1) // 2 if padding is None else padding
    x = pad(x, padding, padding, 0.0)
    return gather(x, size, stride, lambda w: np.tensordot(w, kernel, 3)) + p.get("bias", 0.0)


def linear(x, p):
    """x kernel + bias."""
    return x @ p["kernel"] + p["bias"]


def batch_norm(x, p, s):
    """Running statistics."""
    return (x - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"]


def group_norm(x, p, groups):
    """Image by image, group by group."""
    y = np.empty_like(x)
    for b in range(len(x)):
        for channels in np.split(np.arange(x.shape[-1]), groups):
            group = x[b][..., channels]
            y[b][..., channels] = (group - group.mean()) / np.sqrt(group.var() + 1e-5)
    return y * p["scale"] + p["bias"]


def max_pool(x, size, stride, low=0, high=0):
    """Largest of each window."""
    return gather(pad(x, low, high, -np.inf), size, stride, lambda w: w.max(axis=(1, 2)))


def caffe_max_pool(x):
    """3x3, stride 2, with windows that hang over the far edge as long as they start inside and cover new pixels."""
    size = x.shape[1]
    covered = 3 + 2 * ((size - 3) // 2)
    return max_pool(x, 3, 2, high=2 if covered < size else 0)


def adaptive_mean_pool(x, size):
    """Mean over rows floor(i n / size) to ceil((i + 1) n / size), and so over columns."""

    def span(i, n):
        return slice(int(np.floor(i * n / size)), int(np.ceil((i + 1) * n / size)))

    _, I, J, _ = x.shape
    rows = [[x[:, span(i, I), span(j, J)].mean(axis=(1, 2)) for j in range(size)] for i in range(size)]
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def local_response_norm(x):
    """Two channels to either side (Krizhevsky et al. 2012, section 3.3, as in Caffe)."""
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        near = x[..., max(c - 2, 0) : c + 3]
        y[..., c] = x[..., c] / (1 + 1e-4 / 5 * (near**2).sum(axis=-1)) ** 0.75
    return y


def hidden_layers(x, p):
    """Flattened, then linear layers with ReLU."""
    x = x.reshape(len(x), -1)
    for i in range(len(p)):
        x = relu(linear(x, p[f"layer_{i + 1}"]))
    return x


def resnet(p, s, x, model):
    """He et al. 2015 and 2016, BiT."""

    def conv(x, name, stride=1):
        return convolve(x, scope[name], stride, standardize=model.weight_standardization)

    def norm(x, name):
        if model.norm == "groupnorm":
            return group_norm(x, scope[name], 32)
        return batch_norm(x, scope[name], statistics[name])

    scope, statistics = p, s
    if model.stem == "imagenet":
        x = conv(x, "stem", 2)
        x = x if model.preactivation else relu(norm(x, "stem_norm"))
        x = max_pool(x, 3, 2, 1, 1)
    else:
        x = conv(x, "stem")
        x = x if model.preactivation else relu(norm(x, "stem_norm"))
    for stage, depth in enumerate(model.depths, start=1):
        for block in range(1, depth + 1):
            name = f"stage_{stage}_block_{block}"
            scope, statistics = p[name], s.get(name, {})
            stride = 2 if stage > 1 and block == 1 else 1
            strides = (1, stride, 1) if model.bottleneck else (stride, 1)
            if model.preactivation:
                a = h = relu(norm(x, "norm_1"))
                for i, k in enumerate(strides, start=1):
                    a = a if i == 1 else relu(norm(a, f"norm_{i}"))
                    a = conv(a, f"conv_{i}", k)
                x = a + (conv(h, "projection", stride) if "projection" in scope else x)
            else:
                a = x
                for i, k in enumerate(strides, start=1):
                    a = norm(conv(a, f"conv_{i}", k), f"norm_{i}")
                    a = relu(a) if i < len(strides) else a
                if "projection" in scope:
                    x = norm(conv(x, "projection", stride), "projection_norm")
                x = relu(x + a)
    scope, statistics = p, s
    if model.preactivation:
        x = relu(norm(x, "final_norm"))
    return linear(x.mean(axis=(1, 2)), p["head"])


def mlp(p, s, x, model):
    """Hidden layers on pixels."""
    return linear(hidden_layers(x, p["hidden_layers"]), p["head"])


def alexnet(p, s, x, model):
    """Krizhevsky 2014."""
    x = convolve(x, p["conv_1"], 4, 2) if model.stem == "imagenet" else convolve(x, p["conv_1"])
    x = max_pool(relu(x), 3, 2)
    x = max_pool(relu(convolve(x, p["conv_2"])), 3, 2)
    for name in ("conv_3", "conv_4", "conv_5"):
        x = relu(convolve(x, p[name]))
    x = adaptive_mean_pool(max_pool(x, 3, 2), 6)
    return linear(hidden_layers(x, p["hidden_layers"]), p["head"])


def vgg(p, s, x, model):
    """Simonyan and Zisserman 2014."""
    for stage, depth in enumerate(model.depths, start=1):
        for i in range(1, depth + 1):
            x = relu(convolve(x, p[f"stage_{stage}_conv_{i}"]))
        x = max_pool(x, 2, 2)
    return linear(hidden_layers(adaptive_mean_pool(x, 7), p["hidden_layers"]), p["head"])


def googlenet(p, s, x, model):
    """Szegedy et al. 2014."""
    if model.stem == "imagenet":
        x = caffe_max_pool(relu(convolve(x, p["conv_1"], 2)))
    else:
        x = relu(convolve(x, p["conv_1"]))
    x = relu(convolve(local_response_norm(x), p["conv_2_reduction"]))
    x = local_response_norm(relu(convolve(x, p["conv_2"])))
    for stage in ("3ab", "4abcde", "5ab"):
        x = caffe_max_pool(x)
        for letter in stage[1:]:
            q = p[f"inception_{stage[0]}{letter}"]
            reduced = {k: relu(convolve(x, q[f"conv_{k}_reduction"])) for k in ("3x3", "5x5")}
            x = np.concatenate([relu(convolve(x, q["conv_1x1"])),
                                *(relu(convolve(each, q[f"conv_{k}"])) for k, each in reduced.items()),
                                relu(convolve(max_pool(x, 3, 1, 1, 1), q["pool_projection"]))], axis=-1)
    return linear(x.mean(axis=(1, 2)), p["head"])


def densenet(p, s, x, model):
    """Huang et al. 2016."""

    def norm_relu(x, name):
        return relu(batch_norm(x, p[name], s[name]))

    x = norm_relu(convolve(x, p["stem"], 2 if model.stem == "imagenet" else 1), "stem_norm")
    if model.stem == "imagenet":
        x = max_pool(x, 3, 2, 1, 1)
    for block, depth in enumerate(model.depths, start=1):
        if block > 1:
            x = convolve(norm_relu(x, f"transition_{block - 1}_norm"), p[f"transition_{block - 1}"])
            x = gather(x, 2, 2, lambda w: w.mean(axis=(1, 2)))
        for i in range(1, depth + 1):
            name = f"block_{block}_layer_{i}"
            h = convolve(norm_relu(x, f"{name}_norm_1"), p[f"{name}_conv_1"])
            h = convolve(norm_relu(h, f"{name}_norm_2"), p[f"{name}_conv_2"])
            x = np.concatenate([x, h], axis=-1)
    return linear(norm_relu(x, "final_norm").mean(axis=(1, 2)), p["head"])

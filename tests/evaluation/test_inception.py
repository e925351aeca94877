"""InceptionV3 against its forward pass in NumPy, written from torchvision's and pytorch-fid's definitions (NCHW)."""

import math

import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.evaluation import InceptionFeatures, inception

SIZE = 107  # the smallest image whose last feature map is 2 x 2: 53, 51, 25, 23, 11, 5, 2


class Numpy:
    """The network on tensors by torchvision's names; x is [N, C, I, J], float64."""

    def __init__(self, weights):
        self.weights = weights

    def windows(self, x, kernel, stride, padding, fill):
        (rows, columns), (down, right) = kernel, padding
        x = np.pad(x, ((0, 0), (0, 0), (down, down), (right, right)), constant_values=fill)
        windows = np.lib.stride_tricks.sliding_window_view(x, (rows, columns), axis=(2, 3))
        return windows[:, :, ::stride, ::stride]

    def unit(self, x, name, stride=1, padding=(0, 0)):
        kernel = self.weights[f"{name}.conv.weight"].astype(np.float64)
        windows = self.windows(x, kernel.shape[2:], stride, padding, 0.0)
        x = np.einsum("ncijkl,ockl->noij", windows, kernel, optimize=True)
        leaves = ("weight", "bias", "running_mean", "running_var")
        scale, bias, mean, variance = (self.weights[f"{name}.bn.{leaf}"][:, None, None] for leaf in leaves)
        return np.maximum((x - mean) / np.sqrt(variance + 0.001) * scale + bias, 0)

    def max_pool(self, x, stride=2, padding=0):
        return self.windows(x, (3, 3), stride, (padding, padding), -np.inf).max(axis=(-2, -1))

    def average_pool(self, x):
        windows = self.windows(x, (3, 3), 1, (1, 1), np.nan)
        return np.nanmean(windows, axis=(-2, -1))

    def a(self, x, n):
        b5 = self.unit(self.unit(x, f"{n}.branch5x5_1"), f"{n}.branch5x5_2", padding=(2, 2))
        b3 = self.unit(self.unit(x, f"{n}.branch3x3dbl_1"), f"{n}.branch3x3dbl_2", padding=(1, 1))
        b3 = self.unit(b3, f"{n}.branch3x3dbl_3", padding=(1, 1))
        pool = self.unit(self.average_pool(x), f"{n}.branch_pool")
        return np.concatenate([self.unit(x, f"{n}.branch1x1"), b5, b3, pool], axis=1)

    def b(self, x, n):
        b3 = self.unit(self.unit(x, f"{n}.branch3x3dbl_1"), f"{n}.branch3x3dbl_2", padding=(1, 1))
        b3 = self.unit(b3, f"{n}.branch3x3dbl_3", stride=2)
        return np.concatenate([self.unit(x, f"{n}.branch3x3", stride=2), b3, self.max_pool(x)], axis=1)

    def c(self, x, n):
        row, column = (0, 3), (3, 0)
        b7 = self.unit(self.unit(x, f"{n}.branch7x7_1"), f"{n}.branch7x7_2", padding=row)
        b7 = self.unit(b7, f"{n}.branch7x7_3", padding=column)
        double = self.unit(x, f"{n}.branch7x7dbl_1")
        for i, padding in ((2, column), (3, row), (4, column), (5, row)):
            double = self.unit(double, f"{n}.branch7x7dbl_{i}", padding=padding)
        pool = self.unit(self.average_pool(x), f"{n}.branch_pool")
        return np.concatenate([self.unit(x, f"{n}.branch1x1"), b7, double, pool], axis=1)

    def d(self, x, n):
        b3 = self.unit(self.unit(x, f"{n}.branch3x3_1"), f"{n}.branch3x3_2", stride=2)
        b7 = self.unit(self.unit(x, f"{n}.branch7x7x3_1"), f"{n}.branch7x7x3_2", padding=(0, 3))
        b7 = self.unit(self.unit(b7, f"{n}.branch7x7x3_3", padding=(3, 0)), f"{n}.branch7x7x3_4", stride=2)
        return np.concatenate([b3, b7, self.max_pool(x)], axis=1)

    def e(self, x, n, pooled):
        b3 = self.unit(x, f"{n}.branch3x3_1")
        double = self.unit(self.unit(x, f"{n}.branch3x3dbl_1"), f"{n}.branch3x3dbl_2", padding=(1, 1))
        return np.concatenate([
            self.unit(x, f"{n}.branch1x1"),
            self.unit(b3, f"{n}.branch3x3_2a", padding=(0, 1)), self.unit(b3, f"{n}.branch3x3_2b", padding=(1, 0)),
            self.unit(double, f"{n}.branch3x3dbl_3a", padding=(0, 1)),
            self.unit(double, f"{n}.branch3x3dbl_3b", padding=(1, 0)),
            self.unit(pooled, f"{n}.branch_pool"),
        ], axis=1)

    def features(self, x):
        x = self.unit(self.unit(x, "Conv2d_1a_3x3", stride=2), "Conv2d_2a_3x3")
        x = self.max_pool(self.unit(x, "Conv2d_2b_3x3", padding=(1, 1)))
        x = self.max_pool(self.unit(self.unit(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3"))
        for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self.a(x, name)
        x = self.b(x, "Mixed_6a")
        for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            x = self.c(x, name)
        x = self.d(x, "Mixed_7a")
        x = self.e(x, "Mixed_7b", self.average_pool(x))
        assert x.shape[2:] == (2, 2)
        return self.e(x, "Mixed_7c", self.max_pool(x, stride=1, padding=1)).mean(axis=(2, 3))


def linear(rows, size, half_pixel):
    """[I, ...] -> [size, ...], one output row at a time."""
    out = np.zeros((size, *rows.shape[1:]))
    for i in range(size):
        at = (i + 0.5) * len(rows) / size - 0.5 if half_pixel else i * len(rows) / size
        at = max(at, 0.0)
        low = min(int(at), len(rows) - 1)
        high = min(low + 1, len(rows) - 1)
        out[i] = rows[low] * (1 - (at - low)) + rows[high] * (at - low)
    return out


def bilinear(image, size, half_pixel):
    """[I, J, C] -> [size, size, C]."""
    return linear(linear(image, size, half_pixel).swapaxes(0, 1), size, half_pixel).swapaxes(0, 1)


@pytest.fixture(scope="module")
def shapes():
    return inception.network_shapes()


@pytest.fixture(scope="module")
def weights(shapes):
    """Random tensors that keep activations of order 1, and a head that is not read."""
    rng = np.random.default_rng(0)
    tensors = {"fc.weight": np.zeros((1008, 2048), np.float32)}
    for name, shape in shapes.items():
        if name.endswith("conv.weight"):
            tensors[name] = rng.normal(0, np.sqrt(2 / math.prod(shape[1:])), shape).astype(np.float32)
        elif name.endswith(("running_var", "bn.weight")):
            tensors[name] = rng.uniform(0.6, 1.6, shape).astype(np.float32)
        else:
            tensors[name] = rng.normal(0, 0.2, shape).astype(np.float32)
    return tensors


@pytest.fixture(scope="module")
def weights_file(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "weights.npz"
    np.savez(path, **weights)
    return str(path)


def test_tensors_are_torchvisions(shapes):
    # torchvision: 27,161,264 parameters, of which 3,326,696 of the auxiliary head and 2,049,000 of the head.
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    moments = sum(size for name, size in sizes.items() if "running" in name)
    assert (len(shapes), sum(sizes.values()) - moments, moments) == (5 * 94, 27_161_264 - 3_326_696 - 2_049_000, 34_432)
    for name, shape in {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_4a_3x3.bn.running_var": (192,),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5d.branch_pool.conv.weight": (64, 288, 1, 1),
        "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
        "Mixed_6b.branch7x7_2.conv.weight": (128, 128, 1, 7),
        "Mixed_6e.branch7x7dbl_5.conv.weight": (192, 192, 1, 7),
        "Mixed_7a.branch7x7x3_3.conv.weight": (192, 192, 7, 1),
        "Mixed_7b.branch3x3dbl_1.conv.weight": (448, 1280, 1, 1),
        "Mixed_7c.branch3x3_2b.conv.weight": (384, 384, 3, 1),
    }.items():
        assert shapes[name] == shape, name


def test_features_as_numpy_has_them(weights, weights_file, monkeypatch):
    monkeypatch.setattr(inception, "IMAGE_SIZE", SIZE)
    images = np.random.default_rng(1).integers(0, 256, (2, 40, 24, 3), dtype=np.uint8)
    found = InceptionFeatures(weights_file, batch_size=2)(images)
    scaled = np.stack([bilinear(image / 255, SIZE, half_pixel=True) * 2 - 1 for image in images])
    expected = Numpy(weights).features(scaled.transpose(0, 3, 1, 2))
    assert found.shape == (2, 2_048)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("length", [32, 299, 400])
@pytest.mark.parametrize("half_pixel", [True, False])
def test_resizing_matrix(length, half_pixel):
    values = np.random.default_rng(2).normal(size=length)
    expected = linear(values, 299, half_pixel)
    np.testing.assert_allclose(inception.resize_matrix(length, half_pixel) @ values, expected, atol=1e-4)


def test_preprocessing_is_in_name_and_hash(weights_file):
    port = InceptionFeatures(weights_file)
    original = InceptionFeatures(weights_file, preprocessing="tensorflow")
    assert port.name != original.name and port.hash != original.hash
    black_and_white = np.array([0, 255], np.uint8)[None, None, :, None].repeat(3, axis=-1)
    for extractor, ends in ((port, (-1, 1)), (original, (-1, 127 / 128))):
        images = np.asarray(extractor.preprocess(black_and_white))
        assert images.shape == (1, 299, 299, 3)
        np.testing.assert_allclose((images.min(), images.max()), ends, atol=1e-6)


def test_bad_files(tmp_path, shapes):
    path = str(tmp_path / "weights.npz")
    with pytest.raises(ConfigError, match="there is no Inception weights file"):
        InceptionFeatures(path)
    np.savez(path, **{"fc.weight": np.zeros(3)})
    with pytest.raises(ConfigError, match="lacks Conv2d_1a_3x3.bn.running_mean; it must hold pytorch-fid's tensors"):
        InceptionFeatures(path)
    (tmp_path / "weights.npz").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="is no .npz file of Inception weights"):
        InceptionFeatures(path)
    name = "Conv2d_1a_3x3.conv.weight"
    with pytest.raises(ConfigError, match=rf"has {name} of shape \[3, 3, 3, 32\]; InceptionV3 has \[32, 3, 3, 3\]"):
        inception.to_variables({name: np.zeros((3, 3, 3, 32))}, {name: shapes[name]}, "file")
    with pytest.raises(ConfigError, match=f"has {name} that is not finite"):
        inception.to_variables({name: np.full(shapes[name], np.nan)}, {name: shapes[name]}, "file")


def test_bad_settings(weights_file):
    with pytest.raises(ConfigError, match='preprocessing must be "pytorch-fid" or "tensorflow", not "clean"'):
        InceptionFeatures("none", preprocessing="clean")
    with pytest.raises(ConfigError, match="batch_size=0 must be at least 1"):
        InceptionFeatures("none", batch_size=0)
    with pytest.raises(ConfigError, match="takes images of 3 channels, not 1"):
        InceptionFeatures(weights_file)(np.zeros((2, 8, 8, 1), np.uint8))

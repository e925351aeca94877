"""InceptionV3 as the Fréchet Inception Distance uses it, with weights that the user supplies.

Szegedy et al. 2016 (arXiv 1512.00567), in the version of TensorFlow's graph of 2015-12-05, as pytorch-fid ports it.
"""

import functools
import os
import types
import zipfile
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError

IMAGE_SIZE = 299
FEATURES = 2_048


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm with its running moments (epsilon .001), ReLU."""

    width: int
    kernel: tuple[int, int]
    strides: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x_BIJC):
        x_BIJC = nn.Conv(self.width, self.kernel, self.strides, self.padding, use_bias=False, name="conv",
                         precision=jax.lax.Precision.HIGHEST)(x_BIJC)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x_BIJC))


# A branch: units one after the other, each (name, width, kernel) or (name, width, kernel, stride): a stride goes with
# padding VALID, all else is padded to its size.
_Branch = tuple[tuple, ...]


def _units(x_BIJC, branch: _Branch):
    """Applies a branch, within the compact method that calls it."""
    for name, width, kernel, *strides in branch:
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        options = {"strides": strides[0], "padding": "VALID"} if strides else {}
        x_BIJC = ConvUnit(width, kernel, **options, name=name)(x_BIJC)
    return x_BIJC


def _average_pool(x_BIJC):
    """Of 3 x 3; at the border over the pixels that are there, as TensorFlow's (torchvision's counts the zeros)."""
    return nn.avg_pool(x_BIJC, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _max_pool(x_BIJC, strides: int = 2):
    """Of 3 x 3."""
    return nn.max_pool(x_BIJC, (3, 3), (strides, strides), "SAME" if strides == 1 else "VALID")


class BlockA(nn.Module):
    """35 x 35 pixels: branches of 1x1, 5x5, twice 3x3, and average pooling; 224 + pool_width channels."""

    pool_width: int

    @nn.compact
    def __call__(self, x_BIJC):
        return jnp.concatenate([
            _units(x_BIJC, (("branch1x1", 64, 1),)),
            _units(x_BIJC, (("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5))),
            _units(x_BIJC, (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3))),
            _units(_average_pool(x_BIJC), (("branch_pool", self.pool_width, 1),)),
        ], axis=-1)


class BlockB(nn.Module):
    """From 35 x 35 to 17 x 17 pixels; adds 480 channels."""

    @nn.compact
    def __call__(self, x_BIJC):
        return jnp.concatenate([
            _units(x_BIJC, (("branch3x3", 384, 3, 2),)),
            _units(x_BIJC, (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3, 2))),
            _max_pool(x_BIJC),
        ], axis=-1)


class BlockC(nn.Module):
    """17 x 17 pixels: 7x7 convolutions as rows (1, 7) and columns (7, 1); 768 channels."""

    width: int

    @nn.compact
    def __call__(self, x_BIJC):
        row, column, width = (1, 7), (7, 1), self.width
        return jnp.concatenate([
            _units(x_BIJC, (("branch1x1", 192, 1),)),
            _units(x_BIJC, (("branch7x7_1", width, 1), ("branch7x7_2", width, row), ("branch7x7_3", 192, column))),
            _units(x_BIJC, (("branch7x7dbl_1", width, 1), ("branch7x7dbl_2", width, column),
                            ("branch7x7dbl_3", width, row), ("branch7x7dbl_4", width, column),
                            ("branch7x7dbl_5", 192, row))),
            _units(_average_pool(x_BIJC), (("branch_pool", 192, 1),)),
        ], axis=-1)


class BlockD(nn.Module):
    """From 17 x 17 to 8 x 8 pixels; adds 512 channels."""

    @nn.compact
    def __call__(self, x_BIJC):
        return jnp.concatenate([
            _units(x_BIJC, (("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2))),
            _units(x_BIJC, (("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, (1, 7)),
                            ("branch7x7x3_3", 192, (7, 1)), ("branch7x7x3_4", 192, 3, 2))),
            _max_pool(x_BIJC),
        ], axis=-1)


class BlockE(nn.Module):
    """8 x 8 pixels, 2,048 channels; the graph's last block pools by maximum, its last but one by average."""

    pool: str

    @nn.compact
    def __call__(self, x_BIJC):
        def fork(x_BIJC, row, column):
            return [_units(x_BIJC, ((row, 384, (1, 3)),)), _units(x_BIJC, ((column, 384, (3, 1)),))]

        pooled_BIJC = _max_pool(x_BIJC, strides=1) if self.pool == "max" else _average_pool(x_BIJC)
        return jnp.concatenate([
            _units(x_BIJC, (("branch1x1", 320, 1),)),
            *fork(_units(x_BIJC, (("branch3x3_1", 384, 1),)), "branch3x3_2a", "branch3x3_2b"),
            *fork(_units(x_BIJC, (("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3))),
                  "branch3x3dbl_3a", "branch3x3dbl_3b"),
            _units(pooled_BIJC, (("branch_pool", 192, 1),)),
        ], axis=-1)


class InceptionV3(nn.Module):
    """The network without its head: images float32 [B, 299, 299, 3] in [-1, 1] -> features float32 [B, 2048].

    21,785,568 parameters and 34,432 running moments. Modules have torchvision's names.
    """

    @nn.compact
    def __call__(self, x_BIJC):
        x_BIJC = _units(x_BIJC, (("Conv2d_1a_3x3", 32, 3, 2), ("Conv2d_2a_3x3", 32, 3, 1), ("Conv2d_2b_3x3", 64, 3)))
        x_BIJC = _max_pool(x_BIJC)
        x_BIJC = _units(x_BIJC, (("Conv2d_3b_1x1", 80, 1), ("Conv2d_4a_3x3", 192, 3, 1)))
        x_BIJC = _max_pool(x_BIJC)
        for letter, pool_width in zip("bcd", (32, 64, 64), strict=True):
            x_BIJC = BlockA(pool_width, name=f"Mixed_5{letter}")(x_BIJC)
        x_BIJC = BlockB(name="Mixed_6a")(x_BIJC)
        for letter, width in zip("bcde", (128, 160, 160, 192), strict=True):
            x_BIJC = BlockC(width, name=f"Mixed_6{letter}")(x_BIJC)
        x_BIJC = BlockD(name="Mixed_7a")(x_BIJC)
        x_BIJC = BlockE("average", name="Mixed_7b")(x_BIJC)
        x_BIJC = BlockE("max", name="Mixed_7c")(x_BIJC)
        return x_BIJC.mean(axis=(1, 2))


# torchvision's last word on a tensor -> Linen's collection and last word.
_LEAVES = {
    "conv.weight": ("params", "conv", "kernel"),
    "bn.weight": ("params", "bn", "scale"),
    "bn.bias": ("params", "bn", "bias"),
    "bn.running_mean": ("batch_stats", "bn", "mean"),
    "bn.running_var": ("batch_stats", "bn", "var"),
}


def weight_shapes(module: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """The tensors that a module takes, by torchvision's name, with PyTorch's shapes (kernels are [out, in, I, J])."""
    key, images = jax.random.key(0), jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    tree = jax.eval_shape(module.init, key, images)
    names = {value: name for name, value in _LEAVES.items()}
    shapes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        collection, *modules, last, leaf_name = (entry.key for entry in path)
        name = names[collection, last, leaf_name]
        shape = leaf.shape
        shapes[".".join([*modules, name])] = (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape
    return shapes


@functools.cache
def network_shapes() -> Mapping[str, tuple[int, ...]]:
    """`weight_shapes` of the network."""
    return types.MappingProxyType(weight_shapes(InceptionV3(), (IMAGE_SIZE, IMAGE_SIZE, 3)))


def to_variables(weights: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], origin: str) -> dict:
    """Linen's variables of tensors by torchvision's names; others than `shapes` names (a head) are left out.

    Raises:
      ConfigError: a tensor is missing, of another shape or not finite.
    """
    variables: dict = {"params": {}, "batch_stats": {}}
    for name, shape in shapes.items():
        if name not in weights:
            raise ConfigError(f"{origin} lacks {name}; it must hold pytorch-fid's tensors by their names")
        array = np.asarray(weights[name], np.float32)
        if array.shape != tuple(shape):
            raise ConfigError(f"{origin} has {name} of shape {list(array.shape)}; InceptionV3 has {list(shape)}")
        if not np.isfinite(array).all():
            raise ConfigError(f"{origin} has {name} that is not finite")
        *modules, kind, leaf = name.split(".")
        collection, last, leaf_name = _LEAVES[f"{kind}.{leaf}"]
        place = variables[collection]
        for module in [*modules, last]:
            place = place.setdefault(module, {})
        place[leaf_name] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    return variables


def load_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, those of a head and counters left out.

    Raises:
      ConfigError: no such file, or it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file if not name.startswith(("fc.", "AuxLogits."))}
    except FileNotFoundError:
        raise ConfigError(f"there is no Inception weights file {path}") from None
    except (ValueError, TypeError, AttributeError, zipfile.BadZipFile):
        raise ConfigError(f"{path} is no .npz file of Inception weights") from None


def resize_matrix(size: int, half_pixel: bool) -> np.ndarray:
    """Bilinear interpolation from `size` to 299 pixels along one axis, float32 [299, size], without anti-aliasing.

    Pixel centres are at .5, 1.5, ... with `half_pixel` (PyTorch's align_corners=False), and at 0, 1, ... without
    (TensorFlow 1's resize_bilinear, which the original graph runs); beyond the outer centres the border is repeated.
    """
    scale, offset = size / IMAGE_SIZE, 0.5 if half_pixel else 0.0
    place_I = np.clip((np.arange(IMAGE_SIZE) + offset) * scale - offset, 0, size - 1)
    return np.clip(1 - np.abs(place_I[:, None] - np.arange(size)), 0, None).astype(np.float32)

"""What turns images into features: pixels, a network's activations, or points as they are."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError
from genlab.evaluation import inception


class Extractor(Protocol):
    """A frozen object that maps images to features.

    Attributes:
      name: what a record says of it.
      hash: 16 hexadecimal digits of a SHA-256 of all that decides the features, weights included.
    """

    @property
    def name(self) -> str: ...

    @property
    def hash(self) -> str: ...

    def __call__(self, images_NIJC: np.ndarray) -> np.ndarray:
        """Features float32 [N, D] of images uint8 [N, I, J, C].

        Raises:
          ConfigError: other images than the extractor takes.
        """
        ...


@dataclass(frozen=True)
class PixelFeatures:
    """Pixels over 255, flattened: float32 [N, I J C] in [0, 1]."""

    @property
    def name(self) -> str:
        """See `Extractor`."""
        return "pixels"

    @property
    def hash(self) -> str:
        """See `Extractor`."""
        return text_hash("pixels / 255")

    def __call__(self, images_NIJC: np.ndarray) -> np.ndarray:
        """See `Extractor`."""
        check_images(images_NIJC)
        return images_NIJC.reshape(len(images_NIJC), -1).astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class PointFeatures:
    """Points, or features made elsewhere, as they are: float [N, D] -> float32 [N, D]."""

    @property
    def name(self) -> str:
        """See `Extractor`."""
        return "points"

    @property
    def hash(self) -> str:
        """See `Extractor`."""
        return text_hash("points")

    def __call__(self, points_ND: np.ndarray) -> np.ndarray:
        """See `Extractor`, of points float [N, D]."""
        points_ND = np.asarray(points_ND)
        if points_ND.ndim != 2 or points_ND.dtype.kind != "f":
            raise ConfigError(f"points must be float [N, D], not {points_ND.dtype} {list(points_ND.shape)}")
        return points_ND.astype(np.float32)


@dataclass(frozen=True, eq=False)
class NetworkFeatures:
    """Activations of a network that was trained elsewhere, such as a classifier's before its head.

    Attributes:
      name: says which network and which layer; it is hashed too, as `apply` cannot be.
      apply: (variables, images uint8 [B, I, J, C]) -> [B, D], a pure function to be compiled.
      variables: its pytree of arrays.
      batch_size: images at a time; the last batch is filled up, so one compilation serves all.
    """

    name: str
    apply: Callable[[Any, jax.Array], jax.Array]
    variables: Any
    batch_size: int = 256

    def __post_init__(self):
        if self.batch_size < 1:
            raise ConfigError(f"batch_size={self.batch_size} must be at least 1")

    @functools.cached_property
    def hash(self) -> str:
        """See `Extractor`."""
        return arrays_hash(self.name, self.variables)

    def __call__(self, images_NIJC: np.ndarray) -> np.ndarray:
        """See `Extractor`."""
        check_images(images_NIJC)
        return in_batches(functools.partial(self._compiled, self.variables), images_NIJC, self.batch_size, self.name)

    @functools.cached_property
    def _compiled(self):
        return jax.jit(self.apply)


@dataclass(frozen=True, eq=False)
class InceptionFeatures:
    """The 2,048 features of the Fréchet Inception Distance, of images of 3 channels and any size.

    genlab brings no weights. Where PyTorch is, pytorch-fid's file pt_inception-2015-12-05-6726825d.pth becomes the
    .npz that is read here by

        weights = torch.load("pt_inception-2015-12-05-6726825d.pth", map_location="cpu")
        numpy.savez("inception.npz", **{name: tensor.numpy() for name, tensor in weights.items()})

    Attributes:
      path: of that .npz: torchvision's names, such as "Mixed_5b.branch1x1.conv.weight".
      preprocessing: "pytorch-fid": bilinear resizing with half-pixel centres, then x / 127.5 - 1. "tensorflow": as the
        original graph, without half-pixel centres and (x - 128) / 128, for statistics that were made with that.
        Neither smooths larger images before it resizes them (Parmar et al. 2022, arXiv 2104.11222).
      batch_size: images at a time; the largest activation of 32 takes 177 MB.
    """

    path: str
    preprocessing: Literal["pytorch-fid", "tensorflow"] = "pytorch-fid"
    batch_size: int = 32

    def __post_init__(self):
        if self.preprocessing not in ("pytorch-fid", "tensorflow"):
            raise ConfigError(f'preprocessing must be "pytorch-fid" or "tensorflow", not "{self.preprocessing}"')
        if self.batch_size < 1:
            raise ConfigError(f"batch_size={self.batch_size} must be at least 1")
        _ = self._variables  # a bad file is refused now, not after sampling

    @property
    def name(self) -> str:
        """See `Extractor`."""
        return f"InceptionV3 ({self.preprocessing})"

    @functools.cached_property
    def hash(self) -> str:
        """See `Extractor`."""
        return arrays_hash(self.name, self._variables)

    def __call__(self, images_NIJC: np.ndarray) -> np.ndarray:
        """See `Extractor`."""
        check_images(images_NIJC, channels=3)
        return in_batches(functools.partial(self._compiled, self._variables), images_NIJC, self.batch_size, self.name)

    @functools.cached_property
    def _variables(self):
        weights = inception.load_weights(self.path)
        return inception.to_variables(weights, inception.network_shapes(), self.path)

    @functools.cached_property
    def _compiled(self):
        return jax.jit(lambda variables, images: inception.InceptionV3().apply(variables, self.preprocess(images)))

    def preprocess(self, images_BIJC: jax.Array) -> jax.Array:
        """Images uint8 [B, I, J, 3] as the network takes them, float32 [B, 299, 299, 3]."""
        half_pixel = self.preprocessing == "pytorch-fid"
        rows, columns = (inception.resize_matrix(size, half_pixel) for size in images_BIJC.shape[1:3])
        resized = jnp.einsum("xi,bijc,yj->bxyc", rows, images_BIJC.astype(jnp.float32), columns,
                             precision=jax.lax.Precision.HIGHEST)
        return resized / 127.5 - 1 if half_pixel else (resized - 128) / 128


def in_batches(function: Callable, images_NIJC: np.ndarray, batch_size: int, name: str) -> np.ndarray:
    """Applies a compiled function to batches of one size, and returns its features float32 [N, D].

    Raises:
      ConfigError: it returns anything but [B, D].
    """
    features = []
    for start in range(0, len(images_NIJC), batch_size):
        batch = images_NIJC[start:start + batch_size]
        filled = np.pad(batch, [(0, batch_size - len(batch)), *[(0, 0)] * (batch.ndim - 1)])
        each = np.asarray(function(filled), np.float32)
        if each.ndim != 2 or len(each) != batch_size:
            raise ConfigError(f"{name} gives {list(each.shape)} for {batch_size} images; features are [B, D]")
        features.append(each[:len(batch)])
    return np.concatenate(features)


def check_images(images: np.ndarray, channels: int | None = None) -> None:
    """Raises ConfigError unless these are images uint8 [N, I, J, C], N >= 1, of so many channels if given."""
    shape, dtype = list(np.shape(images)), getattr(images, "dtype", type(images).__name__)
    if len(shape) != 4 or dtype != np.uint8 or not shape[0]:
        raise ConfigError(f"an extractor takes images uint8 [N, I, J, C], 0 to 255, not {dtype} {shape}")
    if channels and shape[-1] != channels:
        raise ConfigError(f"this extractor takes images of {channels} channels, not {shape[-1]}")


def text_hash(text: str) -> str:
    """16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def arrays_hash(text: str, tree: Any) -> str:
    """16 hexadecimal digits of a SHA-256 of a text and a pytree's paths, types, shapes and bytes."""
    digest = hashlib.sha256(text.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        digest.update(f"|{jax.tree_util.keystr(path)}|{array.dtype}|{array.shape}|".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]

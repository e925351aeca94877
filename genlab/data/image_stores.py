"""Where a split's images lie: decoded in one array, or as files' bytes that are decoded on access.

Both answer `read(indices, frame, keys_VB)`: V framings of each image, uint8 [V, B, I, J, C], and labels int32 [B].
An image that cannot be decoded is left out of an array; on access the next example stands in for it. Both are
counted in `corrupt`, and one warning tells.
"""

import hashlib
import io
import json
import struct
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Protocol

import numpy as np
from absl import logging
from PIL import Image

from genlab.configuration import ConfigError
from genlab.data.row_threads import available_cores
from genlab.data.transforms import Framing, Resize, Shape, resample_boxes

RECORDS_AT_ONCE = 256
STAND_INS = 100  # more images in a row than this that cannot be decoded are no accident

# What Pillow raises of bytes that are no image, or only the beginning of one.
_CANNOT_DECODE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


class CorruptImageError(ValueError):
    """Bytes that are no image, or not all of one."""


class Records(Protocol):
    """A split's examples as they are stored."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[bytes, int | None]]:
        """Bytes of the image's file and the label, of each example asked for."""
        ...


class ImageStore(Protocol):
    """A split's images and labels.

    Attributes:
      sha256: names the content.
      corrupt: the examples found so far whose images cannot be decoded, by their place in the source.
    """

    sha256: str
    corrupt: set[int]

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def read(
        self, indices: np.ndarray, frame: Framing | None, keys_VB: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Images uint8 [V, B, I, J, C], each framed V times, and labels int32 [B] or None."""
        ...


class DecodedImages:
    """Images of one size in an array [N, I, J, C], in memory or memory-mapped."""

    def __init__(self, images: np.ndarray, labels: np.ndarray | None, sha256: str = "", corrupt: Sequence[int] = ()):
        self.images = np.asarray(images)  # of a memory map too: its own class makes indexing slower
        self.labels = labels
        self.sha256 = sha256 or _hash(images, labels)
        self.corrupt = set(corrupt)

    def __len__(self) -> int:
        return len(self.images)

    def read(
        self, indices: np.ndarray, frame: Framing | None, keys_VB: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See `ImageStore`; without a frame the images as they are."""
        images_BIJC = self.images[indices]
        labels = None if self.labels is None else self.labels[indices]
        if frame is None:
            return np.broadcast_to(images_BIJC, (len(keys_VB), *images_BIJC.shape)), labels
        return np.stack([frame(images_BIJC, keys_B) for keys_B in keys_VB]), labels


class EncodedImages:
    """Images of any size in their files' bytes.

    Attributes:
      shape: height, width and channels as the dataset declares them, None where they differ.
      name: for messages.
      on_corrupt: called with the store when it has met another image that cannot be decoded.
    """

    def __init__(self, records: Records, shape: tuple[int | None, int | None, int], sha256: str, name: str):
        self.records = records
        self.shape = shape
        self.sha256 = sha256
        self.name = name
        self.corrupt: set[int] = set()
        self.on_corrupt: Callable[[EncodedImages], None] = lambda store: None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.records)

    def read(
        self, indices: np.ndarray, frame: Framing | None, keys_VB: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See `ImageStore`; an image is decoded once for all its framings."""
        decoded = self._decode(indices)
        images = [image for image, _ in decoded]
        sizes_B2 = np.array([(image.height, image.width) for image in images])
        frame = frame or Resize()  # which does nothing to images of the declared size
        shape = frame.output_shape(self.shape)
        images_VBIJC = np.stack([resample_boxes(images, frame.boxes(sizes_B2, keys_B), shape) for keys_B in keys_VB])
        labels = [label for _, label in decoded]
        return images_VBIJC, None if labels[0] is None else np.array(labels, np.int32)

    def _decode(self, indices: np.ndarray) -> list[tuple[Image.Image, int | None]]:
        records = self.records.__getitems__([int(index) for index in indices])
        return [self._decode_or_next(int(index), *record) for index, record in zip(indices, records, strict=True)]

    def _decode_or_next(self, index: int, content: bytes, label: int | None) -> tuple[Image.Image, int | None]:
        for _ in range(STAND_INS):
            try:
                return decode(content, self.shape[2]), label
            except CorruptImageError:
                self._count(index)
            index = (index + 1) % len(self)
            ((content, label),) = self.records.__getitems__([index])
        raise ConfigError(f"{self.name}: {STAND_INS} images in a row before example {index} cannot be decoded")

    def _count(self, index: int) -> None:
        with self._lock:
            if index in self.corrupt:
                return
            if not self.corrupt:
                logging.warning("%s: the image of example %d cannot be decoded; the next one stands in for it, and "
                                "for any that follow: the run record counts them", self.name, index)  # fmt: skip
            self.corrupt.add(index)
            self.on_corrupt(self)


def decode(content: bytes, channels: int) -> Image.Image:
    """An image of 1 (grey) or 3 channels, whatever colours its file has; transparency is dropped.

    Raises:
      CorruptImageError: no image, or only a part of one.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.convert("L" if channels == 1 else "RGB")
    except _CANNOT_DECODE as error:
        raise CorruptImageError(str(error)) from error


def write_decoded(records: Records, shape: Shape, folder: Path, pool: Executor) -> None:
    """Decodes all images, of one shape, into a folder: images (raw uint8), labels.npy, facts.json."""
    digest, labels, corrupt = hashlib.sha256(), [], []

    def decode_block(start: int) -> list[tuple[np.ndarray | None, int | None]]:
        block = records.__getitems__(range(start, min(start + RECORDS_AT_ONCE, len(records))))
        return [(_array_or_none(content, shape), label) for content, label in block]

    with (folder / "images").open("wb") as file:
        blocks_at_once = 4 * available_cores()  # so that what waits to be written stays small
        starts = range(0, len(records), RECORDS_AT_ONCE)
        for first in range(0, len(starts), blocks_at_once):
            some = starts[first : first + blocks_at_once]
            for start, block in zip(some, pool.map(decode_block, some), strict=True):
                corrupt += [start + place for place, (image, _) in enumerate(block) if image is None]
                good = [(image, label) for image, label in block if image is not None]
                for image, label in good:
                    file.write(image)
                    digest.update(image)
                    labels.append(label)
    if labels and labels[0] is not None:
        np.save(folder / "labels.npy", np.array(labels, np.int32))
        digest.update(np.array(labels, np.int32))
    (folder / "facts.json").write_text(json.dumps({"corrupt": corrupt, "sha256": digest.hexdigest()}))


def read_decoded(folder: Path, shape: Shape, name: str) -> DecodedImages:
    """What `write_decoded` left, memory-mapped; one warning where images were left out.

    Raises:
      ConfigError: no image could be decoded.
    """
    facts = json.loads((folder / "facts.json").read_text())
    corrupt, size = facts["corrupt"], (folder / "images").stat().st_size
    if not size:
        raise ConfigError(f"{name}: none of {len(corrupt)} images can be decoded to {' x '.join(map(str, shape))}")
    images = np.memmap(folder / "images", np.uint8, mode="r").reshape(-1, *shape)
    if corrupt:
        logging.warning("%s: %d of %d images cannot be decoded and are left out, the first that of example %d",
                        name, len(corrupt), len(corrupt) + len(images), corrupt[0])  # fmt: skip
    path = folder / "labels.npy"
    return DecodedImages(images, np.load(path) if path.exists() else None, **facts)


def _array_or_none(content: bytes, shape: Shape) -> np.ndarray | None:
    """The decoded image, or None where it cannot be decoded or has another shape."""
    try:
        image = np.asarray(decode(content, shape[2]))
    except CorruptImageError:
        return None
    return np.ascontiguousarray(image).reshape(shape) if image.shape[:2] == shape[:2] else None


def _hash(images: np.ndarray, labels: np.ndarray | None) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(images))
    if labels is not None:
        digest.update(np.ascontiguousarray(labels, np.int32))
    return digest.hexdigest()

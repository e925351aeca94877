"""Where images and labels come from: scikit-learn's digits, and TFDS's datasets without TensorFlow."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from genlab.configuration import ConfigError
from genlab.data import tfds
from genlab.data.cache import cached
from genlab.data.corpora import Split
from genlab.data.image_stores import DecodedImages, EncodedImages, ImageStore, read_decoded, write_decoded
from genlab.data.row_threads import thread_pool
from genlab.data.shuffle import shuffled

# Of a split, decoded: ImageNet in 32 x 32 pixels is just below. A larger one is decoded on access.
DECODE_ONCE_BYTES = 4 << 30
CACHE_VERSION = 1  # to be raised when the same key would give other images


@runtime_checkable
class ImageSource(Protocol):
    """A frozen config of images in an order that never changes. All but `load` is known without reading an image."""

    @property
    def image_shape(self) -> tuple[int | None, int | None, int]:
        """Height, width, channels (1 grey or 3 colours); None where images differ."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label; empty for images without labels."""
        ...

    def load(self, split: Split) -> ImageStore:
        """The images and labels of a split."""
        ...

    def describe(self) -> dict[str, Any]:
        """Facts for the run record that the config does not hold."""
        ...


@dataclass(frozen=True)
class Digits:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 grey pixels, which need no download.

    Their 17 levels become 0 .. 255. One fixed fifth of every digit is held out: 360 examples; 1,437 are trained on.
    Alpaydin and Kaynak 1998, the test set of UCI's "Optical Recognition of Handwritten Digits".
    """

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """8 x 8 pixels, grey."""
        return 8, 8, 1

    @property
    def class_names(self) -> tuple[str, ...]:
        """"0" to "9"."""
        return tuple("0123456789")

    def load(self, split: Split) -> DecodedImages:
        """The images and labels of a split, in memory."""
        return _digits()[split]

    def describe(self) -> dict[str, Any]:
        """Nothing more."""
        return {}


@functools.cache
def _digits() -> dict[Split, DecodedImages]:
    from sklearn.datasets import load_digits  # takes 0.8 s

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels, count = digits.target.astype(np.int32), len(digits.target)
    mixed = shuffled(np.arange(count), count, seed=0)
    by_class = mixed[np.argsort(labels[mixed], kind="stable")]
    # Held out is each at which the running count of 360 in 1,797 goes up: evenly, so a fifth of every class.
    places = np.arange(count) * 360 // count
    is_held_out = np.diff(places, prepend=-1) > 0
    chosen = {"train": np.sort(by_class[~is_held_out]), "held_out": np.sort(by_class[is_held_out])}
    return {split: DecodedImages(images[rows], labels[rows]) for split, rows in chosen.items()}


@dataclass(frozen=True)
class TfdsImages:
    """A TFDS image classification dataset that was prepared in the array_record format.

    Datasets of one image size are decoded once, into the cache, where a split takes at most 4 GB (CIFAR takes
    150 MB and 5 seconds). All others (ImageNet: "imagenet2012" with held_out_split="validation") are decoded on
    access. Images get the channels that the dataset declares, whatever single files have.

    Attributes:
      name: with a config where it has some: "cifar10", "imagenet2012", "imagenet2012_subset/10pct".
      train_split, held_out_split: in TFDS's language; without a test split take, for example, "train[1%:]" and
        "train[:1%]".
      image_feature: the feature that holds the image.
      label_feature: the feature that holds the class; none to train without labels.
      data_dir: where datasets were prepared; none for TFDS's own place (~/tensorflow_datasets).

    Raises (when read):
      ConfigError: the dataset is not prepared, or has no such split, images or labels.
    """

    name: str = "cifar10"
    train_split: str = "train"
    held_out_split: str = "test"
    image_feature: str = "image"
    label_feature: str | None = "label"
    data_dir: str | None = None

    @property
    def image_shape(self) -> tuple[int | None, int | None, int]:
        """Height, width, channels; None where images differ."""
        height, width, channels = self._image().shape
        return height, width, 1 if channels == 1 else 3

    @property
    def class_names(self) -> tuple[str, ...]:
        """As the dataset names them."""
        return () if self.label_feature is None else tuple(self._label().names)

    def load(self, split: Split) -> ImageStore:
        """The images and labels of a split: memory-mapped, or to be decoded on access."""
        builder, split_name = self._builder(), self._split_name(split)
        tfds.split_info(builder, split_name)
        records = _TfdsRecords(builder, split_name, self.image_feature, self.label_feature)
        if not len(records):
            raise ConfigError(f"TFDS {self.name} has no example in split {split_name!r}")
        name = f"TFDS {self.name}, split {split_name!r}"
        sha256 = tfds.fingerprint(builder, split_name, self.image_feature, str(self.label_feature))
        shape = self.image_shape
        if None in shape or len(records) * np.prod(shape) > DECODE_ONCE_BYTES:
            self._check_labels(np.array([records.__getitems__([0])[0][1]]), split_name)
            return EncodedImages(records, shape, sha256, name)
        folder = cached("decoded_images", [CACHE_VERSION, sha256, list(shape)],
                        lambda folder: write_decoded(records, shape, folder, thread_pool()))
        store = read_decoded(folder, shape, name)
        self._check_labels(store.labels, split_name)
        return store

    def describe(self) -> dict[str, Any]:
        """The dataset's full name, version included."""
        return {"tfds_name": self._builder().info.full_name}

    def _split_name(self, split: Split) -> str:
        return self.train_split if split == "train" else self.held_out_split

    def _builder(self) -> Any:
        return tfds.open_dataset(self.name, self.data_dir)

    def _image(self) -> Any:
        """TFDS's image feature, of bytes that Pillow decodes to uint8."""
        feature = tfds.get_feature(self._builder(), self.image_feature)
        if type(feature).__name__ not in ("Image", "LabeledImage") or feature.np_dtype != np.uint8:
            raise ConfigError(f"TFDS {self.name}: feature {self.image_feature!r} is {feature!r}, no image of uint8")
        return feature

    def _label(self) -> Any:
        """TFDS's label feature, of classes that are counted."""
        features = self._builder().info.features
        labels = sorted(name for name, feature in features.items() if getattr(feature, "num_classes", None))
        if self.label_feature not in labels:
            hint = f"it has {', '.join(labels)}; or" if labels else "it has none;"
            raise ConfigError(f"TFDS {self.name} has no class labels {self.label_feature!r}: {hint} set label_feature "
                              "to none for training without labels")
        return features[self.label_feature]

    def _check_labels(self, labels: np.ndarray | None, split_name: str) -> None:
        if labels is None or self.label_feature is None:
            return
        num_classes = len(self.class_names)
        outside = (labels < 0) | (labels >= num_classes)
        if outside.any():
            raise ConfigError(f"TFDS {self.name}, split {split_name!r}: label {labels[outside][0]} is outside 0 .. "
                              f"{num_classes - 1}; take a split with labels")


class _TfdsRecords:
    """A split's images as bytes, with labels; the dataset's other features are not decoded."""

    def __init__(self, builder: Any, split: str, image_feature: str, label_feature: str | None):
        from tensorflow_datasets import decode, features

        wanted = [image_feature] if label_feature is None else [image_feature, label_feature]
        self._records = builder.as_data_source(
            split=split, deserialize_method=decode.DeserializeMethod.RAW_BYTES)
        self._features = features.FeaturesDict({name: builder.info.features[name] for name in wanted})
        self._decoders = {image_feature: decode.SkipDecoding()}
        self._image, self._label = image_feature, label_feature

    def __len__(self) -> int:
        return len(self._records)

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[bytes, int | None]]:
        examples = [self._features.deserialize_example_np(record, decoders=self._decoders)
                    for record in self._records.__getitems__(list(indices))]
        return [(example[self._image], None if self._label is None else int(example[self._label]))
                for example in examples]

"""Images as training data: a source, a size, and what is done at random to training examples."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from genlab.configuration import ConfigError
from genlab.data.draws import stream_keys
from genlab.data.image_sources import Digits, ImageSource
from genlab.data.image_stores import EncodedImages, ImageStore
from genlab.data.row_threads import for_blocks
from genlab.data.shuffle import shuffled
from genlab.data.sources import Example, Splits
from genlab.data.transforms import CenterCrop, Framing, Shape, Transform

# Rows of a block that a thread augments at once: 256 of CIFAR. Smaller ones pay for NumPy's calls (RandAugment, with
# 14 operations among the rows, takes 1.7 times as long at 64), and larger ones leave the processor's cache.
BLOCK_BYTES = 768 << 10


@dataclass(frozen=True)
class Images:
    """Images with labels, {"image": uint8 [I, J, C], "label": int32 []}; no "label" where the source has none.

    Augmentation is a function of the example and of its place in the run alone. It is what `Batches` asks for;
    evaluations and probes, on either split, see the centre crop.

    Attributes:
      source: where images and labels come from.
      image_size: side of the square images that leave; none for the source's own size.
      augmentation: random transforms of training examples, in order. Where the first is a `Framing`, such as
        InceptionCrop, it takes the place of the centre crop.
      views: augmented copies of each training example; more than 1 make "image" [views, I, J, C].
      central_fraction: of the shorter side that the centre crop keeps; 0.875 is the custom on ImageNet.
      max_examples: train on the first so many in a fixed random order: fewer are a part of more.
      max_held_out_examples: likewise of the held-out examples.
    """

    source: ImageSource = Digits()
    image_size: int | None = None
    augmentation: tuple[Transform, ...] = ()
    views: int = 1
    central_fraction: float = 1.0
    max_examples: int | None = None
    max_held_out_examples: int | None = None

    def __post_init__(self):
        for name in ("image_size", "views", "max_examples", "max_held_out_examples"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} must be at least 1")
        if not 0 < self.central_fraction <= 1:
            raise ConfigError(f"central_fraction {self.central_fraction} must be above 0 and at most 1")

    @property
    def tokens_per_example(self) -> None:
        """None: images are counted as examples."""
        return

    @property
    def num_classes(self) -> int:
        """How many classes labels name; 0 for images without labels."""
        return len(self.source.class_names)

    @property
    def image_shape(self) -> Shape:
        """Height, width and channels of the images that leave, known without reading one.

        Raises:
          ConfigError: they are of many sizes and no image_size is set, or the augmentation changes their size.
        """
        shape = self.evaluation_pipeline.output_shape(self.source.image_shape)
        augmented = self.training_pipeline.output_shape(self.source.image_shape)
        if augmented != shape:
            raise ConfigError(f"augmentation makes images of {_text(augmented)}, but those that leave are "
                              f"{_text(shape)}; give its crops that size, or set image_size")
        return shape

    @property
    def evaluation_pipeline(self) -> "Pipeline":
        """The centre crop, or nothing where the source's images are as they should leave."""
        height, width, _ = self.source.image_shape
        if self.image_size is None and None in (height, width):
            raise ConfigError(f"images of {self.source} have many sizes; set image_size, for example to 224")
        leaves_as_it_is = self.image_size is None or height == width == self.image_size
        if leaves_as_it_is and self.central_fraction == 1:
            return Pipeline(None, ())
        return Pipeline(CenterCrop(self.image_size, self.central_fraction), ())

    @property
    def training_pipeline(self) -> "Pipeline":
        """The augmentation, after the centre crop where it brings no crop of its own."""
        evaluation = self.evaluation_pipeline
        sized = tuple(dataclasses.replace(transform, size=transform.size or self.image_size)
                      if isinstance(transform, Framing) else transform for transform in self.augmentation)  # fmt: skip
        if sized and isinstance(sized[0], Framing):
            return Pipeline(sized[0], sized[1:])
        return Pipeline(evaluation.frame, sized)

    def load(self) -> Splits:
        """The splits; large datasets are not read through, but decoded as they are asked for.

        Of those, `description` counts the images that could not be decoded as they are met.

        Raises:
          ConfigError: a dataset that is not there, or is not what the config says.
        """
        shape, num_classes = self.image_shape, self.num_classes
        limits = {"train": self.max_examples, "held_out": self.max_held_out_examples}
        stores = {split: self.source.load(split) for split in limits}
        facts = [[store.sha256 for store in stores.values()], list(limits.values())]
        description = {
            "data_hash": hashlib.sha256(json.dumps(facts).encode()).hexdigest(),
            "source": type(self.source).__name__,
            "image_shape": list(shape),
            "num_classes": num_classes,
            "class_names": list(self.source.class_names),
            **self.source.describe(),
        }
        examples = {}
        for split, store in stores.items():
            examples[split] = ImageExamples(store, _subset(len(store), limits[split], split), self, shape)
            description[f"{split}_examples"] = len(examples[split])
            _count_corrupt(description, split, store)
        return Splits(**examples, description=description)


@dataclass(frozen=True)
class Pipeline:
    """What happens to an image between the store and the batch.

    Attributes:
      frame: what brings images of the source to one size; none where they have it.
      transforms: what comes after.
    """

    frame: Framing | None
    transforms: tuple[Transform, ...]

    def output_shape(self, shape: tuple[int | None, int | None, int]) -> Shape:
        """The shape of what leaves, for images of a shape. Raises ConfigError where a transform cannot be applied."""
        for transform in self.transforms if self.frame is None else (self.frame, *self.transforms):
            shape = transform.output_shape(shape)
        return shape

    def keys(self, view: int, keys_B: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Keys (uint64 [B]) for the frame, and for each transform: by its name, whatever else is in the pipeline."""
        names = [type(step).__name__ for step in (self.frame, *self.transforms)]
        frame_keys, *others = (stream_keys(keys_B, f"{name} {names[:place].count(name)}, view {view}")
                               for place, name in enumerate(names))  # fmt: skip
        return frame_keys, others


class ImageExamples:
    """A source of examples out of a store: as for evaluation, or (`gather_keyed`) augmented."""

    def __init__(self, store: ImageStore, subset: np.ndarray | None, config: Images, shape: Shape):
        self.store = store
        self.subset = subset
        self.evaluation, self.training = config.evaluation_pipeline, config.training_pipeline
        self.views = config.views
        self.shape = shape
        self.has_labels = config.num_classes > 0

    def __len__(self) -> int:
        return len(self.store) if self.subset is None else len(self.subset)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"there is no example {index} among {len(self)}")
        return {name: array[0] for name, array in self.gather(np.array([index])).items()}

    def gather(self, indices: np.ndarray) -> Example:
        """Examples at `indices` [n] without augmentation: "image" [n, I, J, C] and "label" [n]."""
        return self._make(indices, np.zeros(len(indices), np.uint64), self.evaluation, views=1)

    def gather_keyed(self, indices: np.ndarray, keys: np.ndarray) -> Example:
        """Examples at `indices` [n] augmented by `keys` (uint64 [n]): "image" [n, I, J, C] or [n, V, I, J, C]."""
        return self._make(indices, keys, self.training, self.views)

    def _make(self, indices: np.ndarray, keys_B: np.ndarray, pipeline: Pipeline, views: int) -> Example:
        places = indices if self.subset is None else self.subset[indices]
        images_BVIJC = np.empty((len(places), views, *self.shape), np.uint8)
        labels_B = np.empty(len(places), np.int32)

        def work(rows: slice) -> None:
            keys = [pipeline.keys(view, keys_B[rows]) for view in range(views)]
            frame_keys_VB = np.stack([frame_keys for frame_keys, _ in keys])
            framed_VBIJC, labels = self.store.read(places[rows], pipeline.frame, frame_keys_VB)
            for view, images_BIJC in enumerate(framed_VBIJC):
                for transform, own_keys in zip(pipeline.transforms, keys[view][1], strict=True):
                    images_BIJC = transform(images_BIJC, own_keys)
                images_BVIJC[rows, view] = images_BIJC
            if self.has_labels:
                labels_B[rows] = labels

        for_blocks(work, len(places), max(1, BLOCK_BYTES // int(np.prod(self.shape))))
        image = {"image": images_BVIJC if views > 1 else images_BVIJC[:, 0]}
        return image | {"label": labels_B} if self.has_labels else image


def _subset(count: int, limit: int | None, split: str) -> np.ndarray | None:
    """The first `limit` of a fixed random order of `count` examples; None for all of them."""
    if limit is None:
        return None
    if limit > count:
        name = "max_examples" if split == "train" else "max_held_out_examples"
        raise ConfigError(f"{name} {limit} is more than the {count} examples there are; none takes all of them")
    return shuffled(np.arange(limit), count, seed=0)


def _count_corrupt(description: dict[str, Any], split: str, store: ImageStore) -> None:
    """Puts the number of images that could not be decoded into the description, and keeps it up to date."""

    def count(store: ImageStore) -> None:
        description[f"{split}_corrupt_images"] = len(store.corrupt)

    count(store)
    if isinstance(store, EncodedImages):
        store.on_corrupt = count


def _text(shape: Shape) -> str:
    return " x ".join(map(str, shape))

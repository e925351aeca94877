"""Text from TensorFlow Datasets, read without TensorFlow."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from genlab.data import tfds
from genlab.data.corpora import Split

DOCUMENTS_AT_ONCE = 1024


@dataclass(frozen=True)
class TfdsText:
    """The texts of a TFDS dataset that was prepared in the array_record format, a document each.

    Attributes:
      name: with a config where it has some: "tiny_shakespeare", "c4/en:3.1.0".
      train_split, held_out_split: in TFDS's language; without a validation split take, for example,
        "train[1%:]" and "train[:1%]".
      feature: the feature that holds the text.
      data_dir: where datasets were prepared; none for TFDS's own place (~/tensorflow_datasets).

    Raises (when read):
      ConfigError: the dataset is not prepared, or has no such split or feature.
    """

    name: str = "tiny_shakespeare"
    train_split: str = "train"
    held_out_split: str = "validation"
    feature: str = "text"
    data_dir: str | None = None

    def documents(self, split: Split) -> Iterator[bytes]:
        """The examples of a split in TFDS's order, a thousand of them in memory at a time."""
        builder = self._builder()
        tfds.split_info(builder, self._split_name(split))
        source = builder.as_data_source(split=self._split_name(split))
        for start in range(0, len(source), DOCUMENTS_AT_ONCE):
            stop = min(start + DOCUMENTS_AT_ONCE, len(source))
            for example in source.__getitems__(range(start, stop)):
                yield example[self.feature]

    def num_bytes(self, split: Split) -> int:
        """The size of a split on disk (a slice counts as the whole)."""
        return tfds.split_info(self._builder(), self._split_name(split)).num_bytes

    def fingerprint(self, split: Split) -> str:
        """A hash of the dataset's version and of the sizes of the split's shards."""
        return tfds.fingerprint(self._builder(), self._split_name(split), self.feature)

    def describe(self) -> dict[str, Any]:
        """The dataset's full name, version included."""
        return {"tfds_name": self._builder().info.full_name}

    def _split_name(self, split: Split) -> str:
        return self.train_split if split == "train" else self.held_out_split

    def _builder(self) -> Any:
        """The dataset, which is prepared and has the feature."""
        builder = tfds.open_dataset(self.name, self.data_dir)
        tfds.get_feature(builder, self.feature)
        return builder

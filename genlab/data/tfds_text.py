"""Text from TensorFlow Datasets, read without TensorFlow."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from genlab.configuration import ConfigError
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
        self._split_info(builder, split)
        source = builder.as_data_source(split=self._split_name(split))
        for start in range(0, len(source), DOCUMENTS_AT_ONCE):
            stop = min(start + DOCUMENTS_AT_ONCE, len(source))
            for example in source.__getitems__(range(start, stop)):
                yield example[self.feature]

    def num_bytes(self, split: Split) -> int:
        """The size of a split on disk (a slice counts as the whole)."""
        info = self._split_info(self._builder(), split)
        return info.num_bytes

    def fingerprint(self, split: Split) -> str:
        """A hash of the dataset's version and of the sizes of the split's shards.

        TFDS's datasets do not change within a version, and hashing the text of a large one would
        take hours.
        """
        builder = self._builder()
        info = self._split_info(builder, split)
        facts = [builder.info.full_name, self._split_name(split), self.feature]
        facts += [info.num_examples, info.num_bytes, info.shard_lengths]
        return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """The dataset's full name, version included."""
        return {"tfds_name": self._builder().info.full_name}

    def _split_name(self, split: Split) -> str:
        return self.train_split if split == "train" else self.held_out_split

    def _builder(self) -> Any:
        """The dataset, which is prepared and has the feature."""
        import tensorflow_datasets as tfds  # takes 0.9 s

        try:
            # Without the format, TFDS forgets that array_record is its default once data_dir is given.
            builder = tfds.builder(self.name, data_dir=self.data_dir, file_format="array_record")
        except tfds.core.DatasetNotFoundError as error:
            raise ConfigError(self._not_prepared("not found")) from error
        except ValueError as error:  # "File format is already set to FileFormat.TFRECORD."
            if "File format" not in str(error):
                raise
            raise ConfigError(self._not_prepared("prepared in another format")) from error
        if not builder.info.splits:
            raise ConfigError(self._not_prepared("not prepared"))
        if self.feature not in builder.info.features:
            names = ", ".join(builder.info.features)
            raise ConfigError(f"TFDS {self.name} has no feature {self.feature!r}; it has {names}")
        return builder

    def _split_info(self, builder: Any, split: Split) -> Any:
        """TFDS's facts about a split, which exists."""
        name = self._split_name(split)
        try:
            return builder.info.splits[name]
        except (KeyError, ValueError) as error:
            names = ", ".join(builder.info.splits)
            raise ConfigError(f"TFDS {self.name} has no split {name!r}; it has {names}") from error

    def _not_prepared(self, what: str) -> str:
        where = f" --data_dir={self.data_dir}" if self.data_dir else ""
        place = self.data_dir or "~/tensorflow_datasets"
        return (
            f"TFDS dataset {self.name!r} is {what} in {place}; check its name, or prepare it once: "
            f"pip install 'genlab[tfds]' && tfds build {self.name} --file_format=array_record{where}"
        )

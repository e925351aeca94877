"""TensorFlow Datasets without TensorFlow: a prepared dataset opened, or one line that says what it lacks."""

import functools
import hashlib
import json
from typing import Any

from genlab.configuration import ConfigError


@functools.lru_cache(maxsize=8)
def open_dataset(name: str, data_dir: str | None) -> Any:
    """TFDS's builder of a dataset that was prepared in the array_record format.

    Raises:
      ConfigError: it is not prepared, or in another format; the message holds the command that does it.
    """
    import tensorflow_datasets as tfds  # takes 0.9 s

    try:
        # Without the format, TFDS forgets that array_record is its default once data_dir is given.
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        raise ConfigError(_not_prepared(name, data_dir, "not found")) from error
    except ValueError as error:  # "File format is already set to FileFormat.TFRECORD."
        if "File format" not in str(error):
            raise
        raise ConfigError(_not_prepared(name, data_dir, "prepared in another format")) from error
    if not builder.info.splits:
        raise ConfigError(_not_prepared(name, data_dir, "not prepared"))
    return builder


def get_feature(builder: Any, feature: str) -> Any:
    """TFDS's facts about a feature. Raises ConfigError where there is none of that name."""
    if feature not in builder.info.features:
        names = ", ".join(sorted(builder.info.features))  # TFDS's own order changes from one reading to the next
        raise ConfigError(f"TFDS {builder.name} has no feature {feature!r}; it has {names}")
    return builder.info.features[feature]


def split_info(builder: Any, split: str) -> Any:
    """TFDS's facts about a split, or a slice of one. Raises ConfigError where there is none of that name."""
    try:
        return builder.info.splits[split]
    except (KeyError, ValueError) as error:
        names = ", ".join(builder.info.splits)
        raise ConfigError(f"TFDS {builder.name} has no split {split!r}; it has {names}") from error


def fingerprint(builder: Any, split: str, *features: str) -> str:
    """A hash of the dataset's version and of the sizes of the split's shards.

    TFDS's datasets do not change within a version, and hashing the content of a large one would take hours.
    """
    info = split_info(builder, split)
    facts = [builder.info.full_name, split, *features, info.num_examples, info.num_bytes, info.shard_lengths]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def _not_prepared(name: str, data_dir: str | None, what: str) -> str:
    where = f" --data_dir={data_dir}" if data_dir else ""
    return (
        f"TFDS dataset {name!r} is {what} in {data_dir or '~/tensorflow_datasets'}; check its name, or prepare it "
        f"once: pip install 'genlab[tfds]' && tfds build {name} --file_format=array_record{where}"
    )

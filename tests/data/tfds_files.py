"""Datasets in TFDS's own layout, array_record format, written without TensorFlow."""

import json
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordWriter

_PACKAGE = "tensorflow_datasets.core.features"
TEXT = {"pythonClassName": f"{_PACKAGE}.text_feature.Text", "text": {}}


def image_feature(height: int | None, width: int | None, channels: int) -> dict:
    """tfds.features.Image(shape=...)."""
    sizes = ["-1" if size is None else str(size) for size in (height, width, channels)]
    return {"pythonClassName": f"{_PACKAGE}.image_feature.Image",
            "image": {"shape": {"dimensions": sizes}, "dtype": "uint8"}}  # fmt: skip


def label_feature(num_classes: int) -> dict:
    """tfds.features.ClassLabel(num_classes=...)."""
    return {"pythonClassName": f"{_PACKAGE}.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": str(num_classes)}}  # fmt: skip


def tf_example(**features: bytes | int) -> bytes:
    """tf.train.Example with a bytes_list or an int64_list of one value by feature."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, int):
            one = _field(3, _field(1, _varint(value & (1 << 64) - 1)))  # packed, negative as 2^64 - |value|
        else:
            one = _field(1, _field(1, value))
        entries += _field(1, _field(1, name.encode()) + _field(2, one))
    return _field(1, entries)


def write_dataset(data_dir: Path, name: str, features: dict, splits: dict[str, list[bytes]],
                  file_format: str = "array_record") -> None:  # fmt: skip
    """Writes a dataset of serialised examples by split."""
    folder = data_dir / name / "1.0.0"
    folder.mkdir(parents=True)
    infos = []
    for split, records in splits.items():
        writer = ArrayRecordWriter(str(folder / f"{name}-{split}.{file_format}-00000-of-00001"), "group_size:1")
        for record in records:
            writer.write(record)
        writer.close()
        infos.append({
            "name": split,
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            "numBytes": str(sum(map(len, records))),
            "shardLengths": [str(len(records))],
        })  # fmt: skip
    info = {"name": name, "version": "1.0.0", "fileFormat": file_format, "splits": infos}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    kind = f"{_PACKAGE}.features_dict.FeaturesDict"
    (folder / "features.json").write_text(
        json.dumps({"pythonClassName": kind, "featuresDict": {"features": features}}))


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer: (field number << 3 | 2), length, content."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, the top bit on all but the last."""
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])

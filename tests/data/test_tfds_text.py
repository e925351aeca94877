"""TFDS text, read from a dataset in TFDS's own layout that the test writes without TensorFlow."""

import json
import subprocess
import sys

import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from genlab.data.text import Text
from genlab.data.tfds_text import TfdsText

TEXTS = {"train": ["First Citizen:\nSpeak, speak.\n", "héllo\n", "third"], "validation": ["held out\n"]}


def proto_bytes(field, content):
    """A length-delimited field of a protocol buffer: (field number << 3 | 2), length, content."""
    assert len(content) < 128
    return bytes([field << 3 | 2, len(content)]) + content


def tf_example(text):
    """tf.train.Example {features {feature {key: "text", value {bytes_list {value: text}}}}}."""
    value = proto_bytes(1, proto_bytes(1, text.encode()))
    return proto_bytes(1, proto_bytes(1, proto_bytes(1, b"text") + proto_bytes(2, value)))


def write_dataset(data_dir, name="tiny_plays", file_format="array_record"):
    folder = data_dir / name / "1.0.0"
    folder.mkdir(parents=True)
    splits = []
    for split, texts in TEXTS.items():
        records = [tf_example(text) for text in texts]
        writer = ArrayRecordWriter(str(folder / f"{name}-{split}.{file_format}-00000-of-00001"), "group_size:1")
        for record in records:
            writer.write(record)
        writer.close()
        splits.append({
            "name": split,
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            "numBytes": str(sum(map(len, records))),
            "shardLengths": [str(len(records))],
        })
    info = {"name": name, "version": "1.0.0", "fileFormat": file_format, "splits": splits}
    package = "tensorflow_datasets.core.features"
    features = {
        "pythonClassName": f"{package}.features_dict.FeaturesDict",
        "featuresDict": {
            "features": {"text": {"pythonClassName": f"{package}.text_feature.Text", "text": {}}}
        },
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "features.json").write_text(json.dumps(features))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    write_dataset(folder)
    write_dataset(folder, "old_plays", "tfrecord")
    return str(folder)


def test_documents_of_each_split(data_dir):
    corpus = TfdsText("tiny_plays", data_dir=data_dir)
    for split, name in (("train", "train"), ("held_out", "validation")):
        assert [bytes(text).decode() for text in corpus.documents(split)] == TEXTS[name]
    assert corpus.num_bytes("train") == sum(len(tf_example(text)) for text in TEXTS["train"])
    assert corpus.fingerprint("train") == corpus.fingerprint("train") != corpus.fingerprint("held_out")
    assert corpus.describe() == {"tfds_name": "tiny_plays/1.0.0"}


def test_splits_in_tfds_language(data_dir):
    corpus = TfdsText("tiny_plays", "train[1:]", "train[:1]", data_dir=data_dir)
    assert [bytes(text).decode() for text in corpus.documents("train")] == TEXTS["train"][1:]
    assert [bytes(text).decode() for text in corpus.documents("held_out")] == TEXTS["train"][:1]
    others = ["train", "train[2:]", "train[:2]"]
    corpora = [corpus, *(TfdsText("tiny_plays", split, data_dir=data_dir) for split in others)]
    assert len({each.fingerprint("train") for each in corpora}) == 4


def test_tensorflow_is_not_imported(data_dir):
    program = f"""
import sys
from genlab.data import Batches, BytePairEncoding, StandardLibrary, Text, TfdsText
assert "tensorflow_datasets" not in sys.modules, "0.9 s for those who use no TFDS"
splits = Text(TfdsText("tiny_plays", data_dir={data_dir!r}), sequence_length=4).load()
assert Batches(splits.train, 2, seed=0)[0]["tokens"].shape == (2, 5)
assert not {{"tensorflow", "torch"}} & set(sys.modules)
print(splits.description["train_bytes"])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == sum(len(text.encode()) for text in TEXTS["train"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "no_such_plays"}, "'no_such_plays' is not found in .* tfds build no_such_plays"),
        ({"name": "lm1b"}, "'lm1b' is not prepared in .*genlab.tfds.* --file_format=array_record --data_dir="),
        ({"name": "old_plays"}, "'old_plays' is prepared in another format"),
        ({"train_split": "trian"}, "tiny_plays has no split 'trian'; it has train, validation"),
        ({"feature": "txt"}, "tiny_plays has no feature 'txt'; it has text"),
    ],
)
def test_one_line_says_what_is_wrong(data_dir, config, message):
    with pytest.raises(ValueError, match=message) as caught:
        Text(TfdsText(**{"name": "tiny_plays", "data_dir": data_dir} | config)).load()
    assert "\n" not in str(caught.value)

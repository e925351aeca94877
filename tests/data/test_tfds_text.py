"""TFDS text, read from a dataset in TFDS's own layout that the test writes without TensorFlow."""

import subprocess
import sys

import pytest

from genlab.data.text import Text
from genlab.data.tfds_text import TfdsText
from tests.data.tfds_files import TEXT, tf_example, write_dataset

TEXTS = {"train": ["First Citizen:\nSpeak, speak.\n", "héllo\n", "third"], "validation": ["held out\n"]}


def write_plays(data_dir, name="tiny_plays", file_format="array_record"):
    records = {split: [tf_example(text=text.encode()) for text in texts] for split, texts in TEXTS.items()}
    write_dataset(data_dir, name, {"text": TEXT}, records, file_format)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    write_plays(folder)
    write_plays(folder, "old_plays", "tfrecord")
    return str(folder)


def test_documents_of_each_split(data_dir):
    corpus = TfdsText("tiny_plays", data_dir=data_dir)
    for split, name in (("train", "train"), ("held_out", "validation")):
        assert [bytes(text).decode() for text in corpus.documents(split)] == TEXTS[name]
    assert corpus.num_bytes("train") == sum(len(tf_example(text=text.encode())) for text in TEXTS["train"])
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

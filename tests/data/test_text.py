"""Text loses no token, in memory or memory-mapped, and describes what it is."""

import hashlib
import json
import time

import numpy as np
import pytest

from genlab.configuration import from_json, override, to_json
from genlab.data import byte_pairs, streams
from genlab.data.batches import Batches
from genlab.data.byte_pairs import BytePairEncoding
from genlab.data.corpora import StandardLibrary, TextFiles
from genlab.data.sources import TokenWindows
from genlab.data.text import Text
from genlab.data.token_files import TokenFiles

DOCUMENTS = ["first document\n", "second, a longer document\n", "", "third: héllo\n", "x" * 40]


@pytest.fixture
def corpus(tmp_path):
    for number, document in enumerate(DOCUMENTS * 3):
        (tmp_path / f"{number}.txt").write_text(document + str(number) if document else "")
    (tmp_path / "held_out.txt").write_text("held-out text that is long enough\n" * 3)
    return TextFiles(f"{tmp_path}/*.txt", held_out_pattern=f"{tmp_path}/held_out.txt")


@pytest.mark.parametrize("tokenizer", [Text().tokenizer, BytePairEncoding(270)])
@pytest.mark.parametrize("sequence_length", [1, 7, 64, 1000])
def test_every_token_of_every_document_is_a_target_once(corpus, tokenizer, sequence_length):
    data = Text(corpus, tokenizer, sequence_length)
    splits, tokenizer = data.load(), data.load_tokenizer()
    for split in ("train", "held_out"):
        source = getattr(splits, split)
        tokens = source.gather(np.arange(len(source)))["tokens"]
        assert tokens.shape[1] == sequence_length + 1
        targets = tokens[:, 1:].reshape(-1)
        wanted = [bytes(document).decode() for document in corpus.documents(split)]
        ends = np.flatnonzero(targets == tokenizer.separator)
        found = [tokenizer.decode(part) for part in np.split(targets, ends + 1)]
        # Each part ends with its separator's text; the last window is filled up with separators.
        separator = tokenizer.decode([tokenizer.separator])
        assert [text.removesuffix(separator) for text in found if text not in ("", separator)] == wanted
        padding = len(targets) - splits.description[f"{split}_tokens"]
        assert 0 <= padding < sequence_length
        assert tokens[0, 0] == tokenizer.separator  # so that a document's first token has an input


def test_description(corpus):
    splits = Text(corpus, sequence_length=8).load()
    content = [bytes(document) for document in corpus.documents("train")]
    stream = b"\0" + b"\0".join(content) + b"\0"
    held_out = b"\0" + b"".join(corpus.documents("held_out")) + b"\0"
    hashes = "".join(hashlib.sha256(text).hexdigest() for text in (stream, held_out))
    facts = splits.description
    assert json.loads(json.dumps(facts)) == facts
    assert facts["data_hash"] == hashlib.sha256(hashes.encode()).hexdigest()
    assert facts["train_documents"] == 12 and facts["held_out_documents"] == 1
    assert facts["train_bytes"] == sum(map(len, content))
    assert facts["train_tokens"] == len(stream) - 1 == facts["train_bytes"] + 12
    assert facts["train_bytes_per_token"] == facts["train_bytes"] / facts["train_tokens"]
    assert facts["train_examples"] == len(splits.train) and facts["vocab_size"] == 256


@pytest.mark.parametrize("tokenizer", [Text().tokenizer, BytePairEncoding(270)])
def test_the_hash_follows_the_text_and_not_the_sequence_length(corpus, tokenizer, forget, tmp_path):
    first = Text(corpus, tokenizer, 8).load().description["data_hash"]
    assert Text(corpus, tokenizer, 9).load().description["data_hash"] == first
    (tmp_path / "0.txt").write_text("another first document\n")
    forget()
    assert Text(corpus, tokenizer, 8).load().description["data_hash"] != first


def test_memory_mapped_streams_are_the_same(corpus, forget, monkeypatch):
    in_memory = Text(corpus, sequence_length=8).load()
    for _ in range(2):  # made, then found in the cache
        forget()
        monkeypatch.setattr(streams, "IN_MEMORY_BYTES", 0)
        mapped = Text(corpus, sequence_length=8).load()
        assert isinstance(streams.token_stream(corpus, Text().tokenizer, "train").tokens, np.memmap)
        assert mapped.description == in_memory.description
        indices = np.arange(len(mapped.train))
        assert np.array_equal(mapped.train.gather(indices)["tokens"], in_memory.train.gather(indices)["tokens"])
        monkeypatch.setattr(streams, "_write_stream", None)  # a second tokenisation would fail


class Endless:
    """A corpus that no memory and no patience could hold."""

    read = 0

    def documents(self, split):
        while True:
            Endless.read += 1
            yield b"words and more words to read, line after line\n" * 1000

    def num_bytes(self, split):
        return 10**15

    def fingerprint(self, split):
        return "endless"

    def describe(self):
        return {}


@pytest.mark.parametrize("tokenizer", [Text().tokenizer, BytePairEncoding(270, training_bytes=100_000)])
def test_a_start_of_a_corpus_that_is_too_large(tokenizer, monkeypatch):
    monkeypatch.setattr(byte_pairs, "BATCH_BYTES", 1 << 18)
    Endless.read = 0
    data = Text(Endless(), tokenizer, 10, max_tokens=100_000, max_held_out_tokens=1000)
    facts = data.load().description
    assert facts["train_tokens"] == 100_000 and facts["held_out_tokens"] == 1000
    assert Endless.read < 50  # documents of 46 kB
    tokens = data.load().train.gather(np.arange(10_000))["tokens"]
    text = data.load_tokenizer().decode(tokens[:, 1:].reshape(-1)[:-1])
    assert facts["train_bytes"] == len(text.replace("\0", "").replace("<|endoftext|>", "").encode())


@pytest.mark.parametrize("tokenizer", [Text().tokenizer, BytePairEncoding(270)])
def test_limited_text_is_the_start_of_all_text(corpus, tokenizer):
    whole = Text(corpus, tokenizer, sequence_length=5).load().train
    part = Text(corpus, tokenizer, sequence_length=5, max_tokens=50).load().train
    assert len(part) == 10
    assert np.array_equal(part.gather(np.arange(9))["tokens"], whole.gather(np.arange(9))["tokens"])


def test_the_standard_library_loads_at_once_and_batches_come_fast():
    data = Text(StandardLibrary(), sequence_length=64)
    start = time.perf_counter()
    splits = data.load()
    assert time.perf_counter() - start < 5  # 0.1 s on an idle machine with warm files
    start = time.perf_counter()
    assert data.load().train[0]["tokens"].base is not splits.train and time.perf_counter() - start < 0.5
    batches = Batches(splits.train, 32, seed=0)
    batches.stack(0, 8)
    start = time.perf_counter()
    for step in range(8, 808, 8):
        stack = batches.stack(step, step + 8)
    assert (time.perf_counter() - start) / 800 < 1e-3  # 13 us on an idle machine
    assert stack["tokens"].shape == (8, 32, 65) and stack["tokens"].dtype == np.uint8


def test_text_is_a_config():
    data = Text(TextFiles("*.txt"), BytePairEncoding(512), 32)
    assert from_json(json.loads(json.dumps(to_json(data)))) == data
    assert override(data, "tokenizer.vocab_size", "1024").vocab_size == 1024
    assert override(data, "max_tokens", "1e6").max_tokens == 1_000_000
    assert data.tokens_per_example == 32


@pytest.mark.parametrize(
    ("field", "value"), [("sequence_length", 0), ("max_tokens", 1), ("max_held_out_tokens", 0)]
)
def test_impossible_lengths(field, value):
    with pytest.raises(ValueError, match=f"{field} {value} must be at least"):
        Text(**{field: value})


class Silent(Endless):
    """A corpus whose documents are all empty."""

    def documents(self, split):
        return iter([b"", b""])


def test_no_text_at_all():
    with pytest.raises(ValueError, match="there is no train text in") as caught:
        Text(Silent()).load()
    assert "\n" not in str(caught.value)


def test_token_files(tmp_path):
    tokens = np.arange(100, dtype=np.uint16)
    for name in ("train", "held_out"):
        np.save(tmp_path / f"{name}.npy", tokens)
    data = TokenFiles(str(tmp_path / "train.npy"), str(tmp_path / "held_out.npy"), 100, sequence_length=9)
    splits = data.load()
    assert isinstance(splits.train, TokenWindows) and len(splits.train) == 11
    assert splits.train[1]["tokens"].tolist() == list(range(9, 19))
    assert splits.train[1]["tokens"].dtype == np.uint16
    assert splits.description["train_tokens"] == 99 and data.tokens_per_example == 9
    assert json.dumps(splits.description) and from_json(to_json(data)) == data


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "no token file .*train.npy"),
        (b"", ValueError, "is no .npy file"),
        (b"not an array", ValueError, "is no .npy file"),
        (np.zeros((3, 3), int), ValueError, r"holds int64\[3, 3\]; it should be a list"),
        (np.zeros(9), ValueError, r"holds float64\[9\]; it should be a list of at least 2 integers"),
        (np.array([1, 100, 2]), ValueError, "holds token 100, outside vocab_size 100"),
        (np.array([1, -1, 2]), ValueError, "holds token -1, outside vocab_size 100"),
    ],
)
def test_wrong_token_files(tmp_path, content, error, message):
    path = tmp_path / "train.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(error, match=message) as caught:
        TokenFiles(str(path), str(path), 100).load()
    assert "\n" not in str(caught.value)

"""Tokenizers lose nothing, and a trained one is trained once."""

import json
import subprocess
import sys

import numpy as np
import pytest

from genlab.data import byte_pairs
from genlab.data.byte_pairs import BytePairEncoding, BytePairs
from genlab.data.corpora import TextFiles
from genlab.data.tokenizers import Bytes, Tokenizer, TokenizerConfig

TEXTS = [
    "",
    "plain words, twice: plain words",
    "  leading and trailing \n\n\t spaces \r\n ",
    "héllo wörld, 漢字, \U0001f600, e\u0301",
    "<|endoftext|> spelled out, and [UNK]",
    "control \x01\x7f and null-free",
]


@pytest.fixture
def corpus(tmp_path):
    words = ["def", "return", "width", "depth", "tokens", "straße", "漢字", "loss", "sequence", "learning"]
    generator = np.random.default_rng(0)
    for number in range(8):
        lines = [" ".join(generator.choice(words, 8)) for _ in range(60)]
        (tmp_path / f"{number}.txt").write_text("\n".join(lines) + "\n")
    return TextFiles(f"{tmp_path}/*.txt")


@pytest.fixture(params=["bytes", "byte pairs"])
def tokenizer(request, corpus):
    config = Bytes() if request.param == "bytes" else BytePairEncoding(300)
    assert isinstance(config, TokenizerConfig)
    return config.prepare(corpus)


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == tokenizer.decode(ids.tolist()) == text
    assert tokenizer.num_bytes(ids) == len(text.encode())
    assert tokenizer.separator not in ids
    assert ids.dtype == (np.uint8 if tokenizer.vocab_size <= 256 else np.uint16)


def test_documents_in_order_and_separators_without_text(tokenizer):
    assert isinstance(tokenizer, Tokenizer)
    documents = [text.encode() for text in TEXTS]
    encoded = list(tokenizer.encode_documents(documents))
    assert [tokenizer.decode(ids) for ids in encoded] == TEXTS
    for ids, text in zip(encoded, TEXTS, strict=True):
        assert np.array_equal(ids, tokenizer.encode(text))
    separator = tokenizer.separator
    assert tokenizer.num_bytes(np.array([separator] * 3)) == 0
    assert tokenizer.decode([separator]) == ("\0" if tokenizer.vocab_size == 256 else "<|endoftext|>")


def test_a_character_cut_in_the_middle_shows(tokenizer):
    ids = tokenizer.encode("before \U0001f600")
    assert tokenizer.decode(ids[:-1]) == "before \ufffd"


@pytest.mark.parametrize("text", ["line of text\n" * 40, "漢字" * 100, "é\n" * 50, "\U0001f600" * 70])
def test_long_documents_are_cut_between_lines_and_characters(corpus, monkeypatch, text):
    monkeypatch.setattr(byte_pairs, "PIECE_BYTES", 50)
    monkeypatch.setattr(byte_pairs, "BATCH_BYTES", 120)
    tokenizer = BytePairEncoding(300).prepare(corpus)
    pieces = list(byte_pairs._pieces(text.encode()))
    assert "".join(pieces) == text and max(len(piece.encode()) for piece in pieces) <= 50
    assert all(piece.endswith("\n") for piece in pieces) or "\n" not in text
    encoded = tokenizer.encode_documents([text.encode(), b"", b"short"])
    assert [tokenizer.decode(ids) for ids in encoded] == [text, "", "short"]


def test_encoding_reads_only_a_little_ahead(corpus, monkeypatch):
    monkeypatch.setattr(byte_pairs, "BATCH_BYTES", 100)
    read = []

    def documents():
        for number in range(1000):
            read.append(number)
            yield b"ten bytes\n"

    next(iter(BytePairEncoding(300).prepare(corpus).encode_documents(documents())))
    assert len(read) <= 11


def test_merges_shorten_the_text(corpus):
    text = b"".join(corpus.documents("train")).decode()
    lengths = [len(BytePairEncoding(size).prepare(corpus).encode(text)) for size in (257, 280, 310)]
    assert lengths[0] == len(text.encode()) and lengths[0] > 1.5 * lengths[1] > 1.5 * lengths[2]


def test_training_is_deterministic_and_cached(corpus, forget, monkeypatch, own_cache):
    first = BytePairEncoding(300).prepare(corpus).files()
    assert byte_pairs._train(corpus.documents("train"), 300) == first["tokenizer.json"]
    forget()
    monkeypatch.setattr(byte_pairs, "_train", None)  # a second training would fail
    assert BytePairEncoding(300).prepare(corpus).files() == first
    assert len([f for f in (own_cache / "byte_pair_encodings").iterdir() if f.is_dir()]) == 1


def test_other_text_is_another_tokenizer(corpus, forget, tmp_path):
    first = BytePairEncoding(300).prepare(corpus).files()
    for path in tmp_path.glob("*.txt"):
        path.write_text(path.read_text().upper())
    forget()
    assert BytePairEncoding(300).prepare(corpus).files() != first


def test_training_text_can_be_limited(tmp_path, corpus):
    part = BytePairEncoding(290, training_bytes=1000).prepare(corpus)
    start = b"".join(corpus.documents("train"))[:1000]
    assert part.files()["tokenizer.json"] == byte_pairs._train([start], 290)


def test_a_finished_run_restores_its_tokenizer_without_the_corpus(tmp_path, corpus):
    config = BytePairEncoding(300)
    trained = config.prepare(corpus)
    for name, content in trained.files().items():
        (tmp_path / name).write_bytes(content)
    restored = config.restore(tmp_path)
    assert isinstance(restored, BytePairs)
    assert np.array_equal(restored.encode(TEXTS[3]), trained.encode(TEXTS[3]))


def test_two_processes_at_once_share_one_training(tmp_path, own_cache):
    (tmp_path / "a.txt").write_text("some words to merge, some more words to merge\n" * 20)
    (tmp_path / "b.txt").write_text("other words to merge and to hold out\n" * 20)
    program = f"""
import json
from genlab.data import Text, TextFiles, BytePairEncoding
splits = Text(TextFiles({str(tmp_path / "*.txt")!r}), BytePairEncoding(265), 8).load()
print(json.dumps([splits.description, splits.train[1]["tokens"].tolist()]))
"""
    command = [sys.executable, "-c", program]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (json.loads(process.communicate(timeout=60)[0]) for process in running)
    assert first == second
    kept = {path.parent.name + path.suffix for path in own_cache.glob("*/*")}
    assert kept == {f"{kind}{end}" for kind in ("byte_pair_encodings", "token_streams") for end in ("", ".lock")}
    assert len(list(own_cache.glob("*/*/*"))) == 1 + 2 * 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"vocab_size": 256}, "vocab_size 256 is below 257"),
        ({"training_bytes": 0}, "training_bytes 0 must be positive"),
        ({"vocab_size": 5000}, r"vocab_size 5000 is too large for this text: at most \d+"),
    ],
)
def test_impossible_encodings(config, message, corpus):
    with pytest.raises(ValueError, match=message) as caught:
        BytePairEncoding(**config).prepare(corpus)
    assert "\n" not in str(caught.value)

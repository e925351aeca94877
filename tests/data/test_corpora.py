"""Corpora: the same documents in the same order everywhere, held-out files apart from training files."""

import sysconfig

import numpy as np
import pytest

from genlab.data import corpora
from genlab.data.corpora import Corpus, StandardLibrary, TextFiles
from genlab.data.tfds_text import TfdsText


def documents(corpus, split):
    return [bytes(document) for document in corpus.documents(split)]


@pytest.fixture
def books(tmp_path):
    for number in range(40):
        folder = tmp_path / f"shelf{number % 3}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_text(f"book {number}\n")
    return tmp_path


@pytest.mark.parametrize("corpus", [StandardLibrary(), TextFiles("*"), TfdsText()])
def test_they_are_corpora(corpus):
    assert isinstance(corpus, Corpus)


def test_standard_library_is_large_and_split_by_file():
    train, held_out = (documents(StandardLibrary(), split) for split in ("train", "held_out"))
    assert sum(map(len, train)) > 8e6
    assert 0.5e6 < sum(map(len, held_out)) < 2e6
    assert not set(train) & set(held_out)
    assert len(set(train)) == len(train)
    assert all(b"def " in b"".join(files) for files in (train, held_out))
    assert StandardLibrary().describe()["python_version"].startswith("3.")


def test_a_python_without_sources(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    (tmp_path / "only.pyc").write_bytes(b"x")
    with pytest.raises(ValueError, match="no sources of its standard library"):
        StandardLibrary().documents("train")


def test_generated_files_and_tests_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    left_out = ["test/a.py", "site-packages/a.py", "config-3.11-x86/a.py", "_sysconfigdata_x.py"]
    kept = [f"{letter}.py" for letter in "abcdefghijklmnop"]
    for name in left_out + kept:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "copy.py").write_text("a.py")  # the content of another file
    corpus = StandardLibrary(held_out_fraction=0.3)
    found = documents(corpus, "train") + documents(corpus, "held_out")
    assert sorted(found) == sorted(name.encode() for name in kept)


def test_a_file_stays_in_its_split_wherever_it_lies_and_whatever_lies_beside_it(books, tmp_path_factory):
    before = {split: set(documents(TextFiles(f"{books}/**/*.txt"), split)) for split in ("train", "held_out")}
    assert len(before["train"]) + len(before["held_out"]) == 40 and 1 <= len(before["held_out"]) <= 10
    moved = tmp_path_factory.mktemp("elsewhere") / "books"
    books.rename(moved)
    for number in range(40, 60):
        (moved / "shelf0" / f"{number}.txt").write_text(f"book {number}\n")
    for split, files in before.items():
        assert files <= set(documents(TextFiles(f"{moved}/**/*.txt"), split))


def test_two_files_are_one_on_each_side(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    corpus = TextFiles(f"{tmp_path}/*")
    assert len(documents(corpus, "train")) == len(documents(corpus, "held_out")) == 1


def test_held_out_pattern_takes_files_from_training(books):
    corpus = TextFiles(f"{books}/**/*.txt", held_out_pattern=f"{books}/shelf1/../shelf1/*.txt")
    train, held_out = documents(corpus, "train"), documents(corpus, "held_out")
    assert len(held_out) == 13 and len(train) == 27 and not set(train) & set(held_out)
    with pytest.raises(ValueError, match="holds out all files"):
        TextFiles(f"{books}/**/*.txt", held_out_pattern=f"{books}/**").documents("train")


@pytest.mark.parametrize("mapped_bytes", [1, 1 << 26])
@pytest.mark.parametrize("text", ["line\n" * 100, "no line ends " * 50, "é" * 100, "ab", "a\n", "é\né"])
def test_a_single_file_is_cut_at_a_line_end(tmp_path, monkeypatch, text, mapped_bytes):
    monkeypatch.setattr(corpora, "_MAPPED_BYTES", mapped_bytes)
    (tmp_path / "one.txt").write_text(text)
    corpus = TextFiles(f"{tmp_path}/one.txt", held_out_fraction=0.25)
    (train,), (held_out,) = documents(corpus, "train"), documents(corpus, "held_out")
    assert train.decode() + held_out.decode() == text and train and held_out
    if len(text) > 10:
        assert len(held_out) / len(text.encode()) == pytest.approx(0.25, abs=0.03)
    if text.startswith("line"):
        assert train.endswith(b"\n")


def test_fingerprints_follow_the_content(books):
    corpus = TextFiles(f"{books}/**/*.txt")
    before = corpus.fingerprint("train")
    assert corpus.fingerprint("train") == before != corpus.fingerprint("held_out")
    assert corpus.num_bytes("train") == sum(map(len, documents(corpus, "train")))
    for path in books.glob("*/*.txt"):
        path.write_text(path.read_text().upper())
    assert corpus.fingerprint("train") != before


def test_large_files_are_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "_MAPPED_BYTES", 10)
    (tmp_path / "large.txt").write_text("0123456789" * 10)
    (document,) = TextFiles(f"{tmp_path}/*.txt").documents("train")
    assert isinstance(document, np.memmap)


@pytest.mark.parametrize(
    ("files", "pattern", "error", "message"),
    [
        ({}, "missing.txt", FileNotFoundError, "no text file matches .*missing.txt"),
        ({"empty.txt": ""}, "empty.txt", ValueError, "all files that match .*empty.txt' are empty"),
        ({"a/b.txt": "text"}, "a", FileNotFoundError, "no text file matches"),
    ],
)
def test_missing_and_empty_files(tmp_path, files, pattern, error, message):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message) as caught:
        TextFiles(str(tmp_path / pattern)).documents("train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_held_out_fraction_is_a_fraction(fraction):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        TextFiles("*.txt", held_out_fraction=fraction)
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        StandardLibrary(held_out_fraction=fraction)

"""Tokenizers: text to token ids and back, without loss."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from genlab.data.corpora import Corpus


@runtime_checkable
class Tokenizer(Protocol):
    """A tokenizer ready for use."""

    @property
    def vocab_size(self) -> int:
        """How many token ids there are."""
        ...

    @property
    def separator(self) -> int:
        """The token between documents."""
        ...

    def encode(self, text: str) -> np.ndarray:
        """Token ids [n] of a text, in the smallest unsigned dtype that holds the vocabulary."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids [n]; a character cut in the middle shows as U+FFFD."""
        ...

    def encode_documents(self, documents: Iterable[bytes]) -> Iterator[np.ndarray]:
        """Token ids [n] of each document (UTF-8 bytes), reading only a little ahead."""
        ...

    def num_bytes(self, ids: np.ndarray) -> int:
        """Bytes of text that token ids stand for; separators stand for none."""
        ...

    def files(self) -> Mapping[str, bytes]:
        """What a finished run must keep to use the tokenizer again, by file name."""
        ...


@runtime_checkable
class TokenizerConfig(Protocol):
    """Which tokenizer; part of an experiment's config."""

    @property
    def vocab_size(self) -> int:
        """How many token ids there are."""
        ...

    def prepare(self, corpus: Corpus) -> Tokenizer:
        """The tokenizer for a corpus, trained on its training text where it needs to be."""
        ...

    def restore(self, folder: Path) -> Tokenizer:
        """The tokenizer from the `files()` that a finished run kept in a folder."""
        ...


@dataclass(frozen=True)
class Bytes:
    """Every byte of the UTF-8 text is a token; byte 0, which text has no use for, is the separator.

    It is its own config: there is nothing to train.
    """

    @property
    def vocab_size(self) -> int:
        """256, one for each byte."""
        return 256

    @property
    def separator(self) -> int:
        """Byte 0."""
        return 0

    def prepare(self, corpus: Corpus) -> "Bytes":
        """Itself."""
        return self

    def restore(self, folder: Path) -> "Bytes":
        """Itself."""
        return self

    def encode(self, text: str) -> np.ndarray:
        """The bytes of a text, uint8 [n]."""
        return np.frombuffer(text.encode(), np.uint8)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of bytes; a character cut in the middle shows as U+FFFD."""
        return np.asarray(ids, np.uint8).tobytes().decode(errors="replace")

    def encode_documents(self, documents: Iterable[bytes]) -> Iterator[np.ndarray]:
        """The bytes of each document, uint8 [n], without a copy."""
        return (np.frombuffer(document, np.uint8) for document in documents)

    def num_bytes(self, ids: np.ndarray) -> int:
        """One each but for separators."""
        return int(np.count_nonzero(ids))

    def files(self) -> Mapping[str, bytes]:
        """None are needed."""
        return {}

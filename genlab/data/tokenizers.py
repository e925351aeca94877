"""Tokenizers: text to token ids and back, without loss."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Tokenizer(Protocol):
    """A tokenizer ready for use."""

    vocab_size: int
    separator: int  # the token between documents

    def encode(self, text: str) -> np.ndarray:
        """Token ids [n] of a text, in the smallest unsigned dtype that holds the vocabulary."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids."""
        ...

    def encode_documents(self, documents: Iterable[bytes]) -> Iterator[np.ndarray]:
        """Token ids of each document (UTF-8 bytes), lazily."""
        ...


@dataclass(frozen=True)
class Bytes:
    """Every byte of the UTF-8 text is a token; byte 0, which text does not use, separates documents."""

    @property
    def vocab_size(self) -> int:
        """256 bytes."""
        return 256

    @property
    def separator(self) -> int:
        """Byte 0."""
        return 0

    def encode(self, text: str) -> np.ndarray:
        """The bytes of `text`, uint8 [n]."""
        return np.frombuffer(text.encode(), np.uint8)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of bytes; a sequence cut inside a character shows the replacement character there."""
        return np.asarray(ids, np.uint8).tobytes().decode(errors="replace")

    def encode_documents(self, documents: Iterable[bytes]) -> Iterator[np.ndarray]:
        """The bytes of each document without a copy, uint8 [n] each."""
        for document in documents:
            yield np.frombuffer(document, np.uint8)

"""A tokenizer of few characters: a small vocabulary, for small models."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genlab.configuration import ConfigError
from genlab.data.corpora import Corpus

PRINTABLE = "\n" + "".join(map(chr, range(ord(" "), ord("~") + 1)))  # ASCII's, 96 characters


@dataclass(frozen=True)
class Characters:
    """Every character of an alphabet is a token, numbered from 1; token 0 is the separator.

    It is its own config: there is nothing to train.

    Attributes:
      alphabet: its characters, ASCII, each once.

    Raises (from `encode` as well):
      ConfigError: a character that is not in the alphabet, or an alphabet with one twice.
    """

    alphabet: str = PRINTABLE

    def __post_init__(self):
        if not self.alphabet.isascii() or "\0" in self.alphabet or len(set(self.alphabet)) < len(self.alphabet):
            raise ConfigError("an alphabet has ASCII characters other than \\0, each once; Bytes takes any text")

    @property
    def vocab_size(self) -> int:
        """The alphabet's characters and the separator."""
        return len(self.alphabet) + 1

    @property
    def separator(self) -> int:
        """Token 0."""
        return 0

    def prepare(self, corpus: Corpus | None) -> "Characters":
        """Itself."""
        return self

    def restore(self, folder: Path) -> "Characters":
        """Itself."""
        return self

    def encode(self, text: str) -> np.ndarray:
        """The tokens of a text, uint8 [n]."""
        return self._tokens(text.encode())

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens; a separator shows as the character \\0."""
        return "".join(map(("\0" + self.alphabet).__getitem__, map(int, ids)))

    def encode_documents(self, documents: Iterable[bytes]) -> Iterator[np.ndarray]:
        """The tokens of each document, uint8 [n]."""
        return (self._tokens(bytes(document)) for document in documents)

    def num_bytes(self, ids: np.ndarray) -> int:
        """One each but for separators."""
        return int(np.count_nonzero(ids))

    def files(self) -> Mapping[str, bytes]:
        """None are needed."""
        return {}

    def _tokens(self, text: bytes) -> np.ndarray:
        tokens = np.frombuffer(text.translate(_table(self.alphabet)), np.uint8)
        if len(tokens) and tokens.max() == _UNKNOWN:
            character = text[int(tokens.argmax()):].decode(errors="replace")[0]
            raise ConfigError(f"{character!r} is not in the tokenizer's alphabet; add it, or use Bytes()")
        return tokens


_UNKNOWN = 255


@functools.lru_cache(maxsize=64)
def _table(alphabet: str) -> bytes:
    table = bytearray([_UNKNOWN]) * 256
    for token, character in enumerate(alphabet, start=1):
        table[ord(character)] = token
    return bytes(table)

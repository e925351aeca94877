"""Text as training data: a corpus, a tokenizer and a sequence length."""

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from genlab.data.corpora import Corpus, Split, StandardLibrary
from genlab.data.sources import Splits, TokenWindows
from genlab.data.tokenizers import Bytes, Tokenizer


@dataclass(frozen=True)
class Text:
    """Documents joined by separators and cut into sequences; each token of the corpus is a target once per epoch.

    Examples are {"tokens": [sequence_length + 1]}: inputs and targets overlap by one token.
    """

    source: Corpus = StandardLibrary()
    tokenizer: Tokenizer = Bytes()
    sequence_length: int = 256

    def __post_init__(self):
        if self.sequence_length < 1:
            raise ValueError(f"sequence_length must be at least 1, not {self.sequence_length}")

    @property
    def vocab_size(self) -> int:
        """The tokenizer's vocabulary."""
        return self.tokenizer.vocab_size

    @property
    def tokens_per_example(self) -> int:
        """Targets in an example."""
        return self.sequence_length

    def load(self) -> Splits:
        """The corpus as sources; loaded once per process, whatever the sequence length."""
        streams = {split: _stream(self.source, self.tokenizer, split) for split in ("train", "held_out")}
        windows = {split: TokenWindows(s.tokens, self.sequence_length) for split, s in streams.items()}
        hashes = "".join(stream.sha256 for stream in streams.values())
        description = {
            "source": type(self.source).__name__,
            "tokenizer": type(self.tokenizer).__name__,
            "data_hash": hashlib.sha256(hashes.encode()).hexdigest(),
            "vocab_size": self.vocab_size,
            **self.source.describe(),
        }
        for split, stream in streams.items():
            description |= {f"{split}_{name}": value for name, value in stream.describe().items()}
            description[f"{split}_examples"] = len(windows[split])
        return Splits(**windows, description=description)


@dataclass(frozen=True)
class _TokenStream:
    """A split's tokens [N], separator first, between documents and last; the counts are of the text in it."""

    tokens: np.ndarray
    documents: int
    text_bytes: int
    sha256: str

    def describe(self) -> dict[str, Any]:
        tokens = len(self.tokens) - 1  # the first separator is never a target
        return {
            "documents": self.documents,
            "bytes": self.text_bytes,
            "tokens": tokens,
            "bytes_per_token": self.text_bytes / tokens,
        }


@functools.lru_cache(maxsize=8)
def _stream(source: Corpus, tokenizer: Tokenizer, split: Split) -> _TokenStream:
    """Tokenise a split into memory."""
    documents = list(source.documents(split))
    pieces = [separator := np.array([tokenizer.separator], np.uint8)]
    for tokens in tokenizer.encode_documents(documents):
        pieces += [tokens, separator]
    stream = np.concatenate(pieces)
    text_bytes = sum(map(len, documents))
    return _TokenStream(stream, len(documents), text_bytes, hashlib.sha256(stream).hexdigest())

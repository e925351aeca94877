"""Token streams: a split's documents as one long array, in memory or memory-mapped from the cache."""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genlab.configuration import ConfigError
from genlab.data.cache import cached
from genlab.data.corpora import Corpus, Split
from genlab.data.tokenizers import Bytes, Tokenizer, TokenizerConfig

IN_MEMORY_BYTES = 1 << 28  # text up to here is kept in memory where its bytes are its tokens
CACHE_VERSION = 1  # to be raised when the same key would give other tokens


@dataclass(frozen=True)
class TokenStream:
    """A split's tokens [N]: a separator, and one after each document.

    Attributes:
      tokens: in the smallest unsigned dtype that holds the vocabulary.
      documents: how many there are in it; the last may be cut.
      text_bytes: bytes of text that the tokens stand for.
      sha256: of the tokens' bytes (little-endian).
    """

    tokens: np.ndarray
    documents: int
    text_bytes: int
    sha256: str

    def facts(self) -> dict[str, Any]:
        """Facts for the run record. The first separator is never a target and not counted."""
        tokens = len(self.tokens) - 1
        return {
            "documents": self.documents,
            "bytes": self.text_bytes,
            "tokens": tokens,
            "bytes_per_token": self.text_bytes / tokens,
        }


@functools.lru_cache(maxsize=8)
def token_stream(
    corpus: Corpus, config: TokenizerConfig, split: Split, max_tokens: int | None = None
) -> TokenStream:
    """A split's tokens, at most `max_tokens` of them after the first separator.

    The bytes of up to 256 MB of text are read into memory, which takes less time than to find them
    in the cache. All else is tokenised once, into a file of the cache, a few megabytes at a time,
    and memory-mapped: a corpus needs not fit in memory. Repeated calls in a process return the same.

    Raises:
      ConfigError: the split has no text.
    """
    tokenizer = config.prepare(corpus)
    if isinstance(tokenizer, Bytes) and corpus.num_bytes(split) <= IN_MEMORY_BYTES:
        pieces: list[np.ndarray] = []
        facts = _write_stream(corpus, tokenizer, split, max_tokens, pieces.append)
        return TokenStream(np.concatenate(pieces), **facts)

    def make(folder: Path) -> None:
        with (folder / "tokens").open("wb") as file:
            facts = _write_stream(corpus, tokenizer, split, max_tokens, file.write)
        (folder / "facts.json").write_text(json.dumps(facts))

    identity = [type(config).__name__, *(_hash(file) for file in tokenizer.files().values())]
    key = [CACHE_VERSION, corpus.fingerprint(split), identity, split, max_tokens]
    folder = cached("token_streams", key, make)
    facts = json.loads((folder / "facts.json").read_text())
    dtype = tokenizer.encode("").dtype
    return TokenStream(np.memmap(folder / "tokens", dtype, mode="r"), **facts)


def _write_stream(
    corpus: Corpus,
    tokenizer: Tokenizer,
    split: Split,
    max_tokens: int | None,
    write: Callable[[np.ndarray], Any],
) -> dict[str, Any]:
    """Writes a split's stream piece by piece; returns the other fields of its `TokenStream`."""
    digest = hashlib.sha256()
    documents = text_bytes = 0
    room = max_tokens or float("inf")
    separator = np.array([tokenizer.separator], tokenizer.encode("").dtype)
    write(separator)
    digest.update(separator)
    for tokens in tokenizer.encode_documents(corpus.documents(split)):
        if len(tokens) + 1 > room:
            tokens = tokens[: int(room) - 1]
        for piece in (tokens, separator):
            write(piece)
            digest.update(piece)
        documents += 1
        text_bytes += tokenizer.num_bytes(tokens)
        room -= len(tokens) + 1
        if room < 2:
            break
    if not text_bytes:
        raise ConfigError(f"there is no {split.replace('_', '-')} text in {corpus}")
    return {"documents": documents, "text_bytes": text_bytes, "sha256": digest.hexdigest()}


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

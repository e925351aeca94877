"""Byte-pair encoding trained on the corpus itself, by the `tokenizers` library."""

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from genlab.configuration import ConfigError
from genlab.data.cache import cached
from genlab.data.corpora import Corpus, content_hash

FILE = "tokenizer.json"
SEPARATOR = "<|endoftext|>"  # only its name: the same characters in a text are ordinary text
PIECE_BYTES = 1 << 16  # long documents are cut (at line ends) so that all cores work on one
BATCH_BYTES = 1 << 22  # text that is encoded at once


@dataclass(frozen=True)
class BytePairEncoding:
    """Byte-level byte-pair encoding (Sennrich et al. 2016, as in GPT-2), trained on the corpus.

    Attributes:
      vocab_size: one separator, 256 bytes and the merges: at least 257.
      training_bytes: merges are learned from so much of the training text, from its start.
    """

    vocab_size: int = 8192
    training_bytes: int = 100_000_000

    def __post_init__(self):
        if self.vocab_size < 257:
            raise ConfigError(f"vocab_size {self.vocab_size} is below 257: 256 bytes, 1 separator")
        if self.training_bytes < 1:
            raise ConfigError(f"training_bytes {self.training_bytes} must be positive")

    def prepare(self, corpus: Corpus) -> "BytePairs":
        """The trained tokenizer; from the cache where these settings saw this text before.

        Raises:
          ConfigError: the text has too few different words for so many merges.
        """
        return _prepare(self, corpus)

    def restore(self, folder: Path) -> "BytePairs":
        """The tokenizer from a folder's tokenizer.json."""
        return BytePairs((Path(folder) / FILE).read_bytes())


class BytePairs:
    """A trained byte-pair encoding; token 0 is the separator."""

    def __init__(self, content: bytes):
        self._content = content
        self._tokenizer = tokenizers.Tokenizer.from_str(content.decode())
        self._tokenizer.encode_special_tokens = True  # a text that spells the separator is text
        self.vocab_size: int = self._tokenizer.get_vocab_size()
        self.separator: int = self._tokenizer.token_to_id(SEPARATOR)
        self.dtype = np.min_scalar_type(self.vocab_size - 1)
        # The byte-level alphabet writes each byte as one character.
        self._bytes_of_token = np.zeros(self.vocab_size, np.int64)
        for token, index in self._tokenizer.get_vocab().items():
            self._bytes_of_token[index] = len(token)
        self._bytes_of_token[self.separator] = 0

    def encode(self, text: str) -> np.ndarray:
        """Token ids of a text, uint16 (uint32 for more than 65,536 tokens) [n]."""
        return np.array(self._tokenizer.encode(text).ids, self.dtype)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; a character cut in the middle shows as U+FFFD."""
        ids = np.asarray(ids).tolist()
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def encode_documents(self, documents: Iterable[bytes]) -> Iterator[np.ndarray]:
        """Token ids of each document (UTF-8 bytes), a few megabytes at a time on all cores.

        Cuts inside a document fall on line ends, every 64 kB: there, no token spans them.
        """
        pieces = ((n, piece) for n, doc in enumerate(documents) for piece in _pieces(doc))
        encoded = ((n, ids) for batch in _batches(pieces) for n, ids in self._encode_batch(batch))
        for _, group in itertools.groupby(encoded, key=lambda numbered: numbered[0]):
            yield np.concatenate([ids for _, ids in group])

    def _encode_batch(self, batch: list[tuple[int, str]]) -> Iterator[tuple[int, np.ndarray]]:
        encodings = self._tokenizer.encode_batch([text for _, text in batch])
        for (number, _), encoding in zip(batch, encodings, strict=True):
            yield number, np.array(encoding.ids, self.dtype)

    def num_bytes(self, ids: np.ndarray) -> int:
        """Bytes of text that token ids stand for; separators stand for none."""
        return int(self._bytes_of_token[ids].sum())

    def files(self) -> Mapping[str, bytes]:
        """tokenizer.json, which other software of the Hugging Face family reads as well."""
        return {FILE: self._content}


@functools.lru_cache(maxsize=4)
def _prepare(config: BytePairEncoding, corpus: Corpus) -> BytePairs:
    """The tokenizer, trained or from the cache, once a process."""

    def text() -> Iterator[bytes]:
        return _first_bytes(corpus.documents("train"), config.training_bytes)

    def make(folder: Path) -> None:
        (folder / FILE).write_bytes(_train(text(), config.vocab_size))

    key = [content_hash(text()), config.vocab_size, tokenizers.__version__]
    return config.restore(cached("byte_pair_encodings", key, make))


def _train(documents: Iterable[bytes], vocab_size: int) -> bytes:
    """Learns the merges of a text; the tokenizer as JSON."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (piece for document in documents for piece in _pieces(document))
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() < vocab_size:
        most = tokenizer.get_vocab_size()
        raise ConfigError(f"vocab_size {vocab_size} is too large for this text: at most {most}")
    return tokenizer.to_str().encode()


def _first_bytes(documents: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Documents up to `limit` bytes in all; the last one is cut."""
    for document in documents:
        if len(document) >= limit:
            yield document[:limit]
            return
        limit -= len(document)
        yield document


def _pieces(document: bytes) -> Iterator[str]:
    """A document as texts of about PIECE_BYTES that end at line ends, or at least between characters."""
    start = 0
    while True:
        end = start + PIECE_BYTES
        chunk = bytes(document[start:end])
        if end < len(document):
            chunk = chunk[: chunk.rfind(b"\n") + 1] or _whole_characters(chunk)
        yield chunk.decode(errors="replace")
        start += len(chunk)
        if start >= len(document):
            return


def _whole_characters(chunk: bytes) -> bytes:
    """The chunk without a last UTF-8 character of several bytes, which may be cut."""
    for back in range(1, 4):
        if chunk[-back] >= 0xC0:  # its first byte
            return chunk[:-back]
        if chunk[-back] < 0x80:
            break
    return chunk


def _batches(pieces: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Pieces in lists of about BATCH_BYTES."""
    batch: list[tuple[int, str]] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece[1])
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch

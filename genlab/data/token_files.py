"""Tokens that were made elsewhere: NumPy arrays of ids in files."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genlab.configuration import ConfigError
from genlab.data.sources import Splits, TokenWindows

CHUNK = 1 << 24  # tokens that are checked and hashed at once


@dataclass(frozen=True)
class TokenFiles:
    """Token ids in .npy files, memory-mapped and cut into sequences as in `Text`.

    For an array at hand: `numpy.save("train.npy", tokens)`. A config holds no arrays, so that a
    finished run can say what it was trained on.

    Attributes:
      train, held_out: files of integers [N], at least 2 of them.
      vocab_size: larger than every id.
      sequence_length: targets in an example.

    Raises (when loaded):
      FileNotFoundError: no such file.
      ConfigError: no .npy file, not a list of integers, or an id outside the vocabulary.
    """

    train: str
    held_out: str
    vocab_size: int
    sequence_length: int = 256

    @property
    def tokens_per_example(self) -> int:
        """Targets in an example."""
        return self.sequence_length

    def load(self) -> Splits:
        """The files as examples {"tokens": [sequence_length + 1]}."""
        description = {"vocab_size": self.vocab_size, "sequence_length": self.sequence_length}
        windows, hashes = {}, ""
        for name in ("train", "held_out"):
            path = Path(getattr(self, name)).expanduser()
            tokens = _open(path)
            hashes += _checked_hash(path, path.stat().st_mtime_ns, self.vocab_size)
            windows[name] = TokenWindows(tokens, self.sequence_length)
            description[f"{name}_tokens"] = len(tokens) - 1  # the first is never a target
            description[f"{name}_examples"] = len(windows[name])
        description["data_hash"] = hashlib.sha256(hashes.encode()).hexdigest()
        return Splits(**windows, description=description)


def _open(path: Path) -> np.ndarray:
    """A file's tokens, memory-mapped."""
    if not path.is_file():
        raise FileNotFoundError(f"no token file {path}")
    try:
        tokens = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ConfigError(f"{path} is no .npy file of token ids") from error
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu" or len(tokens) < 2:
        found = f"{tokens.dtype}{list(tokens.shape)}"
        raise ConfigError(f"{path} holds {found}; it should be a list of at least 2 integers")
    return tokens


@functools.lru_cache(maxsize=8)
def _checked_hash(path: Path, changed: int, vocab_size: int) -> str:
    """SHA-256 of a file's tokens, all of which lie in the vocabulary."""
    tokens = _open(path)
    digest = hashlib.sha256()
    for start in range(0, len(tokens), CHUNK):
        chunk = np.ascontiguousarray(tokens[start : start + CHUNK])
        low, high = int(chunk.min()), int(chunk.max())
        if low < 0 or high >= vocab_size:
            wrong = low if low < 0 else high
            raise ConfigError(f"{path} holds token {wrong}, outside vocab_size {vocab_size}")
        digest.update(chunk)
    return digest.hexdigest()

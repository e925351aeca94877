"""Text corpora on this machine: the standard library and text files, split by file."""

import functools
import glob
import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from genlab.configuration import ConfigError

Split = Literal["train", "held_out"]


@runtime_checkable
class Corpus(Protocol):
    """Where text comes from: a frozen config that yields documents in an order that never changes."""

    def documents(self, split: Split) -> Iterator[bytes]:
        """The documents of a split as bytes of UTF-8 (or another buffer of them)."""
        ...

    def num_bytes(self, split: Split) -> int:
        """About how much text a split has, found without reading it."""
        ...

    def fingerprint(self, split: Split) -> str:
        """A hash that changes with the documents of a split."""
        ...

    def describe(self) -> dict[str, Any]:
        """Facts for the run record that the config does not hold."""
        ...


def content_hash(documents: Iterable[bytes]) -> str:
    """SHA-256 of documents and of where one ends and the next begins."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(len(document).to_bytes(8, "big"))
        digest.update(document)
    return digest.hexdigest()


@dataclass(frozen=True)
class StandardLibrary:
    """The sources of the running Python's standard library: some 11 MB of real text, no download.

    Tests and generated files (documentation, build settings) are left out; of equal files, one is
    kept. A file is held out by the hash of its path. The text differs between Python versions: the
    run record holds the version and a hash of the text.

    Attributes:
      held_out_fraction: of the files.
    """

    held_out_fraction: float = 0.1

    def __post_init__(self):
        _check_fraction(self.held_out_fraction)

    def documents(self, split: Split) -> Iterator[bytes]:
        """The files of a split in the order of their paths' hashes: a start is a fair sample."""
        return iter(self._read()[split])

    def num_bytes(self, split: Split) -> int:
        """The size of a split."""
        return sum(map(len, self._read()[split]))

    def fingerprint(self, split: Split) -> str:
        """A hash of the files of a split."""
        return content_hash(self.documents(split))

    def describe(self) -> dict[str, Any]:
        """The Python version."""
        return {"python_version": platform.python_version()}

    def _read(self) -> dict[Split, list[bytes]]:
        return _standard_library(sysconfig.get_path("stdlib"), self.held_out_fraction)


_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
_GENERATED_FOLDERS = ("pydoc_data", "config-")  # 0.75 MB of documentation; how Python was built
_GENERATED_FILES = ("_sysconfigdata", "sitecustomize", "usercustomize")


@functools.lru_cache(maxsize=2)
def _standard_library(root: str, held_out_fraction: float) -> dict[Split, list[bytes]]:
    """Contents of the files under `root` by split."""
    paths = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [
            name
            for name in subfolders
            if name not in _SKIPPED_FOLDERS and not name.startswith(_GENERATED_FOLDERS)
        ]
        sources = [name for name in names if name.endswith(".py")]
        paths += [Path(folder, name) for name in sources if not name.startswith(_GENERATED_FILES)]
    splits: dict[Split, list[bytes]] = {"train": [], "held_out": []}
    seen = {b""}
    for number, path in sorted((_path_hash(path, root), path) for path in paths):
        content = path.read_bytes()
        if content not in seen:
            seen.add(content)
            splits["held_out" if number < held_out_fraction else "train"].append(content)
    if not splits["train"] or not splits["held_out"]:
        raise ConfigError(
            f"this Python has no sources of its standard library in {root}; use TextFiles(pattern=...)"
        )
    return splits


@dataclass(frozen=True)
class TextFiles:
    """Text files by glob pattern, a document each, UTF-8.

    Attributes:
      pattern: such as "books/**/*.txt"; ** stands for any folders, ~ for the home folder.
      held_out_pattern: which files to hold out; they are never trained on, even if `pattern`
        matches them too.
      held_out_fraction: without a `held_out_pattern`, the fraction of files held out, by the hash of
        their paths; of a single file, its end from a line end on.

    Raises (when read):
      FileNotFoundError: no file matches.
      ConfigError: there is nothing in them, or no file is left to train on.
    """

    pattern: str
    held_out_pattern: str | None = None
    held_out_fraction: float = 0.1

    def __post_init__(self):
        _check_fraction(self.held_out_fraction)

    def documents(self, split: Split) -> Iterator[bytes]:
        """The files of a split in the order of their paths' hashes; large ones as memory maps."""
        paths = self._paths()
        if len(paths["train"]) + len(paths["held_out"]) > 1:
            return (_read(path) for path in paths[split])
        content = _read(paths["train"][0])
        cut = _line_end(content, round(len(content) * (1 - self.held_out_fraction)))
        return iter([content[:cut] if split == "train" else content[cut:]])

    def num_bytes(self, split: Split) -> int:
        """The size of a split's files (both splits' size for a single file)."""
        paths = self._paths()
        return sum(path.stat().st_size for path in paths[split] or paths["train"])

    def fingerprint(self, split: Split) -> str:
        """A hash of the content of a split."""
        return content_hash(self.documents(split))

    def describe(self) -> dict[str, Any]:
        """How many files there are."""
        return {"files": sum(map(len, self._paths().values()))}

    def _paths(self) -> dict[Split, list[Path]]:
        """The files of each split that are not empty; a single file stands under "train"."""
        paths = _glob(self.pattern)
        if self.held_out_pattern is not None:
            held_out = _glob(self.held_out_pattern)
            train = [path for path in paths if path not in held_out]
            if not train:
                raise ConfigError(f"{self.held_out_pattern} holds out all files of {self.pattern}")
            return {"train": train, "held_out": held_out}
        if len(paths) == 1:
            return {"train": paths, "held_out": []}
        root = os.path.commonpath(path.parent for path in paths)
        last_held_out = sum(_path_hash(path, root) < self.held_out_fraction for path in paths)
        cut = min(max(last_held_out, 1), len(paths) - 1)  # `_glob` sorts by hash: some on each side
        return {"train": paths[cut:], "held_out": paths[:cut]}


def _check_fraction(fraction: float) -> None:
    if not 0 < fraction < 1:
        raise ConfigError(f"held_out_fraction {fraction} must lie between 0 and 1")


def _path_hash(path: Path, root: str) -> float:
    """A number from 0 to 1 that a file keeps on every machine, whatever lies beside it."""
    digest = hashlib.sha256(Path(path).relative_to(root).as_posix().encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _glob(pattern: str) -> list[Path]:
    """The files that match and are not empty, ordered by the hashes of their paths."""
    matches = glob.glob(os.path.expanduser(pattern), recursive=True)
    files = [path for path in {Path(os.path.abspath(match)) for match in matches} if path.is_file()]
    if not files:
        raise FileNotFoundError(f"no text file matches {pattern!r} (in {Path.cwd()})")
    filled = [path for path in files if path.stat().st_size]
    if not filled:
        raise ConfigError(f"all files that match {pattern!r} are empty")
    root = os.path.commonpath(path.parent for path in filled)
    return sorted(filled, key=lambda path: (_path_hash(path, root), path))


_MAPPED_BYTES = 1 << 26


def _read(path: Path) -> bytes | np.ndarray:
    """A file's content: bytes, or, of a large file, a memory map."""
    if path.stat().st_size < _MAPPED_BYTES:
        return path.read_bytes()
    return np.memmap(path, np.uint8, mode="r")


def _line_end(content: Sequence[int], position: int) -> int:
    """The last line end up to `position`, or, in a text without lines, a place near it."""
    position = min(position, len(content) - 1)
    nearby = bytes(content[:position][-(1 << 20) :])
    line_end = nearby.rfind(b"\n") + 1
    if line_end:
        return position - len(nearby) + line_end
    while 0 < position < len(content) and content[position] & 0xC0 == 0x80:
        position -= 1  # inside a UTF-8 character
    return position

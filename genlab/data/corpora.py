"""Text corpora: documents as bytes, split into training and held-out text."""

import functools
import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

Split = Literal["train", "held_out"]


@runtime_checkable
class Corpus(Protocol):
    """Where text comes from: a frozen config that yields documents in a fixed order."""

    def documents(self, split: Split) -> Iterator[bytes]:
        """The documents of a split as UTF-8 bytes (or another buffer of them)."""
        ...

    def describe(self) -> dict[str, Any]:
        """Facts for the run record that tell this corpus from others of its kind."""
        ...


def path_hash(relative_path: str) -> float:
    """A number from 0 to 1 that a file keeps on every machine, whatever lies beside it."""
    digest = hashlib.sha256(relative_path.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass(frozen=True)
class StandardLibrary:
    """The sources of the running Python's standard library: about 12 MB of real text with nothing to download.

    Tests, generated files (documentation, build settings) are left out; a file is held out where the hash of its path is below
    `held_out_fraction`. The text differs between Python versions: the run record holds the version and a hash.
    """

    held_out_fraction: float = 0.1

    def documents(self, split: Split) -> Iterator[bytes]:
        """The files of a split, in the order of their paths' hashes, so that a prefix is a fair sample."""
        root = sysconfig.get_path("stdlib")
        return iter(_read_standard_library(root, self.held_out_fraction)[split])

    def describe(self) -> dict[str, Any]:
        """The Python version."""
        return {"python_version": platform.python_version()}


_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test", "pydoc_data"}
_MACHINE_FILES = ("_sysconfigdata", "sitecustomize", "usercustomize")


@functools.lru_cache(maxsize=2)
def _read_standard_library(root: str, held_out_fraction: float) -> dict[Split, list[bytes]]:
    """Contents of the library's files by split; of files with equal contents, one is kept (held out before train)."""
    paths = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [s for s in subfolders if s not in _SKIPPED_FOLDERS and not s.startswith("config-")]
        paths += [Path(folder, n) for n in names if n.endswith(".py") and not n.startswith(_MACHINE_FILES)]
    by_hash = sorted((path_hash(path.relative_to(root).as_posix()), path) for path in paths)
    files: dict[Split, list[bytes]] = {"train": [], "held_out": []}
    seen = {b""}
    for number, path in by_hash:
        content = path.read_bytes()
        if content not in seen:
            seen.add(content)
            files["held_out" if number < held_out_fraction else "train"].append(content)
    if not files["train"] or not files["held_out"]:
        raise ValueError(
            f"this Python's standard library has no sources in {root}: use a Python with them, or TextFiles(pattern=...)"
        )
    return files

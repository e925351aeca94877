"""Results that are slow to make, kept on disk under the hash of what they are made from."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """The folder GENLAB_CACHE, or ~/.cache/genlab."""
    return Path(os.environ.get("GENLAB_CACHE") or Path.home() / ".cache" / "genlab")


def cached(kind: str, key: Any, make: Callable[[Path], None]) -> Path:
    """The folder of a result, made by `make(folder)` where it is not there yet.

    Args:
      kind: a name for results of this kind, for people who look into the cache.
      key: JSON-able; all that the result depends on.
      make: writes the result's files into an empty folder.

    A folder appears whole or not at all. Processes that want the same one at once wait for the first
    to make it; what a killed process left half made is made again.

    Raises:
      OSError: the cache cannot be written (the message names the folder and GENLAB_CACHE).
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    folder = cache_folder() / kind / digest[:32]
    if folder.exists():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock")):
            if not folder.exists():
                _make_whole(folder, make)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        message = f"{error.strerror} in the cache {cache_folder()}; GENLAB_CACHE names another one"
        raise OSError(error.errno, message) from error
    return folder


def _make_whole(folder: Path, make: Callable[[Path], None]) -> None:
    """Makes a folder under another name, which only the holder of the lock uses, and renames it."""
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        make(unfinished)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a file's lock, which the system releases when the process ends, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

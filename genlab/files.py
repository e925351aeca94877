"""Files that are whole at every moment, and the lock that keeps a second writer out."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from genlab.configuration import ConfigError

# What a full disk, a used-up quota and a limit on file sizes (ulimit -f) say.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFullError(OSError):
    """There is no room to write; what was on the disk is whole. The message is one line."""

    def __str__(self) -> str:
        return (f"no space left to write {self.filename}; what is there is whole: free some space and "
                "start the same command again")


def says_disk_full(message: str) -> bool:
    """Whether an error's message, of whatever library, comes from a full disk."""
    return any(os.strerror(code) in message for code in FULL_DISK) or DiskFullError.__name__ in message


@contextlib.contextmanager
def full_disk_in_one_line(folder: Path) -> Iterator[None]:
    """Turns what other libraries make of a full disk into one `DiskFullError` about `folder`.

    Orbax's threads log it besides, in 300 lines of tracebacks; those are left out from now on.
    """
    for name in ("absl", "asyncio"):
        logger = logging.getLogger(name)
        if _is_about_something_else not in logger.filters:
            logger.addFilter(_is_about_something_else)
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, DiskFullError) or not says_disk_full(str(error)):
            raise
        raise DiskFullError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def _is_about_something_else(record: logging.LogRecord) -> bool:
    return not says_disk_full(f"{record.getMessage()} {record.exc_info[1] if record.exc_info else ''}")


class BusyError(ConfigError):
    """Somebody else is writing there; the message is one line that names the process."""


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file by `text`: a reader, a kill or a full disk finds the old file or the new one.

    Raises:
      DiskFullError: there is no room; the old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if error.errno in FULL_DISK:
            raise DiskFullError(error.errno, error.strerror, str(path)) from error
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # The rename itself outlives a power failure only when the folder is synchronised too.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writer_lock(folder: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """Holds `folder/.lock` while the block runs; the system releases it when the process dies.

    Args:
      folder: an existing folder.
      wait_seconds: how long to wait for another writer that is about to go.

    Raises:
      BusyError: another process holds it.
    """
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(descriptor, folder, time.monotonic() + wait_seconds)
        os.ftruncate(descriptor, 0)
        holder = {"pid": os.getpid(), "host": socket.gethostname()}
        with contextlib.suppress(OSError):  # A full disk: the lock holds, it only has no name on it.
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise BusyError(f"{folder} is being written by {_holder(descriptor)}; "
                                "wait until it is done, or stop it") from error
            time.sleep(0.05)


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"

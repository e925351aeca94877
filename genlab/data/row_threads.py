"""The rows of a batch made by several threads: decoding, and NumPy on blocks of rows, leave Python's lock."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def for_blocks(work: Callable[[slice], None], rows: int, block: int) -> None:
    """Calls `work` on slices of at most `block` rows that cover `rows`; returns when all are done."""
    slices = [slice(start, min(start + block, rows)) for start in range(0, rows, block)]
    if len(slices) == 1:
        work(slices[0])
    else:
        list(thread_pool().map(work, slices))


@functools.cache
def thread_pool() -> ThreadPoolExecutor:
    """The process's threads for rows, one a core."""
    return ThreadPoolExecutor(available_cores(), thread_name_prefix="rows")


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

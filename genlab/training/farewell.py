"""How the processes of a run end together when one of them fails, with the same line on each.

Without this the others would wait in a collective for one that is gone: for ever, or until JAX's heartbeats abort them
with a stack trace. A thread in each process waits for the news instead.
"""

import atexit
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

_FAILED = "genlab/failed"
_FAREWELL_SECONDS = 5.0
_POLL_SECONDS = 0.3
# What Gloo (CPU), NCCL and JAX's own service say of a process that is gone.
_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL remote", "UNAVAILABLE")

_host = [""]
_last_words: list[Callable[[str], None]] = []
_leaving = threading.Lock()  # Held for ever by the thread that ends the process.
_over = threading.Event()


def client() -> Any:
    """The key-value store and barriers of JAX's coordination service; None in a run of one process."""
    from jax._src import distributed  # JAX gives it no public name.

    return distributed.global_state.client


def hear_of_failures(host: str) -> None:
    """From now on this process, on `host`, ends when another one fails."""
    _host[0] = host
    thread = threading.Thread(target=_hear, daemon=True)
    thread.start()
    # A thread within JAX's client at the interpreter's end would abort the process.
    atexit.register(lambda: (_over.set(), thread.join(_FAREWELL_SECONDS)))


@contextlib.contextmanager
def ending_together(explain: Callable[[BaseException], tuple[int, str]]) -> Iterator[None]:
    """An error within ends every process with a line; without it the others would wait for this one.

    Args:
      explain: (exit code, one line) of an error; prints whatever else there is to say.
    """
    try:
        yield
    except BaseException as error:
        if client() is None:
            raise
        _leaving.acquire()
        code, line = _of_lost_host(error) or explain(error)
        print(f"error: {_this_process()}: {line}", file=sys.stderr, flush=True)
        _leave(code, line)


@contextlib.contextmanager
def when_another_fails(say: Callable[[str], None]) -> Iterator[None]:
    """Within, `say(line)` is called in a thread before a failure of another process (code 1) ends this one."""
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.remove(say)


def _of_lost_host(error: BaseException) -> tuple[int, str] | None:
    """What to say of a collective whose other side has gone; None of any other error."""
    line = " ".join(str(error).split())
    if not isinstance(error, jax.errors.JaxRuntimeError) or not any(sign in line for sign in _GONE):
        return None
    return 1, f"a lost host: another process has gone ({line}); start the same command again on all hosts to go on"


def _leave(code: int, line: str) -> None:
    """Tells the others, and ends this process without the meeting at JAX's exit, to which nobody would come."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        client().key_value_set(_FAILED, json.dumps([code, f"{_this_process()}: {line}"]))
    _see_off(code)


def _hear() -> None:
    """In a thread: ends this process when another one has failed, wherever the main thread waits."""
    while not _over.wait(_POLL_SECONDS):
        try:
            code, line = json.loads(client().key_value_try_get(_FAILED))
            break
        except jax.errors.JaxRuntimeError as error:
            if "NOT_FOUND" not in str(error):
                return  # The service is gone; JAX says so itself.
    else:
        return
    _leaving.acquire()
    print(f"error: stopped with {line}", file=sys.stderr, flush=True)
    for say in _last_words if code == 1 else ():
        say(line)
    _see_off(code)


def _see_off(code: int) -> None:
    """Ends this process when all know; process 0, which holds the store, goes last."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        _announce("known", jax.process_count())
        _announce("gone", jax.process_count() if jax.process_index() == 0 else 0)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _announce(what: str, wait_for: int) -> None:
    deadline = time.monotonic() + _FAREWELL_SECONDS
    client().key_value_set(f"{_FAILED}/{what}/{jax.process_index()}", "")
    while time.monotonic() < deadline and len(client().key_value_dir_get(f"{_FAILED}/{what}/")) < wait_for:
        time.sleep(0.05)


def _this_process() -> str:
    return f"process {jax.process_index()} on {_host[0]}"

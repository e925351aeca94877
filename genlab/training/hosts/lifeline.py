"""The lifeline between the processes of a run: on it they meet, notice that one is gone, and end together.

Process 0 listens at the coordinator's address, and every other process holds a connection to it as long as the run
lasts. JAX's own service cannot do this: when a process does not come or goes, it aborts every other one with a stack
trace, and cannot say which it was. Here what ends one process ends all of them, with one line on process 0's screen.

A message is a JSON object on a line:
  {"index", "count", "host"}  to process 0: here I am.
  {"hosts", "port"}           from process 0: all are here, and that port is for JAX's own service.
  {}                          both ways: still here.
  {"code", "line"}            to process 0: this is my failure; from it: the run ends so.
  {"bye"}                     both ways: the run is done, think nothing of it when I go.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

_ALIVE_SECONDS = 5.0
_SILENT_SECONDS = 40.0  # JAX itself aborts after 60 to 100.
_FAREWELL_SECONDS = 5.0


class LostHostError(ConnectionError):
    """Another process did not come, or is gone; one line that names it and what it was waited for."""


class Lifeline:
    """This process's hold on the others: process 0's on all, the others' on process 0.

    Attributes:
      index: of this process.
      hosts: the host of each process.
      port: free on process 0's host when all met.
      waiting_for: what the processes come together for next, in words.
      last_words: called with the line before a failure elsewhere (exit code 1) ends process 0.
    """

    def __init__(self, index: int, hosts: list[str], port: int, others: dict[int, "Connection"]):
        self.index, self.hosts, self.port = index, hosts, port
        self.waiting_for = "the start"
        self.last_words: list[Callable[[str], None]] = []
        self._others = others
        self._ending = threading.Lock()  # Held for ever by the thread that ends this process.
        self._done = threading.Event()
        for work, *arguments in ((self._stay_alive,), *((self._listen, other) for other in others)):
            threading.Thread(target=work, args=arguments, daemon=True).start()

    def end(self, code: int, line: str) -> NoReturn:
        """Ends all processes with an exit code; process 0 says why. Of several failures the first one counts."""
        if not self._ending.acquire(blocking=False):
            threading.Event().wait()
        if self.index == 0:
            self._end_all(code, line)
        self._others[0].send(code=code, line=line)
        self._others[0].gone.wait(_FAREWELL_SECONDS)  # Its answer ends this process before that.
        leave(code, line)

    def close(self) -> None:
        """Lets go: the run is done on all processes."""
        self._done.set()
        for connection in self._others.values():
            connection.send(bye=True)

    def name(self, index: int) -> str:
        """A process in words."""
        return f"process {index} on {self.hosts[index]}"

    def _end_all(self, code: int, line: str) -> NoReturn:
        print(f"error: {line}", file=sys.stderr, flush=True)
        try:
            for say in self.last_words if code == 1 else ():
                say(line)
            for connection in self._others.values():
                connection.send(code=code, line=line)
            # JAX's service, which runs in this process, must outlive the others.
            deadline = time.monotonic() + _FAREWELL_SECONDS
            for connection in self._others.values():
                connection.gone.wait(max(deadline - time.monotonic(), 0.0))
        finally:
            leave(code)

    def _stay_alive(self) -> None:
        while not self._done.wait(_ALIVE_SECONDS):
            for connection in self._others.values():
                connection.send()

    def _listen(self, other: int) -> None:
        connection, heard = self._others[other], time.monotonic()
        while (message := connection.receive(_SILENT_SECONDS)) is not None:
            heard = time.monotonic()
            if "bye" in message:
                return
            if "code" in message:
                if self.index:
                    leave(message["code"])
                threading.Thread(target=self.end, args=(message["code"], message["line"]), daemon=True).start()
        connection.gone.set()
        silent = time.monotonic() - heard
        how = "has gone" if silent < _SILENT_SECONDS else f"has said nothing for {silent:.0f} s"
        self.end(1, f"a lost host: {self.name(other)} {how}, while process {self.index} waited for {self.waiting_for}; "
                    "start the same command again on all hosts to go on")


class Connection:
    """Messages to and from one other process."""

    def __init__(self, connection: socket.socket):
        self.gone = threading.Event()
        self._socket, self._file = connection, connection.makefile()

    def send(self, **message: Any) -> None:
        """Sends it, or nothing when the other one is gone: whoever listens to it finds out."""
        with contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout_seconds: float) -> dict[str, Any] | None:
        """The next message; None when there is none in time, the other one is gone, or it speaks another language."""
        self._socket.settimeout(timeout_seconds)
        try:
            message = json.loads(self._file.readline(1_000_000))
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    def close(self) -> None:
        """Hangs up."""
        self._file.close()
        self._socket.close()


def leave(code: int, line: str = "") -> NoReturn:
    """Ends this process without the meeting at JAX's exit, to which nobody would come."""
    if line:
        print(f"error: {line}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)

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

from genlab.configuration import ConfigError
from genlab.training.addresses import Place, split_address

_ALIVE_SECONDS = 5.0
_SILENT_SECONDS = 40.0  # JAX itself aborts after 60 to 100.
_FAREWELL_SECONDS = 5.0
_HELLO_SECONDS = 5.0
_RETRY_SECONDS = 0.1


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

    def __init__(self, index: int, hosts: list[str], port: int, others: dict[int, "_Connection"]):
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
        _leave(code, line)

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
            _leave(code)

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
                    _leave(message["code"])
                threading.Thread(target=self.end, args=(message["code"], message["line"]), daemon=True).start()
        connection.gone.set()
        silent = time.monotonic() - heard
        how = "has gone" if silent < _SILENT_SECONDS else f"has said nothing for {silent:.0f} s"
        self.end(1, f"a lost host: {self.name(other)} {how}, while process {self.index} waited for {self.waiting_for}; "
                    "start the same command again on all hosts to go on")


class _Connection:
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


def meet(place: Place, timeout_seconds: float) -> Lifeline:
    """Returns when all processes have come.

    Raises:
      LostHostError: one does not come in time, or process 0 is not reached.
      ConfigError: two say that they are the same process, or they were told different numbers of processes.
    """
    host, port = split_address(place.coordinator)
    hello = {"index": place.index, "count": place.count, "host": socket.gethostname()}
    if place.index == 0:
        return _wait_for_all(port, hello, timeout_seconds)
    connection, answer = _call(host, port, hello, timeout_seconds)
    if "code" in answer:
        _leave(answer["code"])  # Process 0 has said why.
    return Lifeline(place.index, answer["hosts"], answer["port"], {0: connection})


def _wait_for_all(port: int, own: dict[str, Any], timeout_seconds: float) -> Lifeline:
    count, hosts, others = own["count"], {0: own["host"]}, {}
    deadline = time.monotonic() + timeout_seconds
    try:
        with _listen(port) as server:
            while len(hosts) < count:
                connection = _accept(server, deadline)
                if connection is None:
                    raise LostHostError(_missing(sorted(set(range(count)) - set(hosts)), count, timeout_seconds))
                hello = connection.receive(_HELLO_SECONDS)
                if hello is None or hello.keys() != own.keys():
                    connection.close()  # Somebody who is none of us.
                    continue
                _check(hello, hosts, count)
                hosts[hello["index"]], others[hello["index"]] = hello["host"], connection
    except (LostHostError, ConfigError) as error:
        for connection in others.values():
            connection.send(code=1 if isinstance(error, LostHostError) else 2, line=str(error))
        raise
    names, free_port = [hosts[index] for index in range(count)], _free_port()
    for connection in others.values():
        connection.send(hosts=names, port=free_port)
    return Lifeline(0, names, free_port, others)


def _call(host: str, port: int, hello: dict[str, Any], timeout_seconds: float) -> tuple[_Connection, dict[str, Any]]:
    """Process 0's answer to this process, and the connection to it."""
    deadline, reason = time.monotonic() + timeout_seconds, ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            connection = _Connection(socket.create_connection((host, port), timeout=left))
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            connection.send(**hello)
            # Process 0 waits for the others as long as it was told to, perhaps from a later moment on.
            answer = connection.receive(left + timeout_seconds)
            if answer:
                return connection, answer
            connection.close()
            reason = "nobody of this run answers there"
        time.sleep(_RETRY_SECONDS)
    raise LostHostError(f"a lost host: process 0 of {hello['count']} was not reached at {host}:{port} within "
                        f"{timeout_seconds:g} s ({reason})")


def _listen(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise ConfigError(f"process 0 cannot listen at port {port} ({error.strerror}); take another port for "
                          "--coordinator, or for SLURM's the variable JAX_COORDINATOR_PORT") from error


def _accept(server: socket.socket, deadline: float) -> _Connection | None:
    server.settimeout(max(deadline - time.monotonic(), 0.01))
    try:
        return _Connection(server.accept()[0])
    except TimeoutError:
        return None


def _check(hello: dict[str, Any], hosts: dict[int, str], count: int) -> None:
    index = hello["index"]
    if hello["count"] != count:
        raise ConfigError(f"process {index} on {hello['host']} was told that there are {hello['count']} processes, and "
                          f"process 0 on {hosts[0]} that there are {count}")
    if index in hosts:
        raise ConfigError(f"two processes say that they are process {index}: one on {hosts[index]} and one on "
                          f"{hello['host']}")


def _missing(indices: list[int], count: int, timeout_seconds: float) -> str:
    who = f"process{'es' * (len(indices) > 1)} {', '.join(map(str, indices))} of {count}"
    return f"a lost host: process 0 waited {timeout_seconds:g} s for {who}, which did not come; they count from 0"


def _free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def _leave(code: int, line: str = "") -> NoReturn:
    """Ends this process without the meeting at JAX's exit, to which nobody would come."""
    if line:
        print(f"error: {line}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)

"""How the processes of a run meet before JAX connects them, so that a lost one is told by its number.

JAX's own service aborts the process with a stack trace when somebody does not come, and cannot say who it was. So
process 0 listens at its address first, the others tell it who they are, and all get the same answer: the names of
their hosts, or one line that says what is wrong.
"""

import contextlib
import json
import selectors
import socket
import time
from typing import Any

from genlab.configuration import ConfigError

_RETRY_SECONDS = 0.1


def meet(coordinator: str, index: int, count: int, timeout_seconds: float) -> list[str]:
    """The host name of each process, once all have come.

    Args:
      coordinator: HOST:PORT of process 0.
      index: of this process.
      count: of processes.
      timeout_seconds: how long to wait for the others.

    Raises:
      ConfigError: one does not come or is not reached, two are the same, or they differ in `count`.
    """
    host, port = split_address(coordinator)
    deadline = time.monotonic() + timeout_seconds
    own = {"index": index, "count": count, "host": socket.gethostname()}
    answer = _gather(port, own, timeout_seconds, deadline) if index == 0 else _tell(host, port, own, timeout_seconds,
                                                                                   deadline)
    if "error" in answer:
        raise ConfigError(answer["error"])
    return answer["hosts"]


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT in its parts.

    Raises:
      ConfigError: it is something else.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ConfigError(f"--coordinator={address} must be HOST:PORT, with a free port of process 0's host")
    return host.strip("[]"), int(port)


def _gather(port: int, own: dict[str, Any], timeout_seconds: float, deadline: float) -> dict[str, Any]:
    """Process 0's part: hears the others, and answers all."""
    count, came, answer = own["count"], {0: own}, {}
    connections = []
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        server = stack.enter_context(_listen(port))
        selector.register(server, selectors.EVENT_READ)
        while not answer and len(came) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                answer = {"error": _missing(sorted(set(range(count)) - set(came)), count, timeout_seconds)}
                break
            for key, _ in selector.select(left):
                if key.fileobj is server:
                    connection = stack.enter_context(server.accept()[0])
                    selector.register(connection, selectors.EVENT_READ)
                    continue
                selector.unregister(key.fileobj)
                other = _read(key.fileobj)
                if other is not None:
                    connections.append(key.fileobj)
                    answer = _contradiction(other, came, count)
                    came.setdefault(other["index"], other)
        answer = answer or {"hosts": [came[index]["host"] for index in range(count)]}
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(answer).encode() + b"\n")
    return answer


def _tell(host: str, port: int, own: dict[str, Any], timeout_seconds: float, deadline: float) -> dict[str, Any]:
    """Another process's part: tells process 0 that it is here, and hears its answer."""
    reason = ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=left) as connection:
                connection.sendall(json.dumps(own).encode() + b"\n")
                # Process 0 waits as long as it was told to, perhaps from a later moment on, and then answers.
                connection.settimeout(left + timeout_seconds)
                answer = _read(connection)
            if answer is not None:
                return answer
            reason = "it does not answer"
        except OSError as error:
            reason = error.strerror or str(error)
        time.sleep(_RETRY_SECONDS)
    raise ConfigError(f"a lost host: process 0 of {own['count']} was not reached at {host}:{port} within "
                      f"{timeout_seconds:g} s ({reason})")


def _listen(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise ConfigError(f"process 0 cannot listen at port {port} ({error.strerror}); "
                          "give --coordinator another port") from error


def _read(connection: socket.socket) -> dict[str, Any] | None:
    """A line of JSON; None of somebody who says something else, or nothing."""
    with connection.makefile() as file:
        try:
            found = json.loads(file.readline(100_000))
        except (ValueError, OSError):
            return None
    return found if isinstance(found, dict) else None


def _contradiction(other: dict[str, Any], came: dict[int, dict[str, Any]], count: int) -> dict[str, Any]:
    index = other.get("index")
    if other.get("count") != count:
        return {"error": f"process {index} on {other.get('host')} was told that there are {other.get('count')} "
                         f"processes, and process 0 that there are {count}"}
    if index in came:
        return {"error": f"two processes say that they are process {index}: one on {came[index]['host']} and one on "
                         f"{other.get('host')}"}
    return {}


def _missing(indices: list[int], count: int, timeout_seconds: float) -> str:
    names = ", ".join(map(str, indices))
    several = len(indices) > 1
    return (f"a lost host: process{'es' * several} {names} of {count} did not come within {timeout_seconds:g} s; "
            "processes are counted from 0")

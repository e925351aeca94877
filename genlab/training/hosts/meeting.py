"""How the processes of a run come together: process 0 listens, the others tell it who they are, and all hear of all."""

import socket
import time
from typing import Any

from genlab.configuration import ConfigError
from genlab.training.hosts.addresses import Place, split_address
from genlab.training.hosts.lifeline import Connection, Lifeline, LostHostError, leave

_HELLO_SECONDS = 5.0
_RETRY_SECONDS = 0.1


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
        leave(answer["code"])  # Process 0 has said why.
    return Lifeline(place.index, answer["hosts"], answer["port"], {0: connection})


def _wait_for_all(port: int, own: dict[str, Any], timeout_seconds: float) -> Lifeline:
    count, hosts, others, callers = own["count"], {0: own["host"]}, {}, []
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
                callers.append(connection)
                _check(hello, hosts, count)
                hosts[hello["index"]], others[hello["index"]] = hello["host"], connection
    except (LostHostError, ConfigError) as error:
        for connection in callers:
            connection.send(code=1 if isinstance(error, LostHostError) else 2, line=str(error))
        raise
    names, free_port = [hosts[index] for index in range(count)], _free_port()
    for connection in others.values():
        connection.send(hosts=names, port=free_port)
    return Lifeline(0, names, free_port, others)


def _call(host: str, port: int, hello: dict[str, Any], timeout_seconds: float) -> tuple[Connection, dict[str, Any]]:
    """Process 0's answer to this process, and the connection to it."""
    deadline, reason = time.monotonic() + timeout_seconds, ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            connection = Connection(socket.create_connection((host, port), timeout=left))
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


def _accept(server: socket.socket, deadline: float) -> Connection | None:
    server.settimeout(max(deadline - time.monotonic(), 0.01))
    try:
        return Connection(server.accept()[0])
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

"""A connection to another host that stays open on this side when the other side goes.

JAX's client aborts its process with a stack trace as soon as it loses its service, which is when process 0 goes.
Through a relay it does not notice, and the lifeline has the time to end the process with one line.
"""

import contextlib
import socket
import threading
import time

_RETRY_SECONDS = 0.1


def relay(host: str, port: int) -> int:
    """A port of this host whose first connection is one to `host`:`port`, once somebody listens there."""
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(server, host, port), daemon=True).start()
    return server.getsockname()[1]


def _serve(server: socket.socket, host: str, port: int) -> None:
    with server:
        near, _ = server.accept()
    far = None
    while far is None:  # If nobody ever listens, the lifeline ends this process.
        try:
            far = socket.create_connection((host, port))
        except OSError:
            time.sleep(_RETRY_SECONDS)
    for ends in ((near, far), (far, near)):
        threading.Thread(target=_pump, args=ends, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)

"""Ctrl-C and SIGTERM as a request to stop at a checkpoint; a second one means now."""

import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While the `with` block runs, the first signal is remembered, and a second interrupts.

    Called, it says whether somebody asked to stop. Use it in the main thread.

    Args:
      message: printed at the first signal.
      say: how to print.
    """

    def __init__(self, message: str = "", say=print):
        self._message = message
        self._say = say
        self._asked = False
        self._before: dict[int, object] = {}

    def __call__(self) -> bool:
        return self._asked

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        if self._message:
            self._say(self._message)

"""Where a run's wall time goes: every second from its start to its end belongs to one part."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# "step" is training proper, "input" the making of batches while no step runs, "other" the rest: start-up, restoring.
PARTS = ("compile", "step", "input", "evaluation", "checkpoint", "other")


class Clock:
    """Gives each moment to the innermost part that is open, and of it what was compilation to "compile".

    Args:
      compiled: seconds that this process has spent compiling so far; it may have begun before this run.
      now: seconds of a clock that never goes back.
    """

    def __init__(self, compiled: Callable[[], float], now: Callable[[], float] = time.perf_counter):
        self._compiled, self._now = compiled, now
        self._compiled_until, self._since = compiled(), now()
        self._part = "other"
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._before = dict.fromkeys(PARTS, 0.0)
        self._steps = 0
        self._marked = (0, 0.0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What runs within belongs to this part."""
        self._settle()
        outer, self._part = self._part, name
        try:
            yield
        finally:
            self._settle()
            self._part = outer

    def restore(self, seconds: dict[str, float]) -> None:
        """Adds what earlier attempts took: their `seconds()`."""
        self._before |= {name: seconds.get(name, 0.0) for name in PARTS}

    def seconds(self) -> dict[str, float]:
        """Of each part so far, in all attempts; they sum up to `total()`."""
        self._settle()
        return {name: self._before[name] + seconds for name, seconds in self._seconds.items()}

    def total(self) -> float:
        """Wall time of all attempts."""
        return sum(self.seconds().values())

    def hide(self, seconds: float) -> None:
        """So much "input" was made while a step ran: it is no wait."""
        self._settle()
        seconds = min(seconds, self._seconds["input"])
        self._seconds["input"] -= seconds
        self._seconds["step"] += seconds

    def count(self, steps: int) -> None:
        """So many more steps are done."""
        self._steps += steps

    def rate(self) -> float:
        """Steps a second of "step" and "input", in this process; 0 before the first is done."""
        training = self._training()
        return self._steps / training if training > 0 and self._steps else 0.0

    def seconds_per_step(self) -> float | None:
        """Since this was last asked, "step" and "input" together; None where no step was done since."""
        steps, training = self._steps - self._marked[0], self._training() - self._marked[1]
        self._marked = (self._steps, self._training())
        return training / steps if steps else None

    def _training(self) -> float:
        self._settle()
        return self._seconds["step"] + self._seconds["input"]

    def _settle(self) -> None:
        now, compiled = self._now(), self._compiled()
        # Another run of the process may compile at the same time; this part cannot have taken more than it lasted.
        compiling = min(compiled - self._compiled_until, now - self._since)
        self._seconds["compile"] += compiling
        self._seconds[self._part] += now - self._since - compiling
        self._since, self._compiled_until = now, compiled

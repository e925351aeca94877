"""Paired timing: sides take turns in short blocks, and ratios are taken within a turn.

Machines are shared and change their clock; both sides of one turn see the same weather.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Side:
    """One of the things compared.

    Attributes:
      name: what a table calls it.
      dispatch: runs `steps` steps and returns what to wait for.
      wait: blocks until that is done.
      steps: per dispatch.
      seconds: per step, one entry a turn.
    """

    name: str
    dispatch: Callable[[], object]
    wait: Callable[[object], object]
    steps: int = 1
    seconds: list[float] = field(default_factory=list)

    def take_turn(self, seconds: float) -> None:
        """Runs for about so long, at least one dispatch after one that is not counted."""
        started = time.perf_counter()
        self.wait(self.dispatch())
        once = time.perf_counter() - started
        repeats = max(1, round(seconds / once))
        started = time.perf_counter()
        for _ in range(repeats):
            last = self.dispatch()
        self.wait(last)
        self.seconds.append((time.perf_counter() - started) / (repeats * self.steps))


@dataclass(frozen=True)
class Comparison:
    """Seconds a step of two sides, turn by turn."""

    first: tuple[float, ...]
    second: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How often the second goes into the first: the median over turns."""
        return statistics.median(a / b for a, b in zip(self.first, self.second, strict=True))

    @property
    def ratio_of_minima(self) -> float:
        """The same of each side's fastest turn: what a machine without other work would show."""
        return min(self.first) / min(self.second)

    def to_json(self) -> dict:
        """All of it."""
        return {"ratio": self.ratio, "ratio_of_minima": self.ratio_of_minima,
                "seconds_first": list(self.first), "seconds_second": list(self.second)}


def compare(first: Side, second: Side, turns: int, seconds: float) -> Comparison:
    """Lets two sides take turns, after one that is not counted; the order alternates."""
    for side in (first, second):
        side.take_turn(0.0)
        side.seconds.clear()
    for turn in range(turns):
        for side in (first, second) if turn % 2 else (second, first):
            side.take_turn(seconds)
    return Comparison(tuple(first.seconds), tuple(second.seconds))


def geometric_mean(values: Sequence[float]) -> float:
    """exp(mean(log))."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def milliseconds(seconds: Sequence[float]) -> str:
    """Least and median, for a table."""
    return f"{min(seconds) * 1e3:.2f} / {statistics.median(seconds) * 1e3:.2f}"

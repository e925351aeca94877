"""How far a run or another command has come: a live bar on a terminal, a line now and then elsewhere."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from genlab.sweeps.watching import duration
from genlab.training.outcome import Progress

# Drawing takes 1 to 2 ms; four times a second that is less than 1 % of a core.
_SECONDS_BETWEEN_DRAWINGS = 0.25
_SECONDS_BETWEEN_LINES = 10.0


class Bar:
    """A context manager that shows how far its block has come.

    Args:
      console: where.
      transient: whether the bar goes in the end, and a short block says nothing elsewhere than on a terminal.
    """

    def __init__(self, console: Console, transient: bool = False):
        self.console = console
        self._transient = transient
        self._bar: rich.progress.Progress | None = None
        self._shown = -math.inf

    def __enter__(self) -> "Bar":
        if self.console.is_terminal:
            self._bar = rich.progress.Progress(BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"),
                                               console=self.console, auto_refresh=False, transient=self._transient)
            self._bar.start()
            self._bar.add_task("", total=None, text="loading and compiling")
            self._bar.refresh()
        elif self._transient:
            self._shown = time.monotonic()
        return self

    def __exit__(self, *_) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def due(self) -> bool:
        """Whether it is time to show something again: four times a second, or a line every ten seconds."""
        pause = _SECONDS_BETWEEN_DRAWINGS if self._bar else _SECONDS_BETWEEN_LINES
        return time.monotonic() - self._shown >= pause

    def show(self, done: int, total: int | None, text: str, what: str = "") -> None:
        """Shows that so many of so many are done; elsewhere than on a bar, with what they are."""
        self._shown = time.monotonic()
        if self._bar:
            self._bar.tasks[0].total = total  # Where it is unknown too, which `update` takes for the one before.
            self._bar.update(self._bar.task_ids[0], completed=done, text=text, refresh=True)
        else:
            count = f"{done}/{total}" if total else ""
            self.console.print("  ".join(filter(None, (f"{what} {count}".strip(), text))), highlight=False,
                               soft_wrap=True)

    def watch(self, batches: Iterable[Any], count: int, what: str) -> Iterator[Any]:
        """The batches, shown as they are taken."""
        for done, batch in enumerate(batches):
            if self.due() or (self._bar and not done):
                self.show(done, count, what)
            yield batch

    def begin(self, what: str) -> None:
        """Shows what is begun: on a bar at once, elsewhere if nothing was said for ten seconds."""
        if self._bar or self.due():
            self.show(0, None, what)


@dataclass
class RunView:
    """Shows a run; a listener of the training loop and a context manager.

    Attributes:
      tokens_per_example: makes tokens a second of examples a second; None shows examples.
      console: where.
    """

    tokens_per_example: int | None = None
    console: Console = field(default_factory=Console)

    def __post_init__(self):
        self._bar = Bar(self.console)

    def __enter__(self) -> "RunView":
        self._bar.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._bar.__exit__(*error)

    def __call__(self, progress: Progress) -> None:
        """Shows what the loop reports, now and then and at the end."""
        if self._bar.due() or progress.step == progress.steps:
            text = progress_text(progress, self.tokens_per_example)
            self._bar.show(progress.step, progress.steps, text, "step")


def progress_text(progress: Progress, tokens_per_example: int | None) -> str:
    """Loss, speed, utilisation where it is known, and the time that is left."""
    rate, unit = progress.examples_per_second, "examples/s"
    if tokens_per_example:
        rate, unit = rate * tokens_per_example, "tokens/s"
    parts = [f"loss {progress.metrics['loss']:.4f}", f"{rate:,.0f} {unit}"]
    if progress.mfu is not None:
        parts.append(f"MFU {progress.mfu:.1%}")
    if math.isfinite(progress.seconds_left):
        parts.append(f"{duration(progress.seconds_left)} left")
    return "  ".join(parts)

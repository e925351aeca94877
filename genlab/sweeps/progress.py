"""One run on the screen: a live bar on a terminal, a line now and then elsewhere."""

import math
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from genlab.sweeps.watching import duration
from genlab.training.outcome import Progress

# Drawing takes 1 to 2 ms; four times a second that is less than 1 % of a core.
_SECONDS_BETWEEN_DRAWINGS = 0.25
_SECONDS_BETWEEN_LINES = 10.0


@dataclass
class RunView:
    """Shows a run; a listener of the training loop and a context manager.

    Attributes:
      tokens_per_example: makes tokens a second of examples a second; None shows examples.
      console: where.
    """

    tokens_per_example: int | None = None
    console: Console = field(default_factory=Console)
    _bar: Bar | None = None
    _shown: float = -math.inf

    def __enter__(self) -> "RunView":
        if self.console.is_terminal:
            self._bar = Bar(BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"),
                            console=self.console, auto_refresh=False)
            self._bar.start()
            self._bar.add_task("", total=None, text="loading and compiling")
            self._bar.refresh()
        return self

    def __exit__(self, *_) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def __call__(self, progress: Progress) -> None:
        """Shows what the loop reports, at most four times a second, or a line every ten seconds."""
        now = time.monotonic()
        last = progress.step == progress.steps
        pause = _SECONDS_BETWEEN_DRAWINGS if self._bar else _SECONDS_BETWEEN_LINES
        if now - self._shown < pause and not last:
            return
        self._shown = now
        text = progress_text(progress, self.tokens_per_example)
        if self._bar:
            self._bar.update(self._bar.task_ids[0], total=progress.steps, completed=progress.step, text=text,
                             refresh=True)
        else:
            self.console.print(f"step {progress.step}/{progress.steps}  {text}", highlight=False, soft_wrap=True)


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

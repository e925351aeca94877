"""A sweep on the screen: one live table on a terminal, one line an event elsewhere."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from genlab.sweeps.executors import Event, Task
from genlab.sweeps.record import RunRecord
from genlab.sweeps.schedule import Job
from genlab.sweeps.sweep import PlannedRun

_STYLES = {"finished": "green", "diverged": "yellow", "failed": "red", "preempted": "magenta",
           "running": "bold cyan", "waiting": "dim", "retrying": "yellow"}
_SECONDS_BETWEEN_LINES = 15.0


@dataclass
class _Row:
    """What is known of a run on the screen."""

    run: PlannedRun
    job: Job
    status: str = "waiting"
    share: float = 0.0
    loss: float | None = None
    tokens_per_second: float | None = None
    error: str = ""


@dataclass
class SweepView:
    """Shows a sweep (`runner.Watcher`); use it as a context manager.

    Attributes:
      console: where; a live table if it is a terminal.
      slots: how many runs go at a time.
    """

    console: Console = field(default_factory=Console)
    slots: int = 1
    _rows: dict[str, _Row] = field(default_factory=dict)
    _live: Live | None = None
    _started: float = field(default_factory=time.monotonic)
    _last_line: float = field(default_factory=time.monotonic)

    def __enter__(self) -> "SweepView":
        if self.console.is_terminal:
            # A run's row changes twice a second; drawing 16 rows takes 4 ms of the core that trains.
            self._live = Live(console=self.console, auto_refresh=False, transient=False)
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._draw()
            self._live.stop()
            self._live = None

    def planned(self, runs: tuple[PlannedRun, ...], jobs: dict[str, Job],
                records: dict[str, RunRecord]) -> None:
        """See `runner.Watcher`."""
        self._rows = {run.name: _Row(run, jobs[run.name]) for run in runs}
        for name, record in records.items():
            if record.ended:
                self._take(self._rows[name], record)
        ended = sum(record.ended for record in records.values())
        already = f", {ended} of them done already" if ended else ""
        workers = f"{self.slots} at a time" if self.slots > 1 else "one at a time"
        self._line(f"{len(runs)} runs{already}; {workers}")

    def started(self, task: Task, slot: int) -> None:
        """See `runner.Watcher`."""
        row = self._rows[task.run.name]
        row.status, row.error = "running", ""
        if not self._live:
            again = f", attempt {task.attempt}" if task.attempt > 1 else ""
            self._line(f"{task.run.name}: begins on worker {slot}{again}")

    def happened(self, event: Event, record: RunRecord | None) -> None:
        """See `runner.Watcher`."""
        row = self._rows[event.task.run.name]
        if record is None:
            values = event.values or {}
            row.share = values["step"] / max(values["steps"], 1)
            row.loss, row.tokens_per_second = values.get("loss"), values.get("tokens_per_second")
            return
        self._take(row, record)
        if self._live and record.status != "failed":
            return
        done = sum(row.status in ("finished", "diverged", "failed") for row in self._rows.values())
        self._line(f"[{done}/{len(self._rows)}] {_sentence(record)}")

    def tick(self) -> None:
        """See `runner.Watcher`."""
        now = time.monotonic()
        if self._live:
            if now - self._last_line >= 0.45:
                self._last_line = now
                self._draw()
        elif now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            running = [row for row in self._rows.values() if row.status == "running"]
            states = (f"{row.share:.0%} loss {_number(row.loss)}" if row.share else "starting" for row in running)
            if running:
                self._line("; ".join(f"{row.run.name} {state}" for row, state in zip(running, states, strict=True)))

    def _take(self, row: _Row, record: RunRecord) -> None:
        row.status, row.error = record.status, record.error
        row.loss = record.loss if record.loss is not None else record.train_loss
        row.tokens_per_second = record.tokens_per_second
        row.share = (record.steps or 0) / max(record.steps_planned or 1, 1)

    def _line(self, text: str) -> None:
        passed = duration(time.monotonic() - self._started)
        self.console.print(f"{passed}  {text}", highlight=False, markup=False, soft_wrap=True)

    def _draw(self) -> None:
        self._live.update(sweep_table(list(self._rows.values()), *self.console.size), refresh=True)


def sweep_table(rows: list[_Row], width: int = 120, height: int = 100) -> Table:
    """The runs as a rich table; where the screen is too low, finished and waiting ones are summed up."""
    done = sum(row.status in ("finished", "diverged", "failed") for row in rows)
    table = Table(title=f"{done} of {len(rows)} runs done", title_justify="left", box=None, pad_edge=False, expand=True)
    data = "/".join(dict.fromkeys(row.job.data for row in rows)) or "tokens"
    numbers = (("params", "right", 6), (data, "right", len(data)), ("progress", "left", 14), ("loss", "right", 7),
               (f"{data}/s", "right", len(data) + 2))
    # A status takes 10 columns, the name what it needs of the rest, and an error what is left.
    taken = sum(room + 2 for _, _, room in numbers) + 12
    longest = max((len(_label(row)) for row in rows), default=0)
    for name, justify, room in (("run", "left", min(longest, max(width - taken, 12))), *numbers):
        table.add_column(name, justify=justify, no_wrap=True, width=room)
    table.add_column("status", no_wrap=True, overflow="ellipsis", ratio=1)
    shown = _that_fit(rows, max(height - 5, 4))
    for row in shown:
        table.add_row(
            _label(row), _quantity(row.job.params), _quantity(row.job.tokens),
            ProgressBar(total=1.0, completed=row.share, width=14) if row.share else "",
            _number(row.loss), _quantity(row.tokens_per_second),
            Text(f"{row.status} {row.error}".strip(), style=_STYLES.get(row.status, "")),
        )
    if len(shown) < len(rows):
        table.add_row(Text(f"and {len(rows) - len(shown)} more", style="dim"))
    return table


def _label(row: _Row) -> str:
    return row.run.name + " (held out)" * (row.run.role == "held_out")


def _that_fit(rows: list[_Row], count: int) -> list[_Row]:
    if len(rows) <= count:
        return rows
    order = ("running", "retrying", "failed", "diverged", "preempted", "waiting", "finished")
    first = sorted(range(len(rows)), key=lambda i: (order.index(rows[i].status), i))[:count]
    return [rows[i] for i in sorted(first)]


def _sentence(record: RunRecord) -> str:
    if record.status == "finished":
        error = f" +- {record.loss_se:.2g}" if record.loss_se else ""
        return (f"{record.name}: finished, loss {_number(record.loss)}{error}, "
                f"{_quantity(record.params)} parameters, {_quantity(record.tokens or record.examples)} "
                f"{'tokens' if record.tokens else 'examples'} in {record.seconds:.0f} s")
    why = f": {record.error}" if record.error else ""
    return f"{record.name}: {record.status}{why}"


def _number(value: Any) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.4f}"


def _quantity(value: float | None) -> str:
    """12345678 as 12.3M."""
    if not value or not math.isfinite(value):
        return ""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """3725 as 1:02:05, 65 as 1:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

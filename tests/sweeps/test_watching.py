import dataclasses
import io
import os
import signal
import time

import pytest
from fake_runs import grid, job
from rich.console import Console

from genlab.sweeps.executors import Event, Task
from genlab.sweeps.progress import Bar, RunView, progress_text
from genlab.sweeps.record import RunRecord
from genlab.sweeps.signals import StopRequest
from genlab.sweeps.watching import SweepView, duration, sweep_table
from genlab.training.outcome import Progress


def console(terminal, **options):
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, **options)


def text(console):
    return console.file.getvalue()


def play(view):
    """A sweep of seven in which one is done, one fails, one runs and four wait."""
    runs = grid().runs()
    records = {runs[0].name: RunRecord(**runs[0].identity(), status="finished", loss=1.25, steps=20, attempts=1)}
    with view:
        view.planned(runs, {run.name: job(run) for run in runs}, records)
        tasks = [Task(run, None) for run in runs]
        view.started(tasks[1], 0)
        failed = RunRecord(**runs[1].identity(), status="failed", error="ValueError: no", attempts=1)
        view.happened(Event("failed", tasks[1], error="ValueError: no"), failed)
        view.started(tasks[2], 0)
        values = {"step": 20, "steps": 40, "loss": 2.5, "tokens_per_second": 12345.0}
        view.happened(Event("progress", tasks[2], values), None)
        view.tick()
    return runs


def test_lines_where_there_is_no_terminal():
    view = SweepView(console(False), slots=2)
    play(view)
    lines = text(view.console).splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        "7 runs, 1 of them done already; 2 at a time",
        "width=4_steps=30: begins on worker 0",
        "[2/7] width=4_steps=30: failed: ValueError: no",
        "width=4_steps=40: begins on worker 0",
    ]


def test_lines_of_progress_come_seldom():
    view = SweepView(console(False), slots=2)
    play(view)
    before = text(view.console)
    view.tick()
    assert text(view.console) == before
    view._last_line -= 60
    view.tick()
    assert text(view.console).splitlines()[-1].endswith("width=4_steps=40 50% loss 2.5000")


def test_one_table_on_a_terminal():
    view = SweepView(console(True, height=40), slots=2)
    play(view)
    screen = text(view.console)
    for word in ("2 of 7 runs done", "tokens/s", "width=16_steps=40 (held out)", "1.2500", "2.5000", "12.3k", "waiting",
                 "failed ValueError: no"):
        assert word in screen


def test_a_low_screen_shows_what_runs_and_sums_up_the_rest():
    view = SweepView(console(True, height=9))
    runs = play(view)
    low = console(False)
    low.print(sweep_table(list(view._rows.values()), height=9))
    lines = text(low)
    assert runs[2].name in lines and "and 3 more" in lines


def test_runs_without_tokens_count_examples():
    view = SweepView(console(False))
    play(view)
    for row in view._rows.values():
        row.job = dataclasses.replace(row.job, tokens=1280, data="examples")
    wide = console(False)
    wide.print(sweep_table(list(view._rows.values())))
    head = text(wide).splitlines()[1].split()
    assert head == ["run", "params", "examples", "progress", "loss", "examples/s", "status"]
    assert "tokens" not in text(wide) and "1.28k" in text(wide)


PROGRESS = Progress(step=50, steps=200, metrics={"loss": 1.5}, examples_per_second=100.0, mfu=None, seconds_left=125.0)


def test_a_run_in_words():
    assert progress_text(PROGRESS, 64) == "loss 1.5000  6,400 tokens/s  2:05 left"
    with_mfu = dataclasses.replace(PROGRESS, mfu=0.513, seconds_left=float("nan"))
    assert progress_text(with_mfu, None) == "loss 1.5000  100 examples/s  MFU 51.3%"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_run_is_drawn_now_and_then_and_at_its_end(terminal):
    with RunView(64, console(terminal)) as view:
        for step in range(1, 200):
            view(dataclasses.replace(PROGRESS, step=step))
        before = text(view.console)
        view(dataclasses.replace(PROGRESS, step=200))
        assert text(view.console) != before
    assert before.count("loss 1.5000") == 1
    assert "200/200" in text(view.console)


@pytest.mark.parametrize("terminal", [False, True])
def test_batches_are_watched(terminal, monkeypatch):
    """At once on a bar, which goes in the end; elsewhere after ten seconds."""
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    with Bar(console(terminal), transient=True) as bar:
        assert list(bar.watch("abcd", 4, "letters")) == list("abcd")
        bar.begin("comparing")
        early = text(bar.console)
        assert "0/? comparing" in early.replace("\x1b[0m", "") or not terminal
        monkeypatch.setattr(time, "monotonic", lambda: 10.0)
        assert list(bar.watch("abcd", 4, "more")) == list("abcd")
    assert all((said in early) == terminal for said in ("0/4", "letters", "comparing"))
    assert ("0/4" in text(bar.console)) and ("more" in text(bar.console))
    if not terminal:
        assert text(bar.console) == "0/4  more\n"


def test_durations():
    assert [duration(s) for s in (0.4, 65, 3725)] == ["0:00", "1:05", "1:02:05"]


def test_one_signal_asks_and_a_second_interrupts():
    said, before = [], signal.getsignal(signal.SIGTERM)
    with StopRequest("stopping", said.append) as stopping:
        assert not stopping()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping() and said == ["stopping"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before

"""Sweeps of fake experiments: what is run, skipped, retried and recorded, in both executors."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_runs import Silent, experiment, grid, same_rows, sweep_in

from genlab.configuration import ConfigError
from genlab.files import BusyError, DiskFullError, writer_lock
from genlab.sweeps import placement
from genlab.sweeps.processes import LocalProcesses
from genlab.sweeps.store import SweepStore
from genlab.sweeps.sweep import Sweep

HERE = Path(__file__).parent
both = pytest.mark.parametrize("workers", [0, 2])


def table(workdir):
    return SweepStore(Path(workdir)).read_table()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The table of the whole grid, run without any trouble."""
    folder = tmp_path_factory.mktemp("expected")
    sweep_in(folder, grid())
    return table(folder)


def started(watcher):
    return [name for kind, name, _ in watcher.heard if kind == "started"]


def test_both_executors_give_the_same_table(tmp_path, expected):
    result = sweep_in(tmp_path, grid(), workers=2)
    assert not result.failed and not result.missing
    assert same_rows(table(tmp_path), expected)
    assert [record.role for record in expected] == ["grid"] * 6 + ["held_out"]


@both
def test_what_is_finished_is_skipped_and_what_is_new_is_run(tmp_path, workers):
    first, watcher = Sweep([experiment(4, name="a")]), Silent()
    sweep_in(tmp_path, first, workers)
    sweep_in(tmp_path, Sweep([experiment(4, name="a"), experiment(8, name="b")]), workers, watcher)
    assert started(watcher) == ["b"]
    assert [record.name for record in table(tmp_path)] == ["a", "b"]


@both
@pytest.mark.parametrize("trouble", ["raise", "kill"])
def test_a_failure_is_retried_once_and_recorded(tmp_path, workers, trouble):
    if not workers and trouble != "raise":
        pytest.skip("ends the process that tests run in")
    sweep = Sweep([experiment(4, name="bad", trouble=trouble), experiment(8, name="good"),
                   experiment(8, 11, name="shaky", trouble=f"{trouble} once")])
    result = sweep_in(tmp_path, sweep, workers)
    bad, good, shaky = table(tmp_path)
    assert result.failed == ("bad",)
    assert (bad.status, bad.attempts, bad.loss) == ("failed", 2, None)
    assert bad.error == {"raise": "RuntimeError: the loss fell off the table",
                         "kill": "the worker process was killed by SIGKILL (out of memory, or killed by hand)"
                         }[trouble]
    assert (good.status, good.attempts) == ("finished", 1)
    assert (shaky.status, shaky.attempts, shaky.error) == ("finished", 2, "")
    # The next command tries it again, and says how often it was tried in all.
    watcher = Silent()
    sweep_in(tmp_path, sweep, workers, watcher)
    assert started(watcher) == ["bad", "bad"]
    assert table(tmp_path)[0].attempts == 4


@both
def test_a_stop_leaves_checkpoints_and_the_next_command_goes_on(tmp_path, workers, expected):
    watcher = Silent()

    def after_three_progresses():
        return sum(kind == "progress" for kind, *_ in watcher.heard) >= 3

    result = sweep_in(tmp_path, grid(), workers, watcher, should_stop=after_three_progresses)
    assert result.missing
    rows = table(tmp_path)
    assert {row.status for row in rows} <= {"finished", "preempted"}
    assert any(row.status == "preempted" and 0 < row.steps < row.steps_planned for row in rows)
    assert not sweep_in(tmp_path, grid(), workers).missing
    assert same_rows(table(tmp_path), expected)


def test_a_worker_that_is_stopped_alone_is_no_failure(tmp_path):
    watcher = Silent()
    sweep = Sweep([experiment(4, 300, name="long")])

    def interfere():
        while not started(watcher):
            time.sleep(0.02)
        time.sleep(0.8)
        for pid in children(os.getpid()):
            os.kill(pid, signal.SIGTERM)

    thread = threading.Thread(target=interfere)
    thread.start()
    sweep_in(tmp_path, sweep, 1, watcher)
    thread.join()
    assert len(started(watcher)) >= 2
    assert [(row.status, row.attempts) for row in table(tmp_path)] == [("finished", 1)]


@both
def test_a_second_sweep_in_the_folder_is_refused_by_name(tmp_path, workers):
    with writer_lock(tmp_path), pytest.raises(BusyError, match=f"process {os.getpid()} on "):
        sweep_in(tmp_path, grid(), workers)
    assert not (tmp_path / "runs.csv").exists()


def test_another_sweep_in_the_folder_is_left_alone(tmp_path):
    sweep_in(tmp_path, Sweep([experiment(4, name="a")]))
    before = (tmp_path / "runs.csv").read_bytes()
    with pytest.raises(ConfigError, match="in run a, objective.width: 4 -> 8"):
        sweep_in(tmp_path, Sweep([experiment(8, name="a")]))
    assert (tmp_path / "runs.csv").read_bytes() == before


@both
def test_a_disk_that_is_full_in_a_run_ends_the_sweep_and_fails_no_run(tmp_path, workers, expected):
    sweep = Sweep([experiment(4, name="a"), experiment(8, name="b", trouble="full disk once")])
    with pytest.raises(DiskFullError, match="start the same command again"):
        sweep_in(tmp_path, sweep, workers)
    assert all(row.status == "finished" for row in table(tmp_path))
    sweep_in(tmp_path, sweep, workers)
    assert [(row.status, row.attempts) for row in table(tmp_path)] == [("finished", 1)] * 2


def test_a_disk_that_is_full_for_the_table_leaves_the_old_table(tmp_path, monkeypatch):
    real, full = os.fsync, []

    def fsync(descriptor):
        if full and "runs.csv" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        real(descriptor)

    class FillsTheDisk(Silent):
        def happened(self, event, record):
            if record:
                full.append(True)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DiskFullError, match=r"runs\.csv"):
        sweep_in(tmp_path, grid(), watcher=FillsTheDisk())
    assert len(table(tmp_path)) == 1


def test_free_slots_with_nothing_to_do_are_announced_once(tmp_path):
    calls = []
    sweep = Sweep([experiment(4, 2, name="short"), experiment(4, 100, name="long")])
    sweep_in(tmp_path, sweep, workers=2, when_idle=lambda: calls.append(1))
    assert calls == [1]


def children(pid):
    tasks = Path(f"/proc/{pid}/task")
    try:
        return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def command(workdir):
    process = subprocess.Popen([sys.executable, str(HERE / "fake_runs.py"), str(workdir), "2"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline() == "begins\n"
    return process


@pytest.mark.parametrize("seed", range(2))
def test_kill_9_of_parent_or_worker_at_any_moment_ends_with_the_same_table(tmp_path, expected, seed):
    draw = random.Random(seed)
    kills = 0
    for _ in range(30):
        process = command(tmp_path)
        try:
            # On two idle cores the whole of it takes under a second: the first kill comes early.
            code = process.wait(draw.uniform(0.1, 0.6) if kills else 0.1)
            if code == 0:
                break
        except subprocess.TimeoutExpired:
            workers = children(process.pid)
            victim = draw.choice([process.pid, *workers])
            os.kill(victim, signal.SIGKILL)
            kills += 1
            if victim != process.pid and process.wait() == 0:
                break
            process.wait()
            assert_gone(workers)
    assert kills
    assert process.returncode == 0
    assert same_rows(table(tmp_path), expected)


def assert_gone(pids):
    deadline = time.monotonic() + 3
    while any(Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
              for pid in pids):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.02)


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(tmp_path, expected):
    process = command(tmp_path)
    while not (tmp_path / "runs.csv").exists():  # Until the first of its runs has ended.
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert {row.status for row in table(tmp_path)} <= {"finished", "preempted"}
    assert command(tmp_path).wait(20) == 0
    assert same_rows(table(tmp_path), expected)


def test_a_worker_is_pinned_to_its_own_cores():
    cores = placement.available_cores()
    executor = LocalProcesses(len(cores), run_task="fake_runs:run_task").start()
    try:
        pids = [worker.process.pid for worker in executor._workers.values()]
        assert [os.sched_getaffinity(pid) for pid in pids] == [{core} for core in cores]
    finally:
        executor.close()
    assert_gone(pids)

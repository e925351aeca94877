"""Two processes, by explicit addresses, train the run of one; lost hosts and bad input are a line."""

import contextlib
import json
import os
import signal
import socket
import time

import numpy as np
import pytest

from genlab.sweeps.record import read_record
from tests.launch.commands import run_command, started, without_waiting
from tests.launch.joined import BATCH_SIZE, DATA
from tests.launch.together import RUN, assert_same_run, free_address, lines, two, with_devices


@pytest.fixture(scope="module")
def lost(tmp_path_factory, environment):
    """The folder of a run whose process 1 was killed, and what process 0 left."""
    folder = tmp_path_factory.mktemp("together")
    with two(environment, folder) as (first, second):
        while not (folder / "checkpoints" / "16").exists():
            assert first.process.exitcode is second.process.exitcode is None, first.finish()
            time.sleep(0.01)
        os.kill(second.process.pid, signal.SIGKILL)
        return folder, first.finish(), read_record(folder)


def test_a_lost_host_ends_the_others_with_one_line(lost):
    _, first, record = lost
    assert first.returncode == 1, first
    (line,) = (line for line in first.stderr.splitlines() if line.startswith("error: "))
    assert "Traceback" not in first.stderr
    assert line.startswith(f"error: a lost host: process 1 on {socket.gethostname()} has gone, while process 0 waited ")
    assert line.endswith("start the same command again on all hosts to go on")
    assert record.status == "failed" and f"error: {record.error}" == line


def test_two_processes_train_the_run_of_one(lost, alone, environment):
    """The same command goes on to the same end, in one folder with one log, and one of the two speaks."""
    folder, _, _ = lost
    with two(environment, folder) as processes:
        first, second = [process.finish() for process in processes]
    assert (first.returncode, second.returncode) == (0, 0)
    assert without_waiting(first.stderr) == without_waiting(second.stderr) == ""
    assert lines(first.stdout)[0] == f"2 processes x 2 local devices (cpu) on {socket.gethostname()}"
    assert lines(second.stdout) == []
    assert_same_run(folder, alone)


@pytest.fixture(scope="module")
def joined(tmp_path_factory, environment):
    """What both processes of tests/launch/joined.py said, and how they ended."""
    arguments = (free_address(), str(tmp_path_factory.mktemp("joined")))
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(started("tests.launch.joined", *arguments, str(process),
                                                 environment=with_devices(environment, 3))) for process in (0, 1)]
        ended = [process.finish() for process in processes]
    assert len(lines(ended[0].stdout)) == 1, ended
    return json.loads(lines(ended[0].stdout)[0]), ended


def test_bad_input_of_any_process_is_one_line_once(joined):
    _, (first, second) = joined
    assert (first.returncode, second.returncode) == (2, 2)
    said = [line for process in (first, second) for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert said == [f"error: process 1 on {socket.gethostname()}: a field that is wrong on this host alone"]
    assert first.stderr.endswith(f"{said[0]}\n")


@pytest.mark.parametrize(("what", "message"), [
    ("batch", "training.batch_size=8 does not divide into 1 micro-batches on 6 devices"),
    ("devices", "training.devices=3, but 2 processes have 6 devices"),
    ("mesh", "this mesh cuts a batch into 3 parts, some of which lie partly on one and partly on another of the 2"),
])
def test_plans_that_hosts_cannot_share(joined, what, message):
    assert all(message in process[what] for process in joined[0])


def test_each_process_makes_the_rows_that_its_devices_hold(joined):
    first, second = joined[0]
    assert first["rows"] + second["rows"] == list(range(BATCH_SIZE))
    assert not set(map(tuple, first["x"])) & set(map(tuple, second["x"]))


def test_evaluations_see_all_examples_in_order_on_every_process(joined):
    data = DATA.gather(np.arange(20))
    for process in joined[0]:
        prediction = data["x"] @ np.array(process["kernel"])
        np.testing.assert_allclose(process["prediction"], prediction, rtol=1e-5)
        np.testing.assert_allclose(process["loss"][0], np.square(prediction - data["y"]).mean(), rtol=1e-5)
    assert joined[0][0]["loss"] == joined[0][1]["loss"]


def test_when_one_is_told_to_stop_all_stop_at_one_step(joined):
    """And go on together, from the checkpoint before when the newest one is damaged."""
    first, second = joined[0]
    assert first["stopped"] == second["stopped"] == ["preempted", 12]
    assert first["went on"] == second["went on"] == ["finished", 20]
    assert first["checkpoints"] == ["16", "20", "damaged-12"]
    assert "checkpoint 12 cannot be read" in joined[1][0].stderr


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["--processes=2", "--process=0"], 2, "come together, but there is no --coordinator"),
    (["--coordinator=localhost:1", "--processes=2", "--process=1", "--hosts_timeout=0.3"], 1,
     "a lost host: process 0 of 2 was not reached at localhost:1 within 0.3 s"),
])
def test_hosts_that_do_not_meet(environment, tmp_path, arguments, code, message):
    ended = run_command("launch.train", *RUN, f"--workdir={tmp_path / 'run'}", *arguments, environment=environment)
    assert ended.returncode == code and message in ended.stderr and ended.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()

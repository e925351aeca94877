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
from genlab.training.logs import read_metrics
from tests.launch.commands import run_command, started
from tests.launch.joined import BATCH_SIZE, DATA

# Killed in the middle, with a checkpoint behind it.
RUN = ("--config.training.steps=320", "--config.training.checkpoint_steps=160", "--config.training.log_steps=80",
       "--config.training.evaluate_steps=160")
CONFIG = "--config=tests/launch/tiny.py:8"


def with_devices(environment, count):
    return environment | {"XLA_FLAGS": f"{environment['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"}


def free_address():
    with socket.create_server(("", 0)) as server:
        return f"localhost:{server.getsockname()[1]}"


@contextlib.contextmanager
def two(environment, folder, *arguments):
    """Both processes of a run."""
    address = free_address()
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(started(
            "launch.train", CONFIG, f"--workdir={folder}", f"--coordinator={address}", "--processes=2",
            f"--process={process}", *RUN, *arguments, environment=with_devices(environment, 2))) for process in (0, 1)]


def said(text):
    """Lines, but for those in which Gloo's threads print, one into the other's, how many peers they have connected."""
    return [line for line in text.splitlines() if not line.startswith("[Gloo]") and "peer ranks" not in line]


def log(folder):
    """What a run's log says of its training."""
    names = ("step", "loss", "gradient_norm", "held_out/loss", "held_out/loss_se", "held_out/accuracy")
    return [[row.get(name, np.nan) for name in names] for row in read_metrics(folder)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, environment):
    """The run by one process with four devices; its folder."""
    folder = tmp_path_factory.mktemp("alone")
    ended = run_command("launch.train", CONFIG, f"--workdir={folder}", *RUN, environment=with_devices(environment, 4))
    assert (ended.returncode, ended.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def lost(tmp_path_factory, environment):
    """The folder of a run whose process 1 was killed, and what process 0 left."""
    folder = tmp_path_factory.mktemp("together")
    with two(environment, folder) as (first, second):
        while not (folder / "checkpoints" / "160").exists():
            assert first.process.exitcode is second.process.exitcode is None, first.finish()
            time.sleep(0.01)
        os.kill(second.process.pid, signal.SIGKILL)
        return folder, first.finish(), read_record(folder)


def test_a_lost_host_ends_the_others_with_one_line(lost):
    _, first, record = lost
    assert first.returncode == 1
    (line,) = first.stderr.splitlines()
    assert line.startswith(f"error: a lost host: process 1 on {socket.gethostname()} has gone, while process 0 waited ")
    assert line.endswith("start the same command again on all hosts to go on")
    assert record.status == "failed" and f"error: {record.error}" == line


def test_two_processes_train_the_run_of_one(lost, alone, environment):
    """The same command goes on to the same end, in one folder with one log."""
    folder, _, _ = lost
    with two(environment, folder) as processes:
        first, second = [process.finish() for process in processes]
    assert (first.returncode, first.stderr, second.returncode, second.stderr) == (0, "", 0, "")
    assert said(first.stdout)[0] == f"2 processes x 2 local devices (cpu) on {socket.gethostname()}"
    assert said(second.stdout) == []
    np.testing.assert_allclose(log(folder), log(alone), rtol=1e-5)
    ours, theirs = read_record(folder), read_record(alone)
    assert (ours.status, ours.process_count, ours.device_count) == ("finished", 2, 4)
    assert (theirs.process_count, theirs.device_count) == (1, 4)
    np.testing.assert_allclose(ours.curve, theirs.curve, rtol=1e-5)
    for name in ("steps", "examples", "flops", "data_hash", "config_hash"):
        assert getattr(ours, name) == getattr(theirs, name), name


@pytest.fixture(scope="module")
def joined(environment):
    """What both processes of tests/launch/joined.py said, and how they ended."""
    address = free_address()
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(started("tests.launch.joined", address, str(process),
                                                 environment=with_devices(environment, 3))) for process in (0, 1)]
        ended = [process.finish() for process in processes]
    (line,) = said(ended[0].stdout)
    return json.loads(line), ended


def test_bad_input_of_any_process_is_one_line_once(joined):
    _, (first, second) = joined
    assert (first.returncode, second.returncode) == (2, 2)
    assert first.stderr == f"error: process 1 on {socket.gethostname()}: a field that is wrong on this host alone\n"
    assert second.stderr == ""


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
    for process in joined[0]:
        prediction = DATA.gather(np.arange(20))["x"] @ np.array(process["kernel"])
        np.testing.assert_allclose(process["prediction"], prediction, rtol=1e-5)
        error = np.square(prediction - DATA.gather(np.arange(20))["y"])
        np.testing.assert_allclose(process["loss"][0], error.mean(), rtol=1e-5)
    assert joined[0][0]["loss"] == joined[0][1]["loss"]


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["--processes=2", "--process=0"], 2, "come together, but there is no --coordinator"),
    (["--coordinator=localhost:1", "--processes=2", "--process=1", "--hosts_timeout=0.3"], 1,
     "a lost host: process 0 of 2 was not reached at localhost:1 within 0.3 s"),
])
def test_hosts_that_do_not_meet(environment, tmp_path, arguments, code, message):
    ended = run_command("launch.train", CONFIG, f"--workdir={tmp_path / 'run'}", *arguments, environment=environment)
    assert ended.returncode == code and message in ended.stderr and ended.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()

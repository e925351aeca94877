"""launch.train from the command line."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genlab.sweeps.record import CIRCUMSTANCES, read_record
from tests.launch.commands import run_command, without_waiting

HERE = Path(__file__).parent
CHANGING = (*CIRCUMSTANCES, "code_version", "name")
# Long enough to be interrupted, with a checkpoint every second dispatch.
LONG = ("--config.training.steps=320",)


def start(environment, workdir, *arguments):
    command = [sys.executable, "-m", "launch.train", f"--config={HERE / 'tiny.py'}:8", f"--workdir={workdir}",
               *arguments]
    return subprocess.Popen(command, env=environment, cwd=HERE.parent.parent, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process):
    out, error = process.communicate(timeout=200)
    return process.returncode, out, without_waiting(error)


def train(environment, workdir, *arguments):
    flags = (f"--config={HERE / 'tiny.py'}:8", f"--workdir={workdir}", *arguments)
    done = run_command("launch.train", *flags, environment=environment)
    return done.returncode, done.stdout, without_waiting(done.stderr)


def wait_for(folder, pattern, process):
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def content(folder):
    return {k: v for k, v in json.loads((folder / "record.json").read_text()).items() if k not in CHANGING}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, environment):
    folder = tmp_path_factory.mktemp("whole")
    return folder, finish(start(environment, folder, *LONG))


def test_a_run_ends_with_its_record_and_one_line(whole):
    folder, (code, out, error) = whole
    assert (code, error) == (0, "")
    record = read_record(folder)
    assert (record.status, record.steps, record.sweep, record.attempts) == ("finished", 320, "", 1)
    last = out.splitlines()[-1]
    assert f"held-out loss {record.loss:.4f}" in last and "40,960 tokens" in last


def test_the_last_line_says_where_the_time_went(whole):
    folder, (_, out, _) = whole
    record = read_record(folder)
    parts = [record.compile_seconds, record.step_seconds, record.input_seconds, record.evaluation_seconds,
             record.checkpoint_seconds]
    assert all(seconds >= 0 for seconds in parts) and 0.5 * record.seconds < sum(parts) <= record.seconds + 1e-6
    last = out.splitlines()[-1]
    assert f"(compilation {record.compile_seconds:.1f}, steps {record.step_seconds:.1f}, input " in last
    assert out.count("no MFU: the peak rate of 'cpu' is not known") == 1 and record.mfu is None


def test_profile_writes_a_trace_and_prints_the_top_operations(environment, tmp_path):
    # Modules' names are read where Flax is imported, so by a new process, and other tests' cache has none.
    named = environment | {"FLAX_PROFILE": "true", "GENLAB_CACHE": str(tmp_path / "cache")}
    code, out, error = finish(start(named, tmp_path, "--profile", "--profile_dispatches=2"))
    assert (code, error) == (0, "")
    assert len(list((tmp_path / "profile").rglob("*.trace.json.gz"))) == 1
    lines = out.splitlines()
    (title,) = (index for index, line in enumerate(lines) if line.startswith("top operations of 16 steps"))
    shares = [float(line.split("%")[0]) for line in lines[title + 2:-1]]
    assert len(shares) == 15 and shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 101
    assert any("block_0/" in line for line in lines[title + 2:-1])


def test_a_stopped_run_goes_on_to_the_same_record(whole, environment, tmp_path):
    process = start(environment, tmp_path, *LONG)
    wait_for(tmp_path, "checkpoints/16", process)
    process.send_signal(signal.SIGINT)
    code, out, error = finish(process)
    assert (code, error) == (130, "")
    record = read_record(tmp_path)
    assert record.status == "preempted" and 0 < record.steps < 320
    assert "the same command goes on" in out
    assert train(environment, tmp_path, *LONG)[0] == 0
    assert content(tmp_path) == content(whole[0])


def test_a_diverged_run_is_told_by_the_exit_code(environment, tmp_path):
    code, out, _ = train(environment, tmp_path, "--config.optimizer.learning_rate=1e6")
    assert code == 1 and "diverged" in out
    assert read_record(tmp_path).status == "diverged"


@pytest.mark.parametrize(("arguments", "message"), [
    (["--config.seed=5"], "holds another experiment (training.steps: 320 -> 48)"),
    (["--config.optimizer.learning_rat=1"], "did you mean learning_rate?"),
    (["extra"], "'extra' is not a flag"),
])
def test_bad_input_is_one_line_and_changes_nothing(whole, environment, arguments, message):
    folder, _ = whole
    before = {path: path.read_bytes() for path in folder.glob("*.json*")}
    code, _, error = train(environment, folder, *arguments)
    assert code == 2 and message in error and error.count("\n") == 1, error
    assert before == {path: path.read_bytes() for path in folder.glob("*.json*")}

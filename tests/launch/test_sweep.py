"""launch.sweep from the command line, with real training."""

import csv
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from genlab.sweeps.record import CIRCUMSTANCES
from genlab.sweeps.store import SweepStore
from tests.launch.commands import run_command, started

HERE = Path(__file__).parent
# The checkout may change while tests run.
CHANGING = (*CIRCUMSTANCES, "code_version")


def start(environment, workdir, workers=2):
    """A sweep that runs."""
    return started("launch.sweep", f"--config={HERE / 'tiny.py'}", f"--workdir={workdir}", f"--workers={workers}",
                   environment=environment)


def finish(command):
    done = command.finish()
    return done.returncode, done.stdout, done.stderr


def sweep(environment, workdir, *arguments, config="tiny.py"):
    """A sweep in one process, to its end."""
    flags = (f"--config={HERE / config}", f"--workdir={workdir}", "--workers=0", *arguments)
    done = run_command("launch.sweep", *flags, environment=environment)
    return done.returncode, done.stdout, done.stderr


def rows(workdir):
    with open(Path(workdir) / "runs.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k not in CHANGING} for row in csv.DictReader(file)]


def wait_for(condition, command):
    while not condition():
        assert command.process.is_alive(), command.finish()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, environment):
    """A sweep that was killed, stopped and finished, with what its last command said."""
    workdir = tmp_path_factory.mktemp("finished")
    draw = random.Random(1)
    with start(environment, workdir, workers=1) as command:
        wait_for(lambda: list(workdir.glob("runs/*/metrics.jsonl")), command)
        time.sleep(draw.uniform(0.0, 1.5))  # At the block's end it is killed.
    with start(environment, workdir) as command:
        ended = len(list(workdir.glob("runs/*/record.json")))
        wait_for(lambda: len(list(workdir.glob("runs/*/record.json"))) > ended, command)
        os.kill(command.process.pid, signal.SIGINT)
        code, out, error = finish(command)
    assert (code, error) == (130, "") and "the same command goes on" in out
    assert len(rows(workdir)) and not (workdir / "fit.json").exists()
    with start(environment, workdir) as command:
        return workdir, finish(command)


def test_a_sweep_ends_with_table_law_forecast_and_report(finished):
    workdir, (code, out, error) = finished
    assert (code, error) == (0, ""), (out, error)
    records = SweepStore(workdir).read_table()
    assert [record.status for record in records] == ["finished"] * 7
    assert [record.role for record in records] == ["grid"] * 6 + ["held_out"]
    assert [record.name for record in records[:2]] == ["width=8_steps=24", "width=8_steps=48"]
    for record in records:
        assert record.tokens == record.steps * 8 * 16 and record.examples == record.steps * 8
        assert record.flops > 0 and record.loss > 0 and record.loss_se > 0
        assert record.curve and record.data_hash and record.attempts == 1
    fit = json.loads((workdir / "fit.json").read_text())
    assert [forecast["name"] for forecast in fit["forecasts"]] == ["width=16_steps=192"]
    assert {"loss_vs_compute.png", "loss_vs_compute.svg", "report.html"} <= {p.name for p in workdir.iterdir()}
    for word in ("done already", "forecast", "measured", "report.html"):
        assert word in out


def test_killed_and_stopped_it_has_the_same_table_as_if_it_had_not_been(finished, environment, tmp_path):
    """And so has one in a single process, whose runs have all cores; compared at one of the widths."""
    code, out, _ = sweep(environment, tmp_path, config="tiny.py:table")
    assert code == 0 and "done already" not in out
    found, expected = rows(tmp_path), [row for row in rows(finished[0]) if "width=16" in row["name"]]
    assert [row.pop("name") for row in found] == [row.pop("name").removeprefix("width=16_") for row in expected]
    assert found == expected


def test_a_sweep_whose_runs_fail_says_so_and_still_reports(environment, tmp_path):
    (tmp_path / "runs" / "run").mkdir(parents=True)
    (tmp_path / "runs" / "run" / "checkpoints").write_text("a file where a folder should be")
    code, out, _ = sweep(environment, tmp_path, config="tiny.py:one")
    assert code == 1 and "1 runs failed twice: run" in out and "report.html" in out
    (record,) = SweepStore(tmp_path).read_table()
    assert (record.status, record.attempts) == ("failed", 2) and record.error


def test_runs_of_one_shape_train_as_a_population(environment, tmp_path):
    code, out, error = sweep(environment, tmp_path, "--population=2", config="tiny.py:seeds")
    assert (code, error) == (0, ""), (out, error)
    assert "2 runs; 2 at a time" in out and "2 runs of one shape train " in out
    records = SweepStore(tmp_path).read_table()
    assert [record.status for record in records] == ["finished"] * 2 and records[0].loss != records[1].loss


def test_a_sweep_of_tasks_ends_with_verdicts_which_its_table_gives_again(environment, tmp_path):
    code, out, error = sweep(environment, tmp_path, config="tiny.py:abilities")
    assert (code, error) == (0, ""), (out, error)
    assert "parity_4: exact_match stays near chance (0.5) at all 4 scales" in out
    assert {"emergence.png", "emergence_explained.png", "report.html"} <= {p.name for p in tmp_path.iterdir()}
    assert "parity_4" in (tmp_path / "report.html").read_text()
    again = run_command("launch.emergence", f"--runs={tmp_path / 'runs.csv'}", environment=environment)
    assert again.returncode == 0 and "2 tasks, 2 runs" in again.stdout, again.stderr
    verdicts = [line for line in out.splitlines() if line.startswith(("parity_4:", "copying_1:"))]
    assert len(verdicts) == 2 and set(verdicts) <= set(again.stdout.splitlines())


@pytest.mark.parametrize(("arguments", "config", "message"), [
    (["--workers=many"], "tiny.py", "--workers=many must be auto, 0 or a number of processes"),
    (["--population=0"], "tiny.py", "--population=0 must be auto or a number of runs, at least 1"),
    (["--population=4", "--workers=2"], "tiny.py", "--population=4 trains runs in one process, so it needs"),
    ([], "nothing.py", "there is no config file"),
    (["--config.training.stesp=3"], "tiny.py:one", "did you mean steps?"),
    ([], "tiny.py:missing file", "/nowhere/*.txt"),
])
def test_bad_input_is_one_line_and_leaves_nothing_behind(environment, tmp_path, arguments, config, message):
    workdir = tmp_path / "new"
    code, _, error = sweep(environment, workdir, *arguments, config=config)
    assert code == 2 and message in error and error.startswith("error: ") and error.count("\n") == 1, error
    assert not workdir.exists()


def test_another_sweep_in_the_folder_is_refused(finished, environment):
    workdir, _ = finished
    code, _, error = sweep(environment, workdir, "--config.seed=3")
    assert code == 2 and "seed: 0 -> 3" in error and error.count("\n") == 1

"""One real run from config to record."""

import dataclasses
import json
import math
import shutil

import pandas as pd
import pytest

from genlab.configuration import ConfigError
from genlab.data import Bytes, StandardLibrary, Text, TextFiles
from genlab.experiment import Experiment, Result
from genlab.files import BusyError, DiskFullError, writer_lock
from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken
from genlab.scaling import read_runs
from genlab.sweeps.record import RunRecord, read_record
from genlab.sweeps.run import check_data, completed, job, run_one, single_run
from genlab.sweeps.sweep import Sweep
from genlab.training.evaluation import Estimate
from genlab.training.outcome import Outcome
from genlab.training.settings import Training


def experiment(width=8, steps=16, data=None, **values):
    return Experiment(
        objective=NextToken(model=GPT(width=width, depth=1, num_heads=2, context_length=8)),
        data=data or Text(source=StandardLibrary(), tokenizer=Bytes(), sequence_length=8),
        training=Training(steps=steps, batch_size=8, evaluate_examples=16, writers=(), devices=1), **values,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "small"
    run = single_run(experiment(), folder)
    return run, folder, run_one(run, folder)


def test_a_run_leaves_its_record(done):
    run, folder, record = done
    assert read_record(folder) == dataclasses.replace(record, curve=read_record(folder).curve)
    assert (record.name, record.status, record.steps, record.steps_planned) == ("small", "finished", 16, 16)
    assert (record.family, record.batch_size, record.seed, record.attempts) == ("gpt", 8, 0, 1)
    assert record.config_hash == run.config_hash
    assert record.tokens == 16 * 8 * 8 and record.examples == 16 * 8
    assert record.unique_tokens > 1e6 and 0 < record.epochs < 1
    assert record.params > record.params_non_embedding > 0 and record.flops > 6 * record.tokens
    assert record.loss > 0 and record.loss_se > 0 and record.train_loss > 0
    assert {"accuracy", "accuracy_se"} <= record.metrics.keys()
    assert record.device_kind and record.device_count == 1 and record.process_count == 1
    assert record.seconds > record.compile_seconds > 0 and record.tokens_per_second > 0
    assert record.started_at <= record.finished_at


def test_a_record_has_every_evaluation_with_what_was_spent_until_then(done):
    run, _, _ = done
    history = tuple((step, {"loss": Estimate(3.0, 0.1), "task/exact_match": Estimate(1 / 3, 0.01),
                            "task/exact_match/chance": Estimate(0.25, math.nan)}) for step in (2, 4))
    result = Result(Outcome("finished", 4, metrics=history[-1][1], evaluations=history, flops_per_step=1e6), 1, 1, 32,
                    256, 256, 1.0, 4e6, {})
    record = completed(RunRecord(), result, run.experiment)
    assert record.metrics == {"task/exact_match": 1 / 3, "task/exact_match_se": 0.01, "task/exact_match/chance": 0.25}
    assert record.evaluations == tuple({
        "step": step, "flops": 1e6 * step, "tokens": 64 * step, "loss": 3.0,
        "metrics": {"task/exact_match": 0.333333, "task/exact_match_se": 0.01, "task/exact_match/chance": 0.25}}
        for step in (2, 4))
    frame = pd.DataFrame([dataclasses.replace(record, params=10).to_row()]).replace("", None)
    runs = read_runs(frame, needed=("params", "loss"))
    assert len(runs) == 1 and runs.column("task/exact_match")[0] == 1 / 3


def test_a_finished_run_is_not_run_again(done):
    run, folder, record = done
    heard = []
    assert run_one(run, folder, listeners=(heard.append,)).seconds == record.seconds
    assert not heard


def test_a_folder_of_another_experiment_is_refused_with_the_first_difference(done):
    _, folder, _ = done
    other = single_run(experiment(steps=24), folder)
    with pytest.raises(ConfigError, match=r"holds another experiment \(training.steps: 16 -> 24\)") as error:
        run_one(other, folder)
    assert "\n" not in str(error.value)
    assert read_record(folder).steps == 16


def test_a_config_saved_before_a_field_was_invented_is_the_same_experiment(done, tmp_path):
    run, folder, _ = done
    saved = json.loads((folder / "config.json").read_text())
    del saved["training"]["keep_best"]
    (tmp_path / "config.json").write_text(json.dumps(saved))
    (tmp_path / "record.json").write_bytes((folder / "record.json").read_bytes())
    assert run_one(run, tmp_path).status == "finished"


def test_a_failure_is_recorded_and_raised_and_the_next_attempt_goes_on(tmp_path):
    run = single_run(experiment(name="falls"), tmp_path)

    def fall(progress):
        raise RuntimeError("the listener fell over\nin many lines")

    with pytest.raises(RuntimeError):
        run_one(run, tmp_path, listeners=(fall,))
    record = read_record(tmp_path)
    assert (record.status, record.error) == ("failed", "RuntimeError: the listener fell over")
    assert (record.name, record.attempts, record.loss) == ("falls", 1, None)
    assert run_one(run, tmp_path, attempt=2).status == "finished"
    assert (read_record(tmp_path).attempts, read_record(tmp_path).error) == (2, "")


def test_a_full_disk_is_one_line_and_no_failure_of_the_run(tmp_path, monkeypatch):
    run, usage = single_run(experiment(), tmp_path), shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(DiskFullError) as error:
        run_one(run, tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    assert read_record(tmp_path) is None
    monkeypatch.undo()
    assert run_one(run, tmp_path).status == "finished"


def test_a_folder_that_somebody_writes_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("genlab.sweeps.run._LOCK_SECONDS", 0.05)
    with writer_lock(tmp_path), pytest.raises(BusyError):
        run_one(single_run(experiment(), tmp_path), tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_the_record_of_a_diverged_run_of_images():
    class Images:
        tokens_per_example = None

    outcome = Outcome(status="diverged", steps=7, error="loss nan at step 7", examples_per_second=10.0,
                      metrics={}, curve=((1, 2.0),), flops_per_step=5.0)
    result = Result(outcome, params=10, params_non_embedding=10, examples=56, tokens=None, unique_tokens=None,
                    epochs=0.5, flops=35.0, data={"data_hash": "d"})
    record = completed(RunRecord(name="r"), result, dataclasses.replace(experiment(), data=Images()))
    assert (record.status, record.error, record.loss, record.tokens) == (
        "diverged", "loss nan at step 7", None, None)
    assert (record.steps, record.examples, record.flops, record.tokens_per_second) == (7, 56, 35.0, 10.0)
    finished = dataclasses.replace(result, outcome=dataclasses.replace(
        outcome, metrics={"loss": Estimate(1.5, 0.1), "accuracy": Estimate(0.5, 0.2)}))
    record = completed(RunRecord(), finished, experiment())
    assert (record.loss, record.loss_se, record.metrics) == (1.5, 0.1, {"accuracy": 0.5, "accuracy_se": 0.2})


def test_longer_and_larger_runs_cost_more_and_share_shapes_by_size():
    runs = Sweep([experiment(8, 16), experiment(8, 32), experiment(16, 32)]).runs()
    small, long, large = map(job, runs)
    assert small.cost < long.cost < large.cost
    assert small.shape == long.shape != large.shape
    assert (small.tokens, small.params) == (16 * 8 * 8, job(runs[1]).params)


@pytest.mark.parametrize(("bad", "message"), [
    (experiment(16, data=Text(source=TextFiles("/nowhere/*"), sequence_length=8)), "nowhere"),
    (dataclasses.replace(experiment(16), training=Training(batch_size=10**8)), "run width=16.*: batch_size"),
])
def test_data_that_is_not_there_or_too_little_is_found_before_anything_runs(bad, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        check_data(Sweep([experiment(8), bad]))
    assert "\n" not in str(error.value)


def test_throughput_is_known_in_a_process_that_has_compiled_the_run_already(tmp_path):
    heard = []
    for seed in (1, 2):
        run = single_run(experiment(seed=seed), tmp_path / str(seed))
        record = run_one(run, tmp_path / str(seed), listeners=(heard.append,))
        assert 0 < record.tokens / record.tokens_per_second < record.seconds
    assert record.compile_seconds == 0.0
    assert all(progress.examples_per_second > 0 for progress in heard)

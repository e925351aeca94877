import csv
import dataclasses
import io
import math
import subprocess
import types

import pytest

import genlab
from genlab.configuration import ConfigError
from genlab.sweeps import record as records
from genlab.sweeps.record import COLUMNS, RunRecord, code_version, columns, read_record, write_record

# The contract of the table that fits and figures read.
SCHEMA = [
    "sweep", "name", "role", "config_hash", "seed", "code_version", "family", "params",
    "params_non_embedding", "batch_size", "steps", "steps_planned", "examples", "tokens", "unique_tokens",
    "epochs", "flops", "flops_convention", "loss", "loss_se", "train_loss", "metrics", "status", "error",
    "attempts", "device_kind", "device_count", "process_count", "seconds", "compile_seconds",
    "step_seconds", "input_seconds", "evaluation_seconds", "checkpoint_seconds", "tokens_per_second", "mfu",
    "jax_version", "python_version", "data_hash", "started_at", "finished_at",
    "curve", "evaluations",
]

FULL = RunRecord(
    sweep="s", name="w32", role="held_out", config_hash="abc", seed=3, family="gpt", params=12_345,
    batch_size=8, steps=100, steps_planned=100, tokens=51_200, epochs=0.1, flops=1.2345678901234567e15,
    loss=1 / 3, loss_se=0.01, metrics={"accuracy": 0.5, "accuracy_se": 0.1}, status="finished", attempts=1,
    error='a "quoted", text', curve=((1, 5.5), (100, 0.3333333)),
    evaluations=({"step": 50, "flops": 6e14, "tokens": 25_600, "loss": 1.5, "metrics": {"accuracy": 0.25}},
                 {"step": 100, "flops": 1.2e15, "tokens": 51_200, "loss": 1 / 3, "metrics": {"accuracy": None}}),
)


def through_csv(record):
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerow(record.to_row())
    text.seek(0)
    return RunRecord.from_row(next(csv.DictReader(text)))


def test_columns_are_the_contract_and_all_documented():
    assert list(COLUMNS) == SCHEMA
    assert all(meaning for _, _, meaning in columns())


@pytest.mark.parametrize("record", [FULL, RunRecord(), RunRecord(status="failed", loss=math.inf)])
def test_a_row_read_back_is_the_record(record):
    assert through_csv(record) == record


def test_a_record_file_read_back_is_the_record(tmp_path):
    write_record(FULL, tmp_path)
    assert read_record(tmp_path) == FULL
    assert read_record(tmp_path / "nothing") is None


def test_what_is_not_finite_is_an_empty_cell_and_a_null(tmp_path):
    record = dataclasses.replace(FULL, status="diverged", loss=math.nan)
    assert record.to_row()["loss"] == ""
    write_record(record, tmp_path)
    assert "NaN" not in (tmp_path / "record.json").read_text()
    assert read_record(tmp_path).loss is None


def test_an_error_of_many_lines_stays_on_one():
    row = dataclasses.replace(FULL, error="one\n  two\tthree").to_row()
    assert row["error"] == "one two three"


def test_columns_of_another_version_do_not_matter():
    row = FULL.to_row() | {"invented_later": "1"}
    del row["mfu"]
    assert RunRecord.from_row(row) == FULL


def test_a_damaged_cell_or_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="'steps' .* holds 'many'"):
        RunRecord.from_row(FULL.to_row() | {"steps": "many"})
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(ConfigError, match=r"record.json is not a run record"):
        read_record(tmp_path)


def git(folder, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    return subprocess.run(["git", *identity, "-C", str(folder), *arguments], check=True, capture_output=True,
                          text=True).stdout.strip()


def test_code_version_is_the_commit_and_says_when_files_differ(tmp_path, monkeypatch):
    def version():
        code_version.cache_clear()
        return code_version()

    file = tmp_path / "__init__.py"
    file.write_text("")
    monkeypatch.setattr(records, "genlab", types.SimpleNamespace(
        __file__=str(file), __version__=genlab.__version__))
    assert version() == f"genlab {genlab.__version__}"
    git(tmp_path, "init")
    # An installed copy inside somebody's repository is not that repository's commit.
    git(tmp_path, "commit", "--allow-empty", "-m", "m")
    assert version() == f"genlab {genlab.__version__}"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "m")
    commit = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    assert version() == commit
    file.write_text("changed = True\n")
    assert version() == f"{commit}-dirty"
    code_version.cache_clear()

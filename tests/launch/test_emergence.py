"""launch.emergence as a user runs it: any table, one screen, one-line errors with exit code 2."""

import json

import pandas as pd
import pytest

from tests.launch.commands import run_command
from tests.scaling.emergence.conftest import made_up_records, made_up_table

COLUMNS = "--columns=flops=C (1e21)*1e21,family=Family,run=Model"


def emergence(*flags):
    return run_command("launch.emergence", *flags)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("emergence") / "theirs.csv"
    made_up_table().to_csv(path, index=False)
    return path


def test_somebodys_table_from_end_to_end(table, tmp_path):
    done = emergence(f"--runs={table}", COLUMNS, "--tasks=words_*,acc_quiz", "--chance=quiz=0.25,*=0",
                     "--holdout=flops > 2e22", "--nolaws", f"--output={tmp_path / 'out'}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in ("theirs.csv: 2 tasks", "smooth in both", "flat at chance", "unchanged",
                  "words: exact_match leaves chance (0)", "multiples of 1/2000", "written"):  # fmt: skip
        assert words in done.stdout, done.stdout
    saved = json.loads((tmp_path / "out" / "emergence.json").read_text())
    assert saved["verdicts"]["quiz"]["kind"] == "flat at chance" and not saved["verdicts"]["quiz"]["emergent"]
    assert saved["forecasts"]["words"]["exact_match"]["held_out"] == "by the table"
    assert len(pd.read_csv(tmp_path / "out" / "abilities.csv")) == 3 * 29
    assert (tmp_path / "out" / "emergence.png").stat().st_size > 10_000


def test_a_sweeps_own_table_needs_no_flags(tmp_path):
    made_up_records().to_csv(tmp_path / "runs.csv", index=False)
    done = emergence(f"--runs={tmp_path / 'runs.csv'}", "--nolaws", "--noforecasts")
    assert done.returncode == 0, done.stderr
    assert "3 tasks, 3 runs" in done.stdout and "2 smooth in both" in done.stdout and "not finished" in done.stdout


def test_simulated_tables(tmp_path):
    done = emergence("--simulate=4", "--plan=tasks=3,seeds=4,questions=100", f"--output={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "4 tables of 3 tasks at chance" in done.stdout and "sharp only in the" in done.stdout
    assert json.loads((tmp_path / "simulation.json").read_text())["plan"]["seeds"] == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give either --runs=TABLE.csv, to judge it, or --simulate=1000"),
        (("--runs=nowhere.csv",), "there is no table nowhere.csv"),
        (("--runs={table}", COLUMNS, "--tasks=words_bleu,acc_quiz"), "theirs.csv: words/bleu has no chance level"),
        (("--runs={table}", "--tasks=acc_quiz", "--chance=0.25"), "the compute of its runs is not known"),
        (("--runs={table}", COLUMNS, "--tasks=acc_quiz", "--chance=0.25", "--where=Model == 'model 2'"), "has 1 scale"),
        (("--runs={table}", COLUMNS, "--tasks=acc_quizz", "--chance=0"), "'acc_quizz'; did you mean 'acc_quiz'?"),
        (("--runs={table}", "--columns=flops=C(1e21)", "--tasks=acc_quiz"), "did you mean 'C (1e21)'?"),
        (("--simulate=3", "--plan=task=3"), "--plan: no 'task' can be planned; there are: tasks, scales"),
        (("--runs={table}", "--sharp=bleu"), "'bleu' is no sharp metric"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(flags, message, table):
    done = emergence(*(flag.format(table=table) for flag in flags))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr

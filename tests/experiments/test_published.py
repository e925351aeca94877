"""The published studies without their tables: what is asked for, what a command writes, what a failed check does."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from experiments.scaling import published, recovery
from genlab.scaling import LAWS
from genlab.scaling.fitting.rows import check_identifiable

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tables(tmp_path):
    """A made-up Chinchilla table without noise, three of whose rows are left out."""
    params, tokens = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e10, 5), np.geomspace(1e9, 1e12, 5)))
    frame = pd.DataFrame({"N": params, "D": tokens, "loss": 1.8 + 400 * params**-0.35 + 2000 * tokens**-0.37})
    frame["in_240"] = (np.arange(25) > 2).astype(int)
    frame.to_csv(tmp_path / "chinchilla_epoch.csv", index=False)
    return tmp_path


def tiny(found):
    """The chinchilla study with few resamples, and with two checks of its own."""
    (study,) = published.choose("chinchilla", str(found))

    def checks(folder, fit):
        yield published.near("alpha", 0.35, fit["parameters"]["alpha"], 1e-6)
        yield published.at_most("rows", 22, len(fit["rows_used"]))

    few = tuple(flag for flag in study.commands[0] if not flag.startswith("--resamples"))
    return dataclasses.replace(study, commands=((*few, "--resamples=20", "--starts=8"),), checks=checks)


def test_a_study_prints_its_command_runs_it_and_checks_what_it_wrote(tables, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    checks = published.run(tiny(tables), str(tables), Console(width=120))
    assert [(check.what, check.good) for check in checks] == [("alpha", True), ("rows", True)], checks
    printed = capsys.readouterr().out
    assert f"python -m launch.fit --runs={tables}/chinchilla_epoch.csv" in printed
    assert "'--where=in_240 == 1'" in printed


def test_a_command_that_fails_is_a_failed_check(tables, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    study = dataclasses.replace(tiny(tables), commands=(("--runs=nowhere.csv",),))
    (check,) = published.run(study, str(tables), Console(width=120))
    assert not check.good and check.found == "2: error: there is no table nowhere.csv"


@pytest.mark.parametrize(("found", "code"), [(0.3501, 0), (0.36, 1), (np.nan, 1)])
def test_a_failing_check_gives_exit_code_1(found, code, monkeypatch, capsys):
    checks = lambda tables: iter([published.near("alpha", 0.35, found, 1e-3), published.at_most("one", 2, 1)])  # noqa: E731
    monkeypatch.setattr(published, "STUDIES", (published.Study("own", (), checks),))
    assert published.main(["--only=own"]) == code
    told = capsys.readouterr().out
    assert ("NO" in told) == (code == 1) and f"{2 - code} of 2 checks are good" in told


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--only=chinchila"], "no study is called 'chinchila'; there are: chinchilla, chinchilla_245, porian, gadre"),
        (["--only=gadre"], "gadre reads tables and there is no folder ''"),
        (["--tables=nowhere", "--only=gadre"], "there is no folder 'nowhere'"),
        (["--tables={tables}", "--only=chinchilla,gadre"], "gadre reads gadre_runs.csv, which is not in {tables}"),
        (["--table=here"], "unrecognized arguments: --table=here"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(flags, message, tables, monkeypatch, capsys):
    monkeypatch.setattr(published, "run", lambda *_: pytest.fail("a study has run"))
    with pytest.raises(SystemExit) as stopped:
        published.main([flag.replace("{tables}", str(tables)) for flag in flags])
    told = capsys.readouterr()
    assert stopped.value.code == 2 and told.err.startswith("error: ") and told.err.count("\n") == 1 and not told.out
    assert message.replace("{tables}", str(tables)) in told.err


def test_several_numbers_are_near_only_if_all_are():
    assert published.near("steps", [0.8, 0.7], np.array([0.8001, 0.7]), 1e-3).good
    assert not published.near("steps", [0.8, 0.7], np.array([0.8001, 0.702]), 1e-3).good
    assert not published.near("steps", [0.8, 0.8], np.array([0.8]), 1e-3).good


def test_every_law_has_a_design_that_can_be_fitted():
    for law in LAWS.values():
        plan = recovery.design(law)
        truth = law.published or recovery.REFERENCE[law.name]
        response = law.predict(law.vector(truth), **{name: plan.column(name) for name in law.inputs})
        assert np.isfinite(response).all(), law.name
        check_identifiable(law, dataclasses.replace(plan, frame=plan.frame.assign(**{law.response: response})))


def test_recovery_counts_the_tables_whose_intervals_hold_the_truth():
    (found,) = recovery.recovery(("power",), tables=10)
    low, high = found.intervals[:, 1].T
    assert recovery.coverages(found)["alpha"] == np.mean((low <= 0.095) & (high >= 0.095)) >= 0.7

"""launch.fit as a user runs it: one screen, fit.json, one-line errors with exit code 2."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.launch.commands import run_command


def fit(*flags):
    return run_command("launch.fit", *flags)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    params, tokens = (g.ravel() for g in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 4)))
    loss = 1.8 + 400 * params**-0.35 + 2000 * tokens**-0.37
    loss *= np.exp(0.003 * np.random.default_rng(0).standard_normal(len(loss)))
    path = tmp_path_factory.mktemp("fit") / "other.csv"
    pd.DataFrame({"N": params, "D": tokens, "loss": loss, "bad": [1] + [0] * 19}).to_csv(path, index=False)
    return path


def test_a_foreign_table_from_end_to_end(table, tmp_path):
    done = fit(
        f"--runs={table}", "--law=chinchilla", "--columns=params=N,tokens=D,loss=loss", "--where=bad == 0",
        "--holdout=N > 9e8 and D > 9e10", "--budgets=1e21,3.8e25", f"--output={tmp_path / 'out'}",
        "--resamples=100", "--starts=8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in ("other.csv: 18 rows fitted, 2 left out (1 not (bad == 0); 1 held out)",
                  "L = E + A/N^alpha + B/D^beta", "objective", "100 of 100 bootstrap refits converged",
                  "forecast of", "tokens per param", "3.8e+25", "written"):  # fmt: skip
        assert words in done.stdout, done.stdout
    saved = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert saved["law"] == "chinchilla" and len(saved["rows_used"]) == 18
    assert saved["parameters"]["E"] == pytest.approx(1.8, abs=0.1)
    assert saved["rows_left_out"][0] == {"row": 0, "reason": "not (bad == 0)"}
    assert len(saved["budgets"]) == 2
    (told,) = saved["forecasts"]
    assert abs(told["relative_error"]) < 0.02 and told["interval_95"][0] < told["predicted"]
    assert (tmp_path / "out" / "loss_vs_compute.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--runs=nowhere.csv",), "error: there is no table nowhere.csv"),
        (("--runs={table}", "--columns=params=N,tokens=D", "--where=N < 2e7 and D > 1e10"),
         "chinchilla has 5 parameters and other.csv only 2 usable rows; at least 6"),
        (("--runs={table}", "--columns=params=N,tokens=D", "--budgets=lots"), "'lots' is not a number of FLOPs"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(flags, message, table):
    done = fit(*(flag.format(table=table) for flag in flags))
    assert done.returncode == 2
    assert message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.stdout == ""


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
    """Two learning curves, one of them with a floor, and a group of two rows."""
    seen = np.geomspace(1e6, 1e9, 24)
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal((2, 24)))
    parts = [pd.DataFrame({"model": name, "Seen": seen, "Loss": loss * noise[i], "train": seen < 3e8})
             for i, (name, loss) in enumerate({"plain": 40 * seen**-0.25, "floor": 1.7 + 400 * seen**-0.4}.items())]
    few = pd.DataFrame({"model": "few", "Seen": [1e6, 1e7], "Loss": [2.0, 1.0], "train": True})
    path = tmp_path_factory.mktemp("curves") / "curves.csv"
    pd.concat([*parts, few]).to_csv(path, index=False)
    return path


def test_every_group_is_fitted_for_itself(curves, tmp_path):
    done = fit(f"--runs={curves}", "--x=Seen", "--response=Loss", "--holdout=not train", "--by=model",
               "--law=power,power_floor", f"--output={tmp_path / 'out'}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in ("3 groups by model, 1 refused", "mean held-out error", "refused    few: power", "fits.json"):
        assert words in done.stdout, done.stdout
    saved = json.loads((tmp_path / "out" / "fits.json").read_text())
    rows = {row["model"]: row for row in saved["table"]}
    assert rows["floor"]["law"] == "power_floor" and rows["few"]["status"] == "refused"
    assert rows["floor"]["error"] < 0.01 and rows["floor"]["error_power"] > 0.02
    found = {row["parameter"]: row["value"] for row in saved["parameters"]
             if row["model"] == "floor" and row["law"] == "power_floor"}  # fmt: skip
    assert found["E"] == pytest.approx(1.7, rel=0.05)


def test_laws_left_open_forecast_together(curves, tmp_path):
    done = fit(f"--runs={curves}", "--x=Seen", "--response=Loss", "--holdout=not train", "--where=model == 'floor'",
               "--resamples=0", "--starts=8", "--figures=False", f"--output={tmp_path}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    saved = json.loads((tmp_path / "fit.json").read_text())
    assert {row["law"] for row in saved["forecasts"]} == {"combined"}
    assert {row["law"] for row in saved["other_forecasts"]} == set(saved["fits"])
    assert all(abs(row["relative_error"]) < 0.02 for row in saved["forecasts"])
    assert "combined" in done.stdout and "chosen by" in done.stdout


def test_what_a_fit_by_groups_cannot_give_is_refused(curves):
    done = fit(f"--runs={curves}", "--x=Seen", "--response=Loss", "--by=model", "--budgets=1e21")
    assert done.returncode == 2 and "--by fits many groups, and --budgets is for one fit" in done.stderr

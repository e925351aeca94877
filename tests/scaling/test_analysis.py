"""The analysis of a sweep: choice by backtest, forecast of the held-out run, fit.json."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from genlab.configuration import from_json, to_json
from genlab.scaling import Analysis, ComputeOptimal, read_runs
from genlab.scaling.compute_optimal import _scatter, _without

CONFIG = ComputeOptimal(starts=4, resamples=40, budgets=(1e14,))


@pytest.fixture(scope="module")
def analysis(small_grid):
    return CONFIG.run(read_runs(small_grid))


def test_the_form_is_chosen_within_the_grid_and_foretells_the_held_out_run(analysis):
    assert analysis.choice == "kaplan" == analysis.fit.law.name
    assert "kaplan" in analysis.choice_reason and "chinchilla" in analysis.choice_reason
    (told,) = analysis.forecasts
    assert told["name"] == "width64-4M" and told["law"] == "kaplan"
    assert abs(told["relative_error"]) < 0.02 and told["covered"]
    assert told["name"] not in analysis.fit.rows_used and len(analysis.fit.rows_used) == 12
    assert [row["law"] for row in analysis.other_forecasts] == ["chinchilla"]


def test_the_held_out_run_changes_no_fit_and_no_choice(small_grid, analysis):
    changed = small_grid.copy()
    changed.loc[changed.role == "held_out", "loss"] *= 3
    other = CONFIG.run(read_runs(changed))
    assert other.choice == analysis.choice
    assert other.fit.to_json() == analysis.fit.to_json()
    assert other.forecasts[0]["predicted"] == analysis.forecasts[0]["predicted"]
    assert not other.forecasts[0]["covered"]


def test_fit_json_has_the_documented_keys_and_comes_back(analysis, tmp_path):
    analysis.save(tmp_path / "fit.json")
    saved = json.loads((tmp_path / "fit.json").read_text())
    for key in ("law", "parameters", "objective", "interval_95", "rows_used", "rows_left_out", "certificate",
                "warnings", "forecasts", "backtest", "budgets"):  # fmt: skip
        assert key in saved
    assert saved["parameters"] == analysis.fit.parameters  # full precision
    assert set(saved["forecasts"][0]) >= {
        "name", "predicted", "measured", "relative_error", "interval_95", "covered",
    }  # fmt: skip
    again = Analysis.load(tmp_path / "fit.json")
    assert json.dumps(again.to_json()) == json.dumps(analysis.to_json())  # as text: NaN is not NaN
    assert again.fit.predict(params=1e5, tokens=1e6) == analysis.fit.predict(params=1e5, tokens=1e6)
    assert [path.name for path in tmp_path.iterdir()] == ["fit.json"]


def test_what_is_no_analysis_is_refused(tmp_path):
    (tmp_path / "fit.json").write_text('{"law": "kaplan"}')
    with pytest.raises(ValueError, match="no analysis of genlab"):
        Analysis.load(tmp_path / "fit.json")


def test_budgets_are_answered_with_intervals(analysis):
    (row,) = analysis.budgets
    assert row["flops"] == 1e14
    assert analysis.fit.cost.flops(row["params"], row["tokens"]) == pytest.approx(1e14)
    assert analysis.fit.cost.params_exponent == pytest.approx(0.97)
    assert row["interval_95"]["params"][0] < row["params"] < row["interval_95"]["params"][1]


def test_isoflop_curves_come_along(analysis):
    assert analysis.isoflop and all(len(curve.params) >= 3 for curve in analysis.isoflop)


def test_another_column_can_be_the_size(small_grid, analysis):
    table = small_grid.assign(params_non_embedding=24.0 * small_grid.width**2)
    config = dataclasses.replace(CONFIG, params="params_non_embedding", laws=("kaplan",), resamples=0)
    found = config.run(read_runs(table))
    assert found.columns == {"params": "params_non_embedding"}
    assert found.fit.ranges["params"] == (24.0 * 16**2, 24.0 * 64**2)
    assert found.table(read_runs(table)).column("params")[0] == 24.0 * 16**2
    assert found.choice_reason == "the only law"


def test_a_table_too_small_for_one_law_is_fitted_by_the_other(small_grid):
    found = dataclasses.replace(CONFIG, resamples=0).run(read_runs(small_grid.iloc[[0, 2, 4, 6, 8]]))
    assert set(found.fits) == {"kaplan"} and found.backtest is None
    assert any("chinchilla has 5 parameters" in warning for warning in found.warnings)
    assert any("no backtest" in warning for warning in found.warnings)
    with pytest.raises(ValueError, match="only 3 usable rows"):
        CONFIG.run(read_runs(small_grid.iloc[:3]))


def test_the_config_is_a_config():
    assert from_json(to_json(CONFIG)) == CONFIG
    with pytest.raises(ValueError, match="did you mean kaplan"):
        ComputeOptimal(laws=("kaplam",))
    with pytest.raises(ValueError, match="at least one law"):
        ComputeOptimal(laws=())


def test_numbers_that_are_not_finite_become_null(analysis, tmp_path):
    odd = dataclasses.replace(analysis, budgets=[{"flops": np.nan}])
    odd.save(tmp_path / "fit.json")
    text = (tmp_path / "fit.json").read_text()
    assert "NaN" not in text and json.loads(text)["budgets"] == [{"flops": None}]


def test_importing_is_light():
    code = "import sys, genlab.scaling; print(sorted({'flax', 'optax', 'scipy', 'matplotlib'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_forecasts_scatter_by_the_backtest_where_it_erred_more(analysis):
    fit, tested = analysis.fit, analysis.backtest
    worse = dataclasses.replace(tested, scores={**tested.scores, "kaplan": 10 * fit.residual_scatter})
    assert _scatter(fit, worse) == 10 * fit.residual_scatter
    assert _scatter(fit, None) == fit.residual_scatter
    better = dataclasses.replace(tested, scores={"chinchilla": 1.0, "kaplan": 1e-6})
    assert _scatter(fit, better) == fit.residual_scatter


def test_curves_of_held_out_runs_are_not_used(small_grid):
    runs = read_runs(small_grid)
    points = small_grid.assign(key=1).merge(pd.DataFrame({"key": 1, "share": [0.5, 0.7, 1.0]}), on="key")
    points["tokens"] *= points["share"]
    curves = read_runs(points.drop(columns=["role", "flops"]))
    warnings = []
    kept = _without(curves, runs.grid, runs.held_out, warnings)
    assert len(kept) == len(curves) - 3 and "width64-4M" not in set(kept.frame["name"])
    assert warnings == ["3 points of training curves are of held-out runs (by name): not used"]
    unnamed = read_runs(points.drop(columns=["role", "flops", "name"]))
    assert len(_without(unnamed, runs.grid, runs.held_out, [])) == len(unnamed)  # its size was fitted, too


def test_comparisons_weigh_rows_as_the_fit_does(small_grid):
    config = dataclasses.replace(CONFIG, laws=("kaplan",), weights="1 / width", resamples=20)
    found = config.run(read_runs(small_grid, where="name != 'width16-1M'"))
    (compared,) = found.comparisons
    assert compared["without"]["parameters"] == pytest.approx(found.fit.parameters, rel=1e-6)
    assert compared["resamples"] == 20

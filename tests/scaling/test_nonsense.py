"""Tables that make no sense: each is refused in one line or answered with a warning that says what is wrong."""

import dataclasses
import re
import sys

import numpy as np
import pandas as pd
import pytest

from genlab.figures import isoflop
from genlab.scaling import ComputeOptimal, Runs, get_law, read_runs
from genlab.scaling.approaches.compare import compare_approaches
from genlab.scaling.approaches.isoflop import isoflop_minima
from genlab.scaling.fitting.fit_law import fit_law
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.simulate import planned_grid, simulate

RNG = np.random.default_rng(0)
CONFIG = ComputeOptimal(laws=("chinchilla",), starts=4, resamples=20, sensitivity=False)


def table():
    params, tokens = (g.ravel() for g in np.meshgrid(np.geomspace(1e7, 1e10, 6), np.geomspace(1e9, 1e11, 5)))
    loss = 1.69 + 406.4 * params**-0.34 + 410.7 * tokens**-0.28
    noise = np.exp(0.005 * np.random.default_rng(0).standard_normal(30))
    return pd.DataFrame({"params": params, "tokens": tokens, "loss": loss * noise})


def warnings_of(frame, law="chinchilla", resamples=0, **fixed):
    return fit_law(get_law(law).fix(**fixed), Runs(frame), starts=2, resamples=resamples).warnings


@pytest.mark.parametrize(
    ("frame", "fixed", "message"),
    [
        (table().assign(loss=3.0), "", "the same loss (3): chinchilla cannot be fitted, there is nothing to fit"),
        (table().assign(params=1e9), "", "the same params (1e+09): chinchilla cannot be fitted, it needs runs of"),
        (table(), "E=5", "E = 5 is held, but loss is below it in 30 of 30 rows of the table (down to 2.196)"),
        (table().iloc[:5], "", "5 parameters and the table only 5 usable rows; at least 6 are needed"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused_in_one_line(frame, fixed, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        dataclasses.replace(CONFIG, fixed=fixed).run(read_runs(frame))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(loss=8 - t.loss), "the loss rises with tokens, other things equal: a loss should fall"),
        (lambda t: t.assign(loss=8 - t.loss), "the loss rises with params"),
        (lambda t: t.assign(loss=3 * np.exp(0.01 * RNG.standard_normal(30))), "of the log losses unexplained"),
        (lambda t: t.assign(params=t.params / 1e6), "params of 10: are they in millions or billions?"),
        (lambda t: t.assign(tokens=t.tokens / 1e9), "tokens of 1: are they in millions or billions?"),
        (lambda t: t.assign(params=t.params / 1e6, flops=6 * t.params * t.tokens), "flops are 1e.06 times 6 params"),
        (lambda t: pd.concat([t, t]), "30 rows repeat another row's .* too narrow if they are copies .* drop copies"),
        (lambda t: t.assign(tokens=20 * t.params), "cannot be told apart; train some sizes for longer"),
        (lambda t: t.assign(steps=5, steps_planned=9), "stopped before the end of .* leave them out with --where"),
        (lambda t: t.assign(unique_tokens=1e8), "as if it were new: fit --law=repeated"),
    ],
)  # fmt: skip
def test_what_looks_wrong_is_said_with_what_would_be_right(change, words):
    found = warnings_of(change(table()).reset_index(drop=True))
    assert any(re.search(words, warning) for warning in found), found


def test_a_sensible_table_is_not_called_nonsense():
    found = warnings_of(table(), resamples=20)
    assert len(found) == 1 and "embeddings" in found[0]


def test_a_floor_above_a_few_losses_is_a_warning():
    frame = table()
    floor = float(frame.loss.nsmallest(3).mean())
    assert any("have a loss below the E" in warning for warning in warnings_of(frame, E=floor))


def test_intervals_of_few_rows_are_called_too_narrow():
    few = table().iloc[[0, 4, 7, 14, 21, 25, 28]]
    assert any("few rows: 7 for the 5 parameters" in w and "too narrow" in w for w in warnings_of(few, resamples=20))
    assert not any("too narrow" in warning for warning in warnings_of(few))  # there are no intervals


def test_losses_all_but_equal_do_not_stop_the_analysis_nor_do_accuracies_in_percent():
    loss = 3 + 1e-6 * np.random.default_rng(0).standard_normal(30)
    frame = table().assign(loss=loss, task=100 / (1 + np.exp(table().loss - 3)))
    found = dataclasses.replace(CONFIG, starts=2, resamples=4).run(read_runs(frame))
    assert any("unexplained" in warning for warning in found.fit.warnings)
    message = "accuracy (column 'task') is 69.087; it must be a share between 0 and 1 (percent / 100)"
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(CONFIG, accuracy=("task=0.25",)).run(read_runs(frame))
    with pytest.raises(ValueError, match="no column 'tsk'; did you mean task"):
        dataclasses.replace(CONFIG, accuracy=("tsk=0.25",)).run(read_runs(frame))
    with pytest.raises(ValueError, match="'task=25' should be COLUMN=CHANCE"):
        dataclasses.replace(CONFIG, accuracy=("task=25",))


def test_flops_that_overflowed_are_refused_at_once():
    with pytest.raises(ValueError, match=r"row 2: flops is -6e\+18; it must be positive \(an integer that overflowed"):
        read_runs(table().assign(flops=[1e18, 1e18, -6e18] + [1e18] * (len(table()) - 3)))


def test_a_law_without_a_best_size_says_so_among_the_approaches():
    fit = fit_law("chinchilla", Runs(table()), starts=4, resamples=0)
    flat = {"A": 1e-12, "B": 5e-6, "E": 3.0, "alpha": 0.005, "beta": 0.005}
    fit = dataclasses.replace(fit, parameters=flat)
    found = compare_approaches(Runs(table()), None, fit, resamples=20)
    assert found.estimates[-1].unavailable == "the fitted law has no finite best size"
    isoflop(isoflop_minima(Runs(table()), fit=fit), fit).draw_without_rendering()


def test_rows_without_numbers_are_left_out_with_the_reason():
    frame = table()
    frame.loc[3, "loss"], frame.loc[4, "params"] = np.nan, np.inf
    left_out = read_runs(frame).left_out
    assert sorted(left_out) == [(3, "no finite value of loss"), (4, "no finite value of params")]


def test_budgets_of_a_law_of_repeated_data_are_for_fresh_data():
    law, other = get_law("repeated"), get_law("chinchilla")
    fit = fit_law(other, Runs(table()), starts=4, resamples=0)
    fit = dataclasses.replace(fit, law=law, parameters=dict(law.published), samples=np.zeros((0, 7)))
    best = fit.allocation(1e21)
    of_fresh = {name: law.published[name] for name in other.parameter_names}
    (params,), (tokens,) = other.allocate(other.vector(of_fresh), np.array([1e21]), fit.cost)
    assert best["params"] == pytest.approx(params, rel=1e-4)
    assert best["loss"] == pytest.approx(float(other.predict(other.vector(of_fresh), params=params, tokens=tokens)))
    config = dataclasses.replace(CONFIG, laws=("repeated",), budgets=(1e21,))
    assert config._check_budgets([law]) == ["the budgets are for fresh data, every token seen once"]
    assert not config._check_budgets([other])


def test_budgets_that_no_law_can_share_out_are_refused_before_any_fit(monkeypatch):
    monkeypatch.setattr(ComputeOptimal, "_fits", lambda *_: pytest.fail("fitted"))
    config = dataclasses.replace(CONFIG, laws=("power",), budgets=(1e21,))
    with pytest.raises(ValueError, match="power predicts loss from x"):
        config.run(read_runs(table().rename(columns={"params": "x"}), needed=("x", "loss")))


def test_a_fit_comes_back_with_the_scale_of_its_response():
    law = dataclasses.replace(get_law("chinchilla"), response_scale="linear")
    fit = fit_law(law, Runs(table()), starts=2, resamples=0)
    assert Fit.from_json(fit.to_json()).law.response_scale == "linear"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"law": "chincilla"}, "no law is called 'chincilla'; did you mean chinchilla?"),
        ({"noise": -0.01}, "noise is -0.01; it must be positive"),
        ({"predict": planned_grid("params=1e9")}, "has no column 'tokens'"),
        ({"law": "kaplan_params", "budgets": (1e21,)}, "is no law of params and tokens: it allocates nothing"),
        ({"plan": planned_grid("params=1e6,1e7; tokens=1e8,1e9")}, "5 parameters and the plan only 4 usable rows"),
    ],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused_before_a_table_is_fitted(change, message, monkeypatch):
    if "plan" not in change:
        monkeypatch.setattr(sys.modules["genlab.scaling.simulate"], "fit_law", lambda *_, **__: pytest.fail("fitted"))
    plan = planned_grid("params=1e6,1e7,1e8; tokens=1e8,1e9,1e10")
    with pytest.raises(ValueError, match=re.escape(message)):
        simulate(**{"law": "chinchilla", "plan": plan, "tables": 2, "resamples": 0, **change})

"""Forecasts read nothing of the rows that they are judged by, and a smooth metric foretells a sharp one."""

import dataclasses

import numpy as np
import pytest

from genlab.scaling.emergence.abilities import read_abilities
from genlab.scaling.emergence.foretell import Form, Rows, _interval, foretell, foretold_from, forms, predict, rows_of
from genlab.scaling.emergence.logistic import fit_logistic


def test_a_logistic_curve_is_recovered_and_stationary():
    x = np.linspace(-3, 3, 40)[:, None]
    score = 0.25 + 0.75 / (1 + np.exp(-(0.5 + 1.5 * x[:, 0])))
    fit = fit_logistic(x, score, chance=0.25)
    at = np.array([[-5.0], [0.3], [6.0]])
    assert fit.predict(at) == pytest.approx(0.25 + 0.75 / (1 + np.exp(-(0.5 + 1.5 * at[:, 0]))), abs=2e-3)


def test_families_differ_by_an_offset_and_small_ones_are_drawn_to_the_others():
    x = np.linspace(-2, 2, 31)[:, None]
    family = np.array(["large"] * 15 + ["small"] + ["large"] * 15, object)
    score = 1 / (1 + np.exp(-x[:, 0]))
    score[15] = 0.9  # logit 2.2
    fit = fit_logistic(x, score, family=family)
    zero = np.zeros((1, 1))
    large, small, unknown = (fit.predict(zero, np.array([name], object))[0] for name in ("large", "small", "new"))
    assert large == pytest.approx(0.5, abs=0.05) and 0.55 < small < 0.88
    assert min(large, small) - 1e-9 < unknown < max(large, small)


@pytest.fixture
def rows(wide):
    arguments = ("flops=C (1e21)*1e21,family=Family,run=Model", "words_*", "0")
    return rows_of(read_abilities(wide, *arguments, hold_out="flops > 2e22"), "words", "exact_match")


def test_scores_above_a_cut_are_foretold_from_below_it(rows):
    found = foretell(rows, resamples=10)
    names = [form["name"] for form in found["forms"]]
    assert names == ["flops", "flops, by family", "via bleu", "via bleu, by family"]
    assert found["error"] < 0.05 < found["stays_error"] and found["held_out"] == "by the table"
    assert sum(form["weight"] for form in found["forms"]) == pytest.approx(1)
    assert found["cut_flops"] <= 2e22 < min(row["flops"] for row in found["forecasts"])
    covered = [row["interval_95"][0] <= row["measured"] <= row["interval_95"][1] for row in found["forecasts"]]
    assert np.mean(covered) > 0.8


def test_nothing_of_the_held_out_rows_is_read_but_what_they_are_forecast_by(rows):
    told = [row["predicted"] for row in foretell(rows, resamples=2)["forecasts"]]
    spoilt = np.where(rows.held_out, 0.123, rows.score)
    smooth = {name: np.where(rows.held_out, 0.5, share) for name, share in rows.smooth.items()}
    other = foretell(dataclasses.replace(rows, score=spoilt, smooth=smooth), resamples=2)["forecasts"]
    assert [row["predicted"] for row in other] == told


def test_token_accuracy_to_the_power_of_the_length(records):
    rows = rows_of(read_abilities(records), "copy", "exact_match")
    (power,) = (form for form in forms(rows) if form.power)
    assert power.name == "token_accuracy ** length" and rows.length == 5 and rows.token_chance == pytest.approx(0.2)
    low = rows.flops < 1.2e16
    said = predict(power, rows.take(low), rows.take(~low))
    assert said == pytest.approx(rows.score[~low], abs=0.08)


def test_a_smooth_metric_foretells_the_sharp_one_before_it_leaves_chance(records):
    rows = rows_of(read_abilities(records), "copy", "exact_match")
    found = foretold_from(rows)
    assert found["flops"] is not None and found["flops"] <= 1.7e16
    assert [cut["flops"] for cut in found["cuts"]] == sorted(cut["flops"] for cut in found["cuts"])
    assert foretold_from(dataclasses.replace(rows, smooth={})) is None


def test_too_few_rows_are_not_forecast(rows):
    few = rows.take(np.arange(9))
    assert foretell(dataclasses.replace(few, held_out=np.arange(9) > 6)) is None
    assert isinstance(few, Rows) and Form(("flops",)).name == "flops"


def test_intervals_are_of_runs_and_not_of_their_evaluations():
    """Three runs of nine evaluations, apart: rows drawn singly would know the mean, in the middle, too well."""
    flops = np.tile(1e15 * 2.0 ** np.arange(9), 3)
    run, offset = np.repeat(["a", "b", "c"], 9).astype(object), np.repeat([-0.3, 0.0, 0.3], 9)
    score = 1 / (1 + np.exp(offset - 0.2 * np.log(flops / 1.6e16)))
    nothing = np.full(27, np.nan)
    rows = Rows(score, flops, nothing, nothing, np.full(27, "", object), run, flops < 0, {}, 0.0, np.nan, 0.0)
    middle, form, one = rows.take(np.array([4])), [Form(("flops",))], np.ones(1)
    widths = [
        np.diff(_interval(form, one, train, middle, np.zeros((1, 1)), resamples=100, seed=0), axis=0).item()
        for train in (rows, dataclasses.replace(rows, run=np.arange(27).astype(object)))
    ]
    assert widths[0] > 1.7 * widths[1], widths

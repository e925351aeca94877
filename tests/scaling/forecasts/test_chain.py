"""Chains of two laws: predictions, honest intervals, forecasts, JSON."""

import json

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.fitting.bootstrap import draw_resamples
from genlab.scaling.fitting.fit_law import table_of
from genlab.scaling.forecasts.chain import Chain, fit_chain
from genlab.scaling.laws import get_law
from genlab.scaling.runs import Runs

SIGMOID = {"chance": 0.25, "ceiling": 0.9, "k": 3.0, "L_0": 2.8}


def table(rows, seed, truth, sizes=(7.5, 9.5), noise=(0.004, 0.01)):
    """Runs with noisy losses, and accuracies that follow from the noisy loss, with noise of their own."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"params": 10 ** rng.uniform(*sizes, rows), "tokens": 10 ** rng.uniform(9.0, 11.0, rows)})
    chinchilla, sigmoid = get_law("chinchilla"), get_law("accuracy_of_loss")
    frame["loss"] = chinchilla.predict(chinchilla.vector(truth["chinchilla"]), params=frame.params, tokens=frame.tokens)
    frame["loss"] *= np.exp(noise[0] * rng.standard_normal(rows))
    frame["accuracy"] = sigmoid.predict(sigmoid.vector(SIGMOID), loss=frame.loss) + noise[1] * rng.standard_normal(rows)
    return Runs(frame)


@pytest.fixture(scope="module")
def chain(truth):
    law = get_law("accuracy_of_loss").fix(chance=0.25)
    return fit_chain(table(60, 0, truth), "chinchilla", law, loss="squared", starts=16, resamples=200)


def test_a_chain_is_one_law_after_the_other(chain):
    loss = chain.loss.predict(params=3e9, tokens=1e11)
    assert chain.predict(params=3e9, tokens=1e11) == chain.accuracy.predict(loss=loss)
    assert chain.predict(params=np.ones((2, 3)) * 1e9, tokens=1e11).shape == (2, 3)


def test_intervals_cover_new_larger_runs(truth):
    law = get_law("accuracy_of_loss").fix(chance=0.25)
    covered, widths = [], []
    for seed in range(4):
        one = fit_chain(table(60, seed, truth), "chinchilla", law, loss="squared", starts=16, resamples=100)
        forecasts = one.forecast(table(300, 100 + seed, truth, sizes=(9.5, 10.2)))
        covered += [row["covered"] for row in forecasts]
        widths += [np.ptp(row["interval_95"]) for row in forecasts]
    assert 0.92 <= np.mean(covered) <= 0.99
    assert np.median(widths) < 0.1  # noise of .01, and of .4 % of the loss at a slope of up to half a unit


def test_the_scatter_of_the_loss_passes_through_the_second_law(truth):
    law = get_law("accuracy_of_loss").fix(chance=0.25)
    noisy = fit_chain(
        table(60, 0, truth, noise=(0.03, 1e-5)), "chinchilla", law, loss="squared", starts=16, resamples=100
    )
    low, high = noisy.predict_interval(params=3e9, tokens=1e11)
    loss = noisy.loss.predict(params=3e9, tokens=1e11)
    slope = (noisy.accuracy.predict(loss=1.001 * loss) - noisy.accuracy.predict(loss=loss)) / 0.001
    assert high - low == pytest.approx(2 * 1.96 * 0.03 * abs(slope), rel=0.35)


def test_both_bootstraps_draw_the_same_rows(chain, truth):
    runs = table(60, 0, truth)
    drawn = [
        draw_resamples(np.random.default_rng([0, 1]), table_of(fit.law, runs), 20, len(fit.law.parameters))[0]
        for fit in (chain.loss, chain.accuracy)
    ]
    np.testing.assert_array_equal(*drawn)
    assert chain.loss.rows_used == chain.accuracy.rows_used
    assert len(chain.loss.samples) == len(chain.accuracy.samples) == 200


def test_forecasts_have_the_common_form(chain, truth):
    held_out = Runs(table(3, 2, truth).frame.assign(name=["a", "b", "c"], accuracy=[0.0, 0.5, 0.6]))
    rows = chain.forecast(held_out)
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert rows[0]["law"] == "chinchilla + accuracy_of_loss" and np.isnan(rows[0]["relative_error"])
    assert rows[1]["relative_error"] == pytest.approx(rows[1]["predicted"] / 0.5 - 1)
    assert rows[1]["error"] == pytest.approx(rows[1]["predicted"] - 0.5)
    assert {"interval_95", "covered", "params", "tokens", "flops", "extrapolation"} <= set(rows[0])
    assert chain.forecast(Runs(held_out.frame[:0])) == []


def test_json_round_trip(chain):
    again = Chain.from_json(json.loads(json.dumps(chain.to_json())))
    point = {"params": 3e9, "tokens": 1e11}
    assert again.predict(**point) == chain.predict(**point)
    np.testing.assert_array_equal(again.predict_interval(**point), chain.predict_interval(**point))
    assert again.warnings == chain.warnings and again.accuracy.law.fixed == {"chance": 0.25}


def test_laws_that_do_not_follow_are_refused(chain):
    with pytest.raises(ValueError, match="predicts the loss; accuracy_of_loss does not"):
        Chain(chain.accuracy, chain.accuracy)
    with pytest.raises(ValueError, match="reads the loss alone; chinchilla does not"):
        Chain(chain.loss, chain.loss)
    with pytest.raises(ValueError, match="has no column 'accuracy'"):
        fit_chain(Runs(pd.DataFrame({"params": [1e9], "tokens": [1e9], "loss": [3.0]})))

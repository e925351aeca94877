"""Fits recover known laws, certify themselves, and refuse or warn where a table says too little."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling import fit_law, get_law, read_runs
from genlab.scaling.fitting.bootstrap import draw_resamples
from genlab.scaling.fitting.fit_law import _in_order, table_of
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.fitting.minimize import Minima, follow
from genlab.scaling.runs import Runs

LAWS = ("chinchilla", "kaplan")
ALL = (*LAWS, "busbridge")


@pytest.mark.parametrize("name", ALL)
def test_parameters_without_noise_are_recovered(name, synthetic, truth):
    fit = fit_law(name, synthetic(name), starts=16, resamples=0)
    for parameter, value in truth[name].items():
        assert fit.parameters[parameter] == pytest.approx(value, rel=1e-5)
    assert fit.objective < 1e-18
    assert fit.warnings == []


@pytest.fixture(scope="module", params=LAWS)
def noisy(request, synthetic):
    return fit_law(request.param, synthetic(request.param, noise=0.01, seed=2), starts=16, resamples=100)


def test_certificate_of_a_good_fit(noisy):
    found = noisy.certificate
    assert found["converged"] and found["gradient_norm"] < 1e-11
    assert found["newton_decrement"] < 1e-13 * noisy.objective
    assert found["starts"] == 16 and found["share_of_starts"] >= 0.8
    assert found["at_bound"] == [] and 1 < found["condition_number"] < 1e12
    assert found["distance_from_start"] > 0
    assert found["resamples"] == found["resamples_converged"] == 100


def test_intervals_hold_the_truth_and_the_scatter(noisy, truth):
    for name, value in truth[noisy.law.name].items():
        low, high = noisy.interval(name)
        assert low < noisy.parameters[name] < high
        assert low < value < high
        narrow = noisy.interval(name, level=0.5)
        assert low < narrow[0] < narrow[1] < high
    assert noisy.residual_scatter == pytest.approx(0.01, rel=0.3)
    inside = {"params": 1e9, "tokens": 1e10}
    band, wide = noisy.confidence_interval(**inside), noisy.predict_interval(**inside)
    assert wide[0] < band[0] < noisy.predict(**inside) < band[1] < wide[1]
    assert np.log(wide[1] / wide[0]) == pytest.approx(2 * 1.96 * 0.01, rel=0.5)


def test_json_round_trip_keeps_everything(noisy):
    again = Fit.from_json(noisy.to_json())
    assert again.to_json() == noisy.to_json()
    assert again.predict(params=1e9, tokens=1e10) == noisy.predict(params=1e9, tokens=1e10)
    assert again.predict_interval(params=1e9, tokens=1e10) == noisy.predict_interval(params=1e9, tokens=1e10)


def test_allocation_comes_with_intervals(noisy):
    best = noisy.allocation(1e21)
    params, tokens = noisy.allocate(1e21)
    assert (best["params"], best["tokens"]) == (params, tokens)
    assert 6 * params * tokens == pytest.approx(1e21)
    for name, (low, high) in best["interval_95"].items():
        assert low < best[name] < high


def test_a_seed_decides_the_bootstrap_and_row_order_nothing(synthetic):
    runs = synthetic("kaplan", noise=0.01)
    first, again, other = (fit_law("kaplan", runs, starts=4, resamples=20, seed=s) for s in (0, 0, 1))
    assert first.intervals == again.intervals != other.intervals
    shuffled = Runs(runs.frame.sample(frac=1, random_state=0))
    turned = fit_law("kaplan", shuffled, starts=8, resamples=0)
    for name, value in first.parameters.items():
        assert turned.parameters[name] == pytest.approx(value, rel=1e-8)
        assert other.parameters[name] == pytest.approx(value, rel=1e-8)


def test_a_few_wild_rows_hardly_move_a_robust_fit(synthetic, truth):
    runs = synthetic("chinchilla", noise=0.002)
    runs.frame.loc[[5, 17, 30], "loss"] *= 1.5
    robust = fit_law("chinchilla", runs, starts=8, resamples=0)
    squares = fit_law("chinchilla", runs, delta=1e6, starts=8, resamples=0)
    errors = [abs(fit.parameters["E"] / truth["chinchilla"]["E"] - 1) for fit in (robust, squares)]
    assert errors[0] < 0.02 < errors[1]


@pytest.mark.parametrize("name", LAWS)
def test_intervals_cover_the_truth_about_as_often_as_they_say(name, synthetic, truth):
    hits = []
    for seed in range(12):
        fit = fit_law(name, synthetic(name, noise=0.01, seed=100 + seed, data=4), starts=2, resamples=40)
        hits += [low <= truth[name][key] <= high for key, (low, high) in fit.intervals.items()]
    # Over 100 tables of 300 resamples it was 96 to 100 %; 12 tables, whose parameters err together, may
    # miss twice.
    assert np.mean(hits) >= 0.83


def test_rows_used_and_left_out_are_named():
    table = pd.DataFrame({"params": np.geomspace(1e7, 1e9, 9), "tokens": np.geomspace(1e9, 2e10, 9)[::-1]})
    table["loss"] = get_law("kaplan").predict([9e13, 5e13, 0.08, 0.1], **table)
    table["name"] = list("abcdefghi")
    table.loc[3, "tokens"] = np.nan
    table.loc[4, "loss"] = np.inf
    fit = fit_law("kaplan", Runs(table), starts=4, resamples=0)
    assert fit.rows_used == list("abcfghi")
    assert fit.rows_left_out == [("d", "no finite value of tokens"), ("e", "no finite value of loss")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.iloc[:5], "has 5 parameters and the table only 5 usable rows; at least 6 are needed"),
        (lambda t: t.assign(loss=2.0), "all 48 rows of the table have the same loss"),
        (lambda t: t.assign(params=1e9), "all 48 rows of the table have the same params"),
        (lambda t: t.drop(columns="tokens"), "no column 'tokens'"),
        (lambda t: t.assign(loss=-t.loss), "it must be positive"),
    ],
)
def test_tables_that_cannot_be_fitted_are_refused(change, message, synthetic):
    with pytest.raises(ValueError, match=message) as error:
        fit_law("chinchilla", Runs(change(synthetic("chinchilla").frame)))
    assert "\n" not in str(error.value)


def test_resamples_can_all_be_fitted(synthetic):
    law = get_law("chinchilla")
    table = table_of(law, synthetic("chinchilla", sizes=4, data=2))
    weights, redrawn = draw_resamples(np.random.default_rng(0), table, 200, len(law.parameters))
    assert (weights.sum(axis=1) == 8).all() and redrawn > 0
    assert ((weights > 0).sum(axis=1) > len(law.parameters)).all()
    with pytest.raises(ValueError, match="too few different rows"):
        draw_resamples(np.random.default_rng(0), table, 2, 8)


def test_reading_and_fitting_in_two_lines(tmp_path, synthetic):
    path = tmp_path / "table.csv"
    synthetic("kaplan").frame.to_csv(path, index=False)
    fit = fit_law("kaplan", read_runs(path).where("params > 1e8"), starts=4, resamples=0)
    assert fit.predict(params=1e9, tokens=np.array([1e10, 1e11])).shape == (2,)
    assert all(np.isnan(end) for end in fit.interval("N_c"))
    with pytest.raises(ValueError, match="no parameter 'N'"):
        fit.interval("N")


def test_a_large_table_is_searched_on_some_of_its_rows_and_fitted_on_all(synthetic):
    runs = synthetic("kaplan", noise=0.01, sizes=70, data=60)
    law = get_law("kaplan")
    table = table_of(law, runs)
    fit = fit_law(law, runs, starts=3, resamples=0)
    assert len(fit.rows_used) == 4200 and fit.certificate["gradient_norm"] < 1e-9
    whole = follow(law, table, law.coordinates(fit.values)[None] + 0.01, np.ones((1, 4200)), 1e-3)
    assert fit.objective == pytest.approx(whole.objective[0], rel=1e-9)


def test_the_certificate_does_not_depend_on_the_order_of_breaks(truth):
    law, p = get_law("broken_2"), truth["broken_2"]
    swapped = {**p, **{f"{name}{i}": p[f"{name}{3 - i}"] for name in "cdf" for i in (1, 2)}}
    rng, order = np.random.default_rng(0), []
    at = law.coordinates(np.array([law.vector(p), law.vector(swapped)]))
    place = [law.parameter_names.index(name) for name in ("d1", "c1", "f1", "d2", "c2", "f2")]
    gradient, hessian = rng.standard_normal((1, 9)), rng.standard_normal((1, 9, 9))
    other = np.arange(9)
    other[place] = other[place[3:] + place[:3]]
    for coordinates, by in ((at[0], np.arange(9)), (at[1], other)):
        derivatives = gradient[:, by], hessian[:, by][:, :, by]
        minimum = Minima(coordinates[None], np.ones(1), *derivatives, np.ones(1), np.ones(1))
        order.append(_in_order(law, minimum))
    np.testing.assert_array_equal(order[0].coordinates, order[1].coordinates)
    np.testing.assert_array_equal(order[0].gradient, order[1].gradient)
    np.testing.assert_array_equal(order[0].hessian, order[1].hessian)


def test_a_dataframe_is_a_table(synthetic):
    runs = synthetic("kaplan", noise=0.01)
    fit, same = (fit_law("kaplan", each, starts=4, resamples=0) for each in (runs, runs.frame))
    assert fit.parameters == same.parameters
    assert repr(fit).startswith("Fit(kaplan: N_c=") and "48 rows" in repr(fit)
    with pytest.raises(ValueError, match="kaplan is a law of params, tokens, not of param, tokens"):
        fit.predict(param=1e9, tokens=1e9)

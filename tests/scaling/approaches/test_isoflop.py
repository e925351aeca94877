"""isoFLOP minima: exact on parabolas, refused at edges, honest about interpolation."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.approaches.isoflop import (
    IsoFlop,
    isoflop_minima,
    isoflop_warnings,
    optimal_exponent,
    optimal_power_laws,
)
from genlab.scaling.cost import Cost
from genlab.scaling.fitting.fit_law import fit_law
from genlab.scaling.laws import get_law
from genlab.scaling.runs import Runs


def budget_runs(best, budgets=(1e18, 1e19, 1e20), factors=(0.25, 0.5, 1.0, 2.0, 4.0), wobble=1.0):
    """Runs at shared budgets whose log loss is a parabola in log N around `best(budget)`."""
    rows = []
    for budget in budgets:
        for i, params in enumerate(best(budget) * np.array(factors)):
            loss = 3.0 * budget**-0.02 * np.exp(0.03 * np.log(params / best(budget)) ** 2)
            flops = budget * wobble ** (i % 2)
            rows.append((params, flops / (6 * params), flops, loss))
    return Runs(pd.DataFrame(rows, columns=["params", "tokens", "flops", "loss"]))


def test_minima_of_parabolas_are_exact():
    curves = isoflop_minima(budget_runs(lambda c: 1.7e8 * (c / 1e18) ** 0.5))
    assert [curve.flops for curve in curves] == pytest.approx([1e18, 1e19, 1e20])
    assert [curve.best_params for curve in curves] == pytest.approx([1.7e8, 1.7e8 * 10**0.5, 1.7e9])
    assert [curve.best_loss for curve in curves] == pytest.approx([3 * c**-0.02 for c in (1e18, 1e19, 1e20)])
    for curve in curves:
        assert 6 * curve.best_params * curve.best_tokens == pytest.approx(curve.flops)
        assert curve.curve(curve.params) == pytest.approx(curve.loss)
        assert not curve.interpolated and not curve.refused
        assert IsoFlop.from_json(curve.to_json()) == curve
    exponent, constant = optimal_exponent(curves)
    assert exponent == pytest.approx(0.5) and constant * 1e18**0.5 == pytest.approx(1.7e8)


def test_budgets_that_differ_by_whole_batches_are_one():
    curves = isoflop_minima(budget_runs(lambda c: 1.7e8, wobble=1.03))
    assert len(curves) == 3 and all(len(curve.params) == 5 for curve in curves)


@pytest.mark.parametrize(
    ("factors", "reason"), [((1, 2, 4), "the smallest size"), ((0.1, 0.3, 0.9), "the largest size")]
)
def test_minima_at_an_edge_are_refused(factors, reason):
    curves = isoflop_minima(budget_runs(lambda c: 1e8, factors=factors))
    for curve in curves:
        assert curve.best_params is None and reason in curve.refused
        assert np.isnan(curve.curve([1e8])).all()
    assert optimal_exponent(curves) is None


def test_a_grid_of_sizes_by_tokens_is_interpolated():
    law = get_law("chinchilla")
    values = law.vector({"A": 400.0, "B": 2000.0, "E": 1.8, "alpha": 0.35, "beta": 0.37})
    # Factors that share no budget: 2.1 in size, 4 in tokens.
    params, tokens = (
        g.ravel() for g in np.meshgrid(1e8 * 2.1 ** np.arange(7), 1e9 * 4.0 ** np.arange(5))
    )
    loss = law.predict(values, params=params, tokens=tokens)
    runs = Runs(pd.DataFrame({"params": params, "tokens": tokens, "loss": loss}))
    curves = isoflop_minima(runs)
    assert len(curves) == 5 and all(curve.interpolated for curve in curves)
    for curve in curves:
        assert all(".." in name for name in curve.names)
        exact = law.predict(values, params=np.array(curve.params), tokens=np.array(curve.tokens))
        np.testing.assert_allclose(curve.loss, exact, rtol=5e-3)
        np.testing.assert_allclose(6 * np.array(curve.params) * curve.tokens, curve.flops, rtol=1e-9)
        if not curve.refused:
            optimum, _ = law.allocate(values, curve.flops, Cost())
            assert curve.best_params == pytest.approx(optimum, rel=0.25)
    assert sum(not curve.refused for curve in curves) >= 2


def test_tables_without_three_sizes_at_a_budget_have_no_curve():
    two = budget_runs(lambda c: 1e8, factors=(0.5, 2.0))
    assert isoflop_minima(two) == []
    diagonal = Runs(
        pd.DataFrame({"params": [1e6, 1e7, 1e8], "tokens": [1e8, 1e9, 1e10], "loss": [4.0, 3.0, 2.0]})
    )
    assert isoflop_minima(diagonal) == []


def law_runs(noise=0.0, seed=0, off_centre=1.0, reach=4.0, sizes=7):
    """isoFLOP curves at seven budgets of a known Chinchilla law, and that law with its values."""
    law, rng, budgets = get_law("chinchilla"), np.random.default_rng(seed), np.geomspace(1e19, 1e22, 7)
    values = law.vector({"A": 480.0, "B": 2100.0, "E": 1.8, "alpha": 0.35, "beta": 0.28})
    flops = np.repeat(budgets, sizes)
    params = np.outer(law.allocate(values, budgets, Cost())[0], off_centre * np.geomspace(1 / reach, reach, sizes))
    table = pd.DataFrame({"params": params.ravel(), "tokens": flops / (6 * params.ravel()), "flops": flops})
    table["loss"] = law.predict(values, params=table.params, tokens=table.tokens)
    table["loss"] *= np.exp(noise * rng.standard_normal(len(table)))
    return Runs(table), law, values


@pytest.mark.parametrize("method", ["parabola", "akima"])
def test_both_methods_find_the_laws_exponent_and_its_interval_covers_it(method):
    truth = 0.28 / (0.28 + 0.35)
    runs, _, _ = law_runs()
    params, tokens = optimal_power_laws(isoflop_minima(runs, method=method))
    assert params.exponent == pytest.approx(truth, abs=2e-3)
    assert tokens.exponent == pytest.approx(1 - truth, abs=2e-3)
    covered = 0
    for seed in range(20):
        runs, _, _ = law_runs(noise=0.003, seed=seed)
        params, _ = optimal_power_laws(isoflop_minima(runs, method=method, draws=200, seed=seed))
        low, high = params.exponent_interval()
        covered += low <= truth <= high
    assert covered >= 17


def test_each_minimum_knows_its_noise_and_interval():
    runs, _, _ = law_runs(noise=0.003)
    for method in ("parabola", "akima"):
        told = isoflop_minima(runs, method=method, noise="0.003 + 0 * loss")
        same = isoflop_minima(runs, method=method, noise=0.003)
        assert told == same and [IsoFlop.from_json(json.loads(json.dumps(c.to_json()))) for c in told] == told
        for curve in told:
            assert curve.noise == pytest.approx(0.003) and len(curve.draws) > 500
            assert curve.std >= 0.33 * np.log(16) / 6 and curve.interval_95[0] < curve.interval_95[1]
            np.testing.assert_allclose(curve.curve(curve.best_params), curve.best_loss)
    assert isoflop_minima(runs)[0].noise == pytest.approx(0.003, rel=0.4)
    with pytest.raises(ValueError, match="must be positive"):
        isoflop_minima(runs, noise=0.0)
    with pytest.raises(ValueError, match="cannot evaluate the noise"):
        isoflop_minima(runs, noise="0.01 / los")
    with pytest.raises(ValueError, match="must be one of parabola, akima"):
        isoflop_minima(runs, method="spline")


def test_a_budget_whose_noise_hides_the_minimum_is_refused():
    params = np.array([1e8, 2e8, 4e8])
    table = pd.DataFrame({"params": params, "tokens": 1e18 / (6 * params), "loss": [3.001, 3.0, 3.001]})
    (clear,) = isoflop_minima(Runs(table), noise=1e-6)
    (hidden,) = isoflop_minima(Runs(table), noise=0.02)
    assert clear.best_params is not None and clear.draws_refused == 0
    assert hidden.best_params is None and "draws of its noise" in hidden.refused


def test_grids_off_the_minimum_are_biased_and_say_by_how_much():
    """Czech et al. 2026 (arXiv 2603.22339): off-centre grids shift a parabola's minimum, without any noise."""
    centred, law, values = law_runs(reach=2.0)
    fit = dataclasses.replace(fit_law("chinchilla", centred, resamples=0), parameters=law.named(values))
    for off_centre in (0.2, 5.0):
        runs, _, _ = law_runs(off_centre=off_centre, reach=20.0)
        curves = isoflop_minima(runs, noise=1e-4, fit=fit)
        for curve in curves:
            truth = np.log(curve.best_params / law.allocate(values, curve.flops, Cost())[0])
            assert curve.bias == pytest.approx(truth, abs=5e-3)
            assert curve.bias_from == "chinchilla law"
            assert curve.off_centre + truth == pytest.approx(np.log(off_centre), abs=1e-3)
        for curve in isoflop_minima(runs, noise=1e-4):  # without a law, a quartic says most of it
            truth = np.log(curve.best_params / law.allocate(values, curve.flops, Cost())[0])
            assert curve.bias_from == "quartic" and abs(curve.bias - truth) < 0.5 * abs(truth)
    assert any("isoFLOP minima by parabola are biased" in told for told in isoflop_warnings(curves))
    assert abs(curves[0].bias) > 0.05
    assert isoflop_warnings(isoflop_minima(centred, noise=1e-4, fit=fit)) == []


def test_warnings_name_refused_budgets_and_missing_noise():
    curves = isoflop_minima(budget_runs(lambda c: 1e8, factors=(1, 2, 4)))
    assert "3 of 3 isoFLOP curves have no minimum by parabola (at 1e+18" in isoflop_warnings(curves)[0]
    three = isoflop_minima(budget_runs(lambda c: 1e8, factors=(0.4, 1, 2)))
    assert all(curve.std is None for curve in three)
    assert any("no intervals of their own" in told for told in isoflop_warnings(three))
    assert optimal_exponent(three)[0] == pytest.approx(0.0, abs=1e-9)


def test_repeated_sizes_count_by_their_mean():
    runs, _, _ = law_runs()
    apart = np.resize([1.001, 1.02, 1.004], len(runs))  # were the lower of two to count, the curve would change
    up = runs.frame.assign(loss=runs.frame.loss * apart)
    down = runs.frame.assign(loss=runs.frame.loss / apart)
    twice = Runs(pd.concat([up, down], ignore_index=True))
    for method in ("parabola", "akima"):
        once = isoflop_minima(runs, method=method, noise=0.001)
        both = isoflop_minima(twice, method=method, noise=0.001)
        assert [c.best_params for c in both] == pytest.approx([c.best_params for c in once])


@pytest.mark.parametrize("method", ["parabola", "akima"])
def test_a_lucky_seed_at_the_edge_refuses_no_curve(method):
    runs = budget_runs(lambda c: 1e8)
    edge = runs.frame.params == 0.25e8
    lucky, unlucky = (Runs(runs.frame.assign(loss=runs.frame.loss * np.where(edge, f, 1.0))) for f in (0.9, 1 / 0.9))
    assert all(curve.refused for curve in isoflop_minima(lucky, method="parabola"))
    both = Runs(pd.concat([lucky.frame, unlucky.frame], ignore_index=True))
    assert [c.best_params for c in isoflop_minima(both, method=method)] == pytest.approx([1e8] * 3)


def test_without_noise_the_scatter_of_the_minima_gives_the_interval():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(100):
        budgets = np.geomspace(1e18, 1e21, 4)
        best = dict(zip(budgets, 1e8 * (budgets / 1e18) ** 0.5 * np.exp(0.1 * rng.standard_normal(4)), strict=True))
        curves = isoflop_minima(budget_runs(best.__getitem__, budgets=budgets, factors=(0.5, 1.0, 2.0)))
        assert all(curve.std is None and curve.best_params for curve in curves)
        low, high = optimal_power_laws(curves)[0].exponent_interval()
        covered += low <= 0.5 <= high
    assert 90 <= covered < 100  # 81 of 100 with a normal distribution in place of Student's t
    few = optimal_power_laws(curves[:3])[0]
    assert np.isnan(few.exponent_interval()).all()

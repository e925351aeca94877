"""isoFLOP minima: exact on parabolas, refused at edges, honest about interpolation."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.cost import Cost
from genlab.scaling.isoflop import IsoFlop, isoflop_minima, optimal_exponent
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

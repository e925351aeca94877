"""The three approaches agree where they should, and say so where they do not."""

import json

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.approaches.compare import compare_approaches
from genlab.scaling.approaches.comparison import Comparison, Estimate, disagreements_between, summary_of
from genlab.scaling.cost import Cost
from genlab.scaling.laws import get_law
from genlab.scaling.runs import read_runs

TRUE = {"A": 480.0, "B": 2100.0, "E": 1.8, "alpha": 0.35, "beta": 0.37}
EXPONENT = 0.37 / (0.37 + 0.35)


def tables(noise=0.002, seed=0):
    """isoFLOP runs and training curves of one law."""
    law, rng = get_law("chinchilla"), np.random.default_rng(seed)

    def loss(params, tokens):
        exact = law.predict(law.vector(TRUE), params=params, tokens=tokens)
        return exact * np.exp(noise * rng.standard_normal(exact.shape))

    budgets = np.geomspace(1e19, 1e22, 7)
    params = np.outer(law.allocate(law.vector(TRUE), budgets, Cost())[0], np.geomspace(0.25, 4, 7)).ravel()
    tokens = np.repeat(budgets, 7) / (6 * params)
    runs = pd.DataFrame({"params": params, "tokens": tokens, "loss": loss(params, tokens)})
    at = np.geomspace(1e8, 4e11, 50)
    curves = [
        pd.DataFrame({"name": f"run{i}", "params": size, "tokens": at, "loss": loss(size, at)})
        for i, size in enumerate(np.geomspace(3e7, 1e10, 16))
    ]
    return read_runs(runs), pd.concat(curves, ignore_index=True)


@pytest.fixture(scope="module")
def comparison():
    return compare_approaches(*tables(), budgets=(1e21, 3.8e25), resamples=200, decays=False)


def test_all_approaches_cover_the_analytic_exponent_and_sizes(comparison):
    law = get_law("chinchilla")
    names = [(e.approach, e.name) for e in comparison.estimates]
    expected = [(1, "envelope"), (2, "isoflop parabola"), (2, "isoflop akima"), (3, "parametric chinchilla")]
    assert names == expected
    for estimate in comparison.estimates:
        low, high = estimate.exponent_interval_95
        assert low <= EXPONENT <= high and abs(estimate.exponent - EXPONENT) < 0.05
        assert estimate.tokens_exponent == pytest.approx(1 - estimate.exponent, abs=5e-3)
        for at in estimate.budgets:
            params, tokens = law.allocate(law.vector(TRUE), at["flops"], Cost())
            truths = {"params": params, "tokens": tokens, "tokens_per_param": tokens / params}
            for name, truth in truths.items():
                low, high = at["interval_95"][name]
                assert 0.97 * low <= truth <= 1.03 * high and low <= at[name] <= high
    assert comparison.estimates[0].budgets[1]["extrapolation"] == pytest.approx(3800)
    assert comparison.disagreements == () and comparison.agreement.startswith("4 estimates")


def test_a_comparison_survives_json_and_is_a_table(comparison):
    saved = json.loads(json.dumps(comparison.to_json()))
    assert Comparison.from_json(saved) == comparison
    table = comparison.table()
    assert len(table) == 8 and (table.params_low < table.params).all()
    assert comparison["envelope"].approach == 1


def test_approaches_that_cannot_say_anything_say_why():
    runs, _ = tables()
    alone = compare_approaches(runs, resamples=50)
    assert "no training curves" in alone["envelope"].unavailable
    assert len(alone["isoflop parabola"].budgets) == 2  # the middle and the largest of the table
    diagonal = read_runs(pd.DataFrame({"params": [1e6, 1e7, 1e8], "tokens": [1e8, 1e9, 1e10], "loss": [4.0, 3.0, 2.0]}))
    nothing = compare_approaches(diagonal, resamples=50)
    assert all(estimate.unavailable for estimate in nothing.estimates)
    assert nothing.agreement == "no approach says anything" and len(nothing.table()) == 4
    assert Comparison.from_json(json.loads(json.dumps(nothing.to_json()).replace("NaN", "null"))).disagreements == ()
    with pytest.raises(ValueError, match="budgets must be positive"):
        compare_approaches(runs, budgets=(0.0,))


def test_training_curves_above_the_law_disagree_with_it_in_words():
    """As on the way of a decaying learning rate: the fewer tokens of the horizon are seen, the too higher the loss."""
    runs, curves = tables()
    curves["loss"] *= 1 + 0.25 * (1 - np.log(curves.tokens / 1e8) / np.log(4000))
    comparison = compare_approaches(runs, curves, budgets=(1e21,), resamples=200)
    assert any(text.startswith("N_opt at 1e+21 FLOPs: envelope") for text in comparison.disagreements)
    assert any("mid-run" in warning for warning in comparison["envelope"].warnings)


def estimate(name, exponent, width, params, factor):
    at = {"flops": 1e21, "params": params, "interval_95": {"params": [params / factor, params * factor]}}
    ends = (exponent - width, exponent + width)
    return Estimate(2, name, exponent=exponent, exponent_interval_95=ends, budgets=(at,))


def test_disagreement_is_intervals_apart():
    a, b = estimate("a", 0.5, 0.02, 1e9, 1.2), estimate("b", 0.56, 0.03, 1.3e9, 1.2)
    c = estimate("c", 0.5, 0.02, 2e9, 1.1)
    silent = Estimate(1, "silent", unavailable="no curves")
    told = list(disagreements_between([a, b, c, silent]))
    assert told == [
        "exponent of N_opt: a 0.500 (0.480 to 0.520), but b 0.560 (0.530 to 0.590)",
        "exponent of N_opt: b 0.560 (0.530 to 0.590), but c 0.500 (0.480 to 0.520)",
        "N_opt at 1e+21 FLOPs: a 1e+09 (8.33e+08 to 1.2e+09), but c 2e+09 (1.82e+09 to 2.2e+09)",
        "N_opt at 1e+21 FLOPs: b 1.3e+09 (1.08e+09 to 1.56e+09), but c 2e+09 (1.82e+09 to 2.2e+09)",
    ]
    assert "1e+09 to 2e+09, a factor 2.0 apart" in summary_of([a, b, c, silent])
    assert summary_of([a, silent]) == "only one approach says anything: a"

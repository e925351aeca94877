"""isoFLOP budgets of a grid: losses between two runs of one size."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling import get_law
from genlab.scaling.approaches.budgets import _parabola_around, find_budgets
from genlab.scaling.runs import Runs


def test_points_around_the_budget_are_always_used_and_close_ones_never_alone():
    x = np.log([1.0, 10.0, 12.0, 14.0])
    near, weight = _parabola_around(x, np.log(6.0), 1)
    assert list(near) == [0, 1] and (weight > 0).all() and weight.sum() == pytest.approx(1)
    even = np.arange(5.0)
    near, weight = _parabola_around(even, 1.8, 2)
    assert sorted(near) == [1, 2, 3] and weight @ even[near] ** 2 == pytest.approx(1.8**2)


def test_uneven_computes_do_not_blow_up_the_noise():
    law = get_law("chinchilla")
    params, tokens = (g.ravel() for g in np.meshgrid(np.geomspace(1e8, 1e9, 5), [1e9, 2e10, 2.2e10, 2.4e10]))
    clean = law.predict(law.vector(law.published), params=params, tokens=tokens)
    noise = 0.003 * np.random.default_rng(0).standard_normal(len(clean))
    runs = Runs(pd.DataFrame({"params": params, "tokens": tokens, "loss": clean * np.exp(noise)}))
    budgets = find_budgets(runs, np.full(len(runs), 0.003))
    assert budgets
    for budget in budgets:
        truth = law.predict(law.vector(law.published), params=budget.params, tokens=budget.tokens)
        assert np.abs(np.log(budget.loss / truth)).max() < 0.1
        assert (budget.noise <= 0.003 * 1.5).all()

"""What a run costs: 6 N D unless the table says otherwise."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.cost import Cost
from genlab.scaling.runs import Runs


def runs(rate):
    params, tokens = np.array([1e6, 4e6, 9e6]), np.array([1e8, 5e8, 2e8])
    return Runs(pd.DataFrame({"params": params, "tokens": tokens, "flops": rate(params) * tokens}))


def test_six_n_d_is_recognised():
    assert Cost.of(runs(lambda n: 6.03 * n)) == Cost()
    assert Cost.of(Runs(runs(lambda n: n).frame.drop(columns="flops"))) == Cost()
    assert str(Cost()) == "C = 6 N D"


def test_a_power_of_the_size_is_recovered():
    cost = Cost.of(runs(lambda n: 20.0 * n**0.9))
    assert cost.constant == pytest.approx(20.0, rel=1e-9)
    assert cost.params_exponent == pytest.approx(0.9, rel=1e-9)
    assert cost.flops(1e6, cost.tokens(1e18, 1e6)) == pytest.approx(1e18, rel=1e-12)


def test_one_size_gives_a_rate():
    table = runs(lambda n: 9.0 * n).frame.assign(params=2e6)
    table["flops"] = 9.0 * 2e6 * table.tokens
    cost = Cost.of(Runs(table))
    assert (cost.constant, cost.params_exponent) == (pytest.approx(9.0), 1.0)


def test_a_row_in_other_units_does_not_change_the_rule():
    params, tokens = np.geomspace(1e7, 1e9, 30), np.geomspace(1e9, 1e11, 30)
    flops = 6 * params * tokens
    flops[7] /= 8.64e19
    assert Cost.of(Runs(pd.DataFrame({"params": params, "tokens": tokens, "flops": flops}))) == Cost()

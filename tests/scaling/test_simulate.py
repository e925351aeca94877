"""Simulated sweeps: the spread agrees with theory, intervals cover, bad designs are called bad."""

import numpy as np
import pytest

from genlab.scaling.law import Law
from genlab.scaling.laws import get_law
from genlab.scaling.laws.terms import coefficient, exponent
from genlab.scaling.simulate import planned_grid, simulate

CHINCHILLA = {"A": 480.0, "B": 2100.0, "E": 1.8, "alpha": 0.35, "beta": 0.37}
POWER = Law(
    "plain_power", "L = A/N^alpha", "none", ("params",), (coefficient("A", ""), exponent("alpha", "")),
    lambda p, x: p.A * x.params**-p.alpha, linear=("A",),
)  # fmt: skip


def grid(sizes=8, data=6):
    params = ",".join(f"{v:.6g}" for v in np.geomspace(3e7, 1e10, sizes))
    tokens = ",".join(f"{v:.6g}" for v in np.geomspace(1e9, 3e11, data))
    return planned_grid(f"params={params}; tokens={tokens}")


def test_a_plan_is_every_combination():
    plan = planned_grid("params=1e6,1e7; tokens=1e8,1e9,1e10", seeds=2)
    assert len(plan) == 12
    assert plan.frame.drop_duplicates().shape == (6, 2)


@pytest.mark.parametrize("text", ["", "params", "params=1e6,-1", "params=1e6;params=2", "params=a", "params=,"])
def test_a_plan_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match="plan: "):
        planned_grid(text)


def test_the_spread_of_estimates_is_that_of_linear_regression():
    """log L = log A - alpha log N is linear: under least squares, Var(alpha) = noise^2 / sum((x - mean)^2)."""
    plan = planned_grid("params=1e6,3e6,1e7,3e7,1e8,3e8,1e9")
    found = simulate(POWER, plan, {"A": 50.0, "alpha": 0.2}, noise=0.01, tables=150, resamples=0, starts=1, delta=10.0)
    x = np.log(plan.column("params"))
    deviation = 0.01 / np.sqrt(np.sum((x - x.mean()) ** 2))
    told = found.estimates[:, 1]
    assert np.std(told) == pytest.approx(deviation, rel=0.15)  # of 150 tables, +- 6 %
    assert np.mean(told) == pytest.approx(0.2, abs=3 * deviation / np.sqrt(150))
    assert found.interval("alpha") == pytest.approx(np.percentile(told, [2.5, 97.5]))


def test_intervals_of_a_good_design_cover_the_truth():
    found = simulate("chinchilla", grid(8, 4), CHINCHILLA, tables=40, resamples=40, starts=2,
                     predict=planned_grid("params=7e10; tokens=1.4e12"), budgets=(1e23,))  # fmt: skip
    assert found.converged.all() and not found.failures and not found.verdicts
    for name in CHINCHILLA:
        assert 0.85 <= found.coverage(name) <= 1.0  # 40 tables: 0.95 +- 0.03
    (told,) = found.forecasts
    assert told["interval_95"][0] < told["truth"] < told["interval_95"][1]
    assert 0.85 <= told["covered"] <= 1.0
    best = found.budgets[0]["params"]
    assert best["interval_95"][0] < best["truth"] < best["interval_95"][1]


def test_a_design_of_constant_tokens_per_parameter_is_called_bad():
    plan = planned_grid("params=" + ",".join(f"{v:.4g}" for v in np.geomspace(1e7, 1e10, 12)))
    plan.frame["tokens"] = 20 * plan.frame["params"]
    found = simulate("chinchilla", plan, CHINCHILLA, tables=4, resamples=0, starts=4)
    assert any("cannot be told" in verdict for verdict in found.verdicts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": 0.0}, "noise is 0; it must be positive"),
        ({"truth": {"A": 1.0}}, "has the parameters|has no"),
        ({"plan": planned_grid("params=1e6,1e7")}, "has no column 'tokens'"),
        ({"plan": planned_grid("params=1e6,1e7; tokens=1e8")}, "no table drawn on this plan can be fitted"),
    ],
)
def test_a_plan_that_cannot_be_simulated_is_refused(change, message):
    if change.get("truth") and get_law("chinchilla").published:
        pytest.skip("missing constants are the published ones")
    with pytest.raises(ValueError, match=message):
        simulate(**{"law": "chinchilla", "plan": grid(), "truth": CHINCHILLA, "tables": 2, "resamples": 0, **change})

"""The largest share of a rise within one doubling, and seeds in two camps."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.emergence.abilities import read_abilities
from genlab.scaling.emergence.bimodality import bimodal_scales
from genlab.scaling.emergence.scales import Scales, draw_runs, pool
from genlab.scaling.emergence.sharpness import isotonic, sharpness, window_shares


def scales(share, factor=2.0, run=None):
    """Of shares [scales, seeds], a factor apart."""
    share = np.asarray(share, float).reshape(len(share), -1)
    run = np.arange(share.size).reshape(share.shape) if run is None else run
    unknown = np.full(len(share), np.nan)
    return Scales("task", "exact_match", 1e18 * factor ** np.arange(len(share)), share, np.full(share.shape, 500.0),
                  np.full(share.shape, 0.005), 0.0, unknown, run)  # fmt: skip


def logistic(doublings, middle80, middle=None):
    """A rise whose middle 80 % take so many doublings."""
    middle = doublings.mean() if middle is None else middle
    return 1 / (1 + np.exp(-(doublings - middle) * 2 * np.log(9) / middle80))


def test_isotonic_regression_is_the_best_monotone_curve():
    rng = np.random.default_rng(0)
    y, weights = rng.standard_normal((3, 7)).cumsum(axis=1) * 0.3, rng.uniform(0.5, 2, 7)
    found = isotonic(y, weights)
    assert np.all(np.diff(found) >= -1e-12)
    error = np.sum(weights * (found - y) ** 2, axis=1)
    for _ in range(300):  # no monotone curve near it is better
        other = np.sort(found + 0.05 * rng.standard_normal(found.shape), axis=1)
        assert np.all(np.sum(weights * (other - y) ** 2, axis=1) >= error - 1e-12)
    assert isotonic(np.array([1.0, 0.0, 3.0]), np.array([1.0, 3.0, 1.0])) == pytest.approx([0.25, 0.25, 3])


@pytest.mark.parametrize("middle80", [1.0, 2.3, 4.0])
def test_of_a_logistic_curve_it_is_the_hyperbolic_tangent(middle80):
    doublings = np.linspace(0, 14, 141)
    _, shares = window_shares(doublings * np.log(2), logistic(doublings, middle80), np.log(2))
    assert shares.max() == pytest.approx(np.tanh(np.log(9) / (2 * middle80)), abs=2e-3)


def test_a_jump_is_sharp_and_a_slow_rise_is_not():
    doublings = np.arange(8.0)[:, None] + np.zeros((1, 5))
    sharp, slow = sharpness(scales(logistic(doublings, 0.5))), sharpness(scales(logistic(doublings, 6.0)))
    assert sharp.index > 0.9 and slow.index < 0.3 and sharp.levelled and sharp.factor == pytest.approx(2)
    assert sharp.start < 1e18 * 2**3.5 < sharp.end and sharp.agreement == slow.agreement == 1
    assert slow.interval[0] <= slow.index <= slow.interval[1] + 1e-9
    assert sharpness(scales(np.zeros((8, 5)))) is None


def test_values_below_chance_are_format_and_no_rise():
    share = np.concatenate([[-3.0, -1.0, -0.2], np.linspace(0, 1, 9)])
    assert sharpness(scales(share)).index < 0.2


def test_wide_steps_are_judged_by_the_step():
    found = sharpness(scales(logistic(np.arange(8.0) * np.log2(10), 1.0), factor=10.0))
    assert found.factor == pytest.approx(10) and found.index > 0.9


def test_one_wide_step_hides_how_sharp_a_rise_is():
    share = scales([0, 0, 0, 0, 0, 1, 1, 1])
    far = dataclasses.replace(share, flops=share.flops * np.where(np.arange(8) > 4, 30, 1))
    found = sharpness(far)
    assert found.hidden and found.index < 0.45


def test_runs_with_a_history_are_curves_of_their_own(records):
    """Runs that jump at different times: their mean is smooth, each is sharp."""
    at = np.arange(12.0)
    share = np.stack([logistic(at, 0.4, middle) for middle in (2.5, 4.5, 6.5, 8.5)], axis=1)
    each = sharpness(scales(share, run=np.tile(np.arange(4), (12, 1))))
    assert each.curves == 4 and each.index > 0.8
    assert sharpness(scales(share)).index < 0.45
    pooled = pool(read_abilities(records).of("copy", "exact_match"))
    assert len(pooled.histories) == 3 and pooled.share.shape == (20, 2)


def test_dense_evaluations_of_one_run_are_no_seeds_of_each_other():
    """Every 1 % of compute, of two runs; and runs of one name are told apart by their seeds."""
    flops = np.repeat(1e18 * 1.01 ** np.arange(30), 2)
    table = pd.DataFrame({"task": "t", "metric": "exact_match", "value": 0.5, "flops": flops, "run": "small",
                          "seed": [0, 1] * 30, "chance": 0.0, "examples": 100, "params": 1e3})  # fmt: skip
    pooled = pool(read_abilities(table).of("t", "exact_match"))
    assert pooled.share.shape == (30, 2) and len(pooled.histories) == 2
    assert all(len(set(runs)) == 2 for runs in pooled.run) and np.all(np.diff(pooled.flops) > 0)


def test_a_bootstrap_draws_whole_runs():
    """Of two runs, one or the other or both; of one run its rows, as there is nothing else."""
    drawn = draw_runs(np.array(["a", "b", "b", "a"]), 200, np.random.default_rng(0))
    assert {tuple(row) for row in drawn.tolist()} == {(2, 0, 0, 2), (1, 1, 1, 1), (0, 2, 2, 0)}
    alone = draw_runs(np.zeros(4), 200, np.random.default_rng(0))
    assert len(np.unique(alone, axis=0)) > 20 and np.all(alone.sum(axis=1) == 4)


def test_seeds_in_two_camps_are_reported():
    share = np.array([[0.0, 0.01, 0.0], [0.98, 0.11, 0.99], [1.0, 0.99, 1.0]])
    (found,) = bimodal_scales(scales(share))
    assert (found.seeds_low, found.seeds_high) == (1, 2) and found.flops == pytest.approx(2e18)
    assert found.low == pytest.approx(0.11) and found.high == pytest.approx(0.985)
    assert bimodal_scales(scales([[0.0, 0.1, 0.0], [0.4, 0.5, 0.6], [1.0, 0.9, 1.0]])) == []

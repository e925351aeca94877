"""Training curves are read from both kinds of table, and smoothed without a lag."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.approaches.curves import TrainingCurve, training_curves
from genlab.scaling.runs import read_runs


def points(**columns):
    """Two runs, five points each."""
    frame = pd.DataFrame({"name": ["a"] * 5 + ["b"] * 5, "params": [1e6] * 5 + [4e6] * 5})
    frame["tokens"] = [1e6, 2e6, 3e6, 4e6, 5e6] * 2
    frame["loss"] = np.linspace(4, 3, 10)
    return frame.assign(**columns)


def test_a_long_table_is_one_row_a_point():
    (a, b), left_out = training_curves(points())
    assert (a.name, a.params, b.name, b.params) == ("a", 1e6, "b", 4e6) and left_out == []
    np.testing.assert_allclose(a.tokens, [1e6, 2e6, 3e6, 4e6, 5e6])
    np.testing.assert_allclose(b.flops, 6 * 4e6 * b.tokens)
    assert a.horizon == 5e6
    steps = points(steps=[10, 20, 30, 40, 50] * 2, batch_size=100, sequence_length=512).drop(columns="tokens")
    np.testing.assert_allclose(training_curves(steps)[0][0].tokens, 51_200 * np.array([10, 20, 30, 40, 50]))
    np.testing.assert_allclose(training_curves(points(flops=7.0))[0][0].flops, 7.0)


def test_points_without_numbers_go_and_so_do_runs_with_too_few():
    loss = np.linspace(4, 3, 10)
    loss[[0, 6, 7]] = np.nan
    (a,), (some, all_of_it) = training_curves(points(loss=loss))
    assert len(a.loss) == 4 and some == ("a", "1 of 5 points of its training curve have no finite number")
    assert all_of_it.row == "b" and "fewer than 4 points" in all_of_it.reason
    loss[0] = 0.0
    with pytest.raises(ValueError, match="training curve of a has loss of 0; they must be positive"):
        training_curves(points(loss=loss))


def test_genlabs_own_table_holds_curves_in_a_column():
    frame = pd.DataFrame(
        {
            "name": ["a", "b"],
            "params": [1e6, 4e6],
            "tokens": [1e8, 2e8],
            "flops": [6.5e14, 4.8e15],
            "steps": [1000, 1000],
            "loss": [3.0, 2.9],
            "curve": ["10:6.0 100:4.5 500:3.5 900:3.1", ""],
        }
    )
    (a,), ((name, _),) = training_curves(read_runs(frame))
    np.testing.assert_allclose(a.tokens, 1e8 * np.array([0.01, 0.1, 0.5, 0.9]))
    np.testing.assert_allclose(a.flops, 6.5e14 * np.array([0.01, 0.1, 0.5, 0.9]))
    assert a.horizon == 1e8 and name == "b"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (points().drop(columns="name"), "a column name"),
        (points().drop(columns="tokens"), "steps and batch_size"),
        (points().drop(columns="params"), "no column 'params'"),
        (points(params=np.arange(1, 11)), "run a has 5 different params"),
    ],
)
def test_tables_that_are_none_are_refused_in_words(frame, message):
    with pytest.raises(ValueError, match=message):
        training_curves(frame)


def curve_of(loss, tokens):
    return TrainingCurve("a", 1e6, tokens, 6e6 * tokens, loss, tokens[-1])


def test_smoothing_leaves_a_power_law_alone_up_to_its_ends():
    """A line through the neighbours has no lag on a straight line; a mean would be off by 2 % at the ends."""
    for tokens in (np.geomspace(1e6, 1e9, 100), np.linspace(1e6, 1e9, 3000)):
        power = curve_of(30 * tokens**-0.1, tokens)
        smooth = power.smoothed("gaussian", 0.3)
        np.testing.assert_allclose(smooth.loss, 30 * smooth.tokens**-0.1, rtol=1e-9)
        assert {smooth.tokens[0], smooth.tokens[-1]} == {tokens[0], tokens[-1]} and len(smooth.loss) <= 400


def test_smoothing_averages_noise_away_and_wider_does_more():
    rng = np.random.default_rng(0)
    tokens = np.geomspace(1e6, 1e9, 300)
    exact = 30 * tokens**-0.1
    noisy = curve_of(exact * np.exp(0.02 * rng.standard_normal(300)), tokens)
    errors = [np.std(np.log(noisy.smoothed("gaussian", width).loss / exact)) for width in (0.01, 0.1, 0.5)]
    assert errors[0] > 0.015 and errors[1] < 0.01 and errors[2] < 0.005
    assert noisy.smoothed("none") is noisy
    with pytest.raises(ValueError, match="one of gaussian, none"):
        noisy.smoothed("median")
    with pytest.raises(ValueError, match="must be positive"):
        noisy.smoothed("gaussian", 0.0)


def test_curves_of_two_runs_and_losses_below_zero_are_not_used_in_silence():
    points = pd.DataFrame({"name": "a", "params": 1e8, "tokens": np.geomspace(1e8, 1e9, 20), "loss": 3.0})
    twice = pd.concat([points, points.assign(loss=1.5)])
    curves, left_out = training_curves(twice)
    assert not curves and left_out == [("a", "40 points at 20 numbers of tokens: two runs of one name?")]
    with pytest.raises(ValueError, match="training curve of a has loss of -1; they must be positive"):
        training_curves(points.assign(loss=np.r_[-1.0, np.full(19, 3.0)]))

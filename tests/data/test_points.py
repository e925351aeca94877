"""Points of the plane: where they should lie, and that a split is a function of its seed."""

import dataclasses

import numpy as np
import pytest
from sklearn.datasets import make_moons

from genlab.configuration import ConfigError
from genlab.data import Checkerboard, EightGaussians, Points, TwoMoons

COUNT = 20_000


def draw(source):
    return source.sample(np.random.default_rng(0), COUNT)


def test_two_moons_have_the_moments_of_scikit_learns():
    points, (theirs, _) = draw(TwoMoons(noise=0.1)), make_moons(COUNT, noise=0.1, random_state=0)
    theirs = theirs - [0.5, 0.25]
    for power in (1, 2, 4):
        np.testing.assert_allclose((points**power).mean(axis=0), (theirs**power).mean(axis=0), atol=0.02)
    np.testing.assert_allclose((points[:, 0] * points[:, 1]).mean(), (theirs[:, 0] * theirs[:, 1]).mean(), atol=0.02)


def test_eight_gaussians_have_equal_weights_and_the_rayleigh_distances_of_their_width():
    source = EightGaussians(radius=2.0, std=0.1)
    mode, distance = source.modes(draw(source))
    np.testing.assert_allclose(np.bincount(mode) / COUNT, 1 / 8, atol=4 * np.sqrt(7 / 64 / COUNT))
    # Of two normal coordinates, P(distance > r) = exp(-r^2 / 2).
    np.testing.assert_allclose((distance > 2).mean(), np.exp(-2), atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(source.means, axis=-1), 2)


def test_the_checkerboard_fills_half_of_its_board_evenly():
    board = Checkerboard()
    points = draw(board)
    assert board.on_support(points).all()
    uniform = np.random.default_rng(1).uniform(-2, 2, (COUNT, 2))
    np.testing.assert_allclose(board.on_support(uniform).mean(), 0.5, atol=0.015)
    assert not board.on_support(np.array([[2.5, 0.5], [-0.5, 0.5]])).any()
    squares = np.unique(np.floor(points), axis=0, return_counts=True)[1]
    assert len(squares) == 8 and np.ptp(squares) < 0.1 * squares.mean()


def test_splits_are_functions_of_the_seed_and_do_not_share_points():
    data = Points(source=TwoMoons(), examples=300, held_out_examples=50)
    first, again, other = data.load(), data.load(), dataclasses.replace(data, seed=1).load()
    assert len(first.train) == 300 and len(first.held_out) == 50
    assert first.train[7]["point"].dtype == np.float32
    np.testing.assert_array_equal(first.train.arrays["point"], again.train.arrays["point"])
    assert first.description["data_hash"] == again.description["data_hash"] != other.description["data_hash"]
    assert not np.isin(first.held_out.arrays["point"], first.train.arrays["point"]).any()
    with pytest.raises(ConfigError, match="held_out_examples 0 must be at least 1"):
        Points(held_out_examples=0)

"""Prompts of random functions, and the best predictions from them against brute force."""

import numpy as np
import pytest

from genlab.configuration import ConfigError, from_json, to_json
from genlab.data.functions import (
    Functions,
    GaussianClasses,
    LinearFunctions,
    normals,
    pool_predictions,
    ridge_predictions,
)

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(3, 9, 4)), RNG.normal(size=(3, 9))


def prompts(functions, count=4_000, points=9, split="held_out"):
    source = getattr(Functions(functions, points, held_out_examples=count).load(), split)
    return source.gather(np.arange(count))


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_regression_at_every_k_is_the_regression_of_the_points_before(ridge):
    found = ridge_predictions(X, Y, ridge)
    for n, k in np.ndindex(Y.shape):
        past, told = X[n, :k], Y[n, :k]
        if ridge:
            w = np.linalg.inv(past.T @ past + ridge * np.eye(4)) @ past.T @ told
        else:
            w = np.linalg.lstsq(past, told, rcond=None)[0] if k else np.zeros(4)
        np.testing.assert_allclose(found[n, k], X[n, k] @ w, rtol=1e-6, atol=1e-9)


def test_a_pool_is_weighted_by_its_likelihood():
    pool = RNG.normal(size=(5, 4))
    found = pool_predictions(X, Y, pool, noise=0.7)
    for n, k in np.ndindex(Y.shape):
        weights = np.array([np.prod(np.exp(-(Y[n, :k] - X[n, :k] @ w) ** 2 / (2 * 0.49))) for w in pool])
        np.testing.assert_allclose(found[n, k], weights @ pool @ X[n, k] / weights.sum(), rtol=1e-9)


def test_a_pool_of_one_task_is_known_from_the_first_point_on():
    functions = LinearFunctions(4, tasks=1)
    assert list(functions.predictions(X, Y)) == ["ridge", "least_squares", "pool"]
    examples = prompts(functions, 500, split="train")
    error = np.square(functions.predictions(examples["x"], examples["y"])["pool"] - examples["y"]).mean(axis=0)
    np.testing.assert_allclose(error, 0.25, rtol=0.25)


def test_the_bayes_classifier_is_the_ratio_of_the_two_marginal_likelihoods():
    """All points y_i x_i are jointly normal: covariance I + s^2 between any two in each dimension."""
    functions = GaussianClasses(4, separation=0.8)
    y = np.where(Y > 0, 1.0, -1.0)
    found = functions.predictions(X, y)["bayes"]

    def log_density(signed_KD):
        covariance = np.eye(len(signed_KD)) + 0.64
        return -0.5 * np.einsum("id,ij,jd->", signed_KD, np.linalg.inv(covariance), signed_KD)

    for n, k in np.ndindex(Y.shape):
        past = y[n, :k, None] * X[n, :k]
        odds = log_density(np.vstack([past, X[n, k]])) - log_density(np.vstack([past, -X[n, k]]))
        np.testing.assert_allclose(found[n, k], odds, rtol=1e-9, atol=1e-12)


def test_no_ridge_beats_the_noise_variance_on_the_prompts_that_are_drawn():
    examples = prompts(LinearFunctions(4, noise=0.5))
    errors = {ridge: np.square(ridge_predictions(examples["x"], examples["y"], ridge) - examples["y"]).mean(0)
              for ridge in (0.0625, 0.25, 1.0)}
    assert (errors[0.25][1:].sum() < errors[0.0625][1:].sum()) and (errors[0.25][1:].sum() < errors[1.0][1:].sum())
    told = LinearFunctions(4, noise=0.5).predictions(examples["x"], examples["y"])["ridge"]
    np.testing.assert_allclose(np.square(told - examples["y"]).mean(0), errors[0.25])
    expected = LinearFunctions(4, noise=0.5).chance()["squared_error"]
    assert errors[0.25][0] == pytest.approx(expected, rel=0.1) and errors[0.25][8] > 0.25


def test_the_bayes_classifier_is_calibrated_on_the_prompts_that_are_drawn():
    functions = GaussianClasses(4, separation=0.8)
    examples = prompts(functions)
    p = 1 / (1 + np.exp(-functions.predictions(examples["x"].astype(float), examples["y"].astype(float))["bayes"]))
    for low, high in ((0.1, 0.3), (0.6, 0.8)):
        here = (p > low) & (p < high)
        assert (examples["y"][here] > 0).mean() == pytest.approx(p[here].mean(), abs=0.03)


@pytest.mark.parametrize("functions", [LinearFunctions(3), LinearFunctions(3, tasks=2), GaussianClasses(3)])
def test_a_prompt_is_a_pure_function_of_seed_split_and_index(functions):
    data = Functions(functions, points=5)
    splits = from_json(to_json(data)).load()
    batch = splits.train.gather(np.array([7, 123_456_789, 7]))
    assert batch["x"].shape == (3, 5, 3) and batch["y"].shape == (3, 5) and batch["y"].dtype == np.float32
    for name, array in batch.items():
        np.testing.assert_array_equal(array[0], array[2])
        np.testing.assert_array_equal(array[1], splits.train[123_456_789][name])
        assert (array[0] != splits.held_out[7][name]).any()
    assert len(splits.train) == 10**9
    other = Functions(functions, points=5, seed=1).load()
    assert (other.train[7]["x"] != batch["x"][0]).any()
    assert other.description["data_hash"] != splits.description["data_hash"]
    with pytest.raises(IndexError, match="there is no example 4096 among 4096"):
        splits.held_out[4096]


def test_a_pool_of_tasks_is_for_training_alone():
    functions = LinearFunctions(2, noise=0.0, tasks=3)
    for split, different in (("train", 3), ("held_out", 50)):
        examples = prompts(functions, 50, points=4, split=split)
        w = [np.linalg.lstsq(x, y, rcond=None)[0].round(3) for x, y in zip(examples["x"], examples["y"], strict=True)]
        assert len({tuple(each) for each in w}) == different


def test_normals_are_normal():
    drawn = normals(np.arange(1, 2_001, dtype=np.uint64), 50)
    assert drawn.shape == (2_000, 50) and np.isfinite(drawn).all()
    np.testing.assert_allclose([drawn.mean(), drawn.std(), (drawn**4).mean()], [0, 1, 3], atol=0.06)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: LinearFunctions(0), "dimensions 0 must be at least 1"),
    (lambda: LinearFunctions(noise=-1.0), "noise -1.0 must not be negative"),
    (lambda: GaussianClasses(separation=0.0), "separation 0.0 must be above 0"),
    (lambda: Functions(points=0), "points 0 must be at least 1"),
])  # fmt: skip
def test_bad_input_is_one_line(make, message):
    with pytest.raises(ConfigError, match=message):
        make()

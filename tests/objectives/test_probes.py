"""Probes and calibration against closed forms and brute force."""

import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.objectives.calibration import Calibration
from genlab.objectives.probes import (
    FewShotProbe,
    NearestNeighbours,
    left_out_errors,
    ridge_classifier,
    two_way_estimate,
)

RNG = np.random.default_rng(0)


def clusters(separation, examples=400, width=6, classes=4, seed=0):
    random = np.random.default_rng(seed)
    label = random.integers(0, classes, examples)
    centres = np.eye(classes, width) * separation
    return {"features": centres[label] + random.normal(size=(examples, width)), "label": label}


def collector(separation):
    splits = {"train": clusters(separation), "held_out": clusters(separation, seed=1)}
    return lambda split, names, examples=0: splits[split]


def test_ridge_is_the_solution_of_its_normal_equations_at_the_best_leave_one_out_error():
    x, labels = RNG.normal(size=(30, 5)), RNG.integers(0, 3, 30)
    targets = 2.0 * np.eye(3)[labels] - 1
    unit = np.linalg.svd(x - x.mean(0), compute_uv=False)[0] ** 2 / 5

    def solve(x, targets, ridge):
        centred = x - x.mean(0)
        weights = np.linalg.solve(centred.T @ centred + ridge * np.eye(5), centred.T @ (targets - targets.mean(0)))
        return weights, targets.mean(0) - x.mean(0) @ weights

    def left_out(ridge):
        """Centred once: the means stay those of all examples, as in the closed form's 1/N."""
        errors = []
        whole_x = np.hstack([x - x.mean(0), np.ones((30, 1))])
        penalty = np.diag([ridge] * 5 + [0])
        for i in range(30):
            keep = np.arange(30) != i
            beta = np.linalg.solve(whole_x[keep].T @ whole_x[keep] + penalty, whole_x[keep].T @ targets[keep])
            errors.append(targets[i] - whole_x[i] @ beta)
        return np.array(errors)

    ridges = unit * 10.0 ** np.arange(-4, 5)
    best = min(ridges, key=lambda ridge: np.square(left_out(ridge)).mean())
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    closed = left_out_errors(u, s**2 / (s**2 + best), targets - targets.mean(0))
    np.testing.assert_allclose(closed, left_out(best), rtol=1e-8)
    weights, intercept = ridge_classifier(x, labels, 3)
    expected_weights, expected_intercept = solve(x, targets, best)
    np.testing.assert_allclose(weights, expected_weights, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(intercept, expected_intercept, rtol=1e-8, atol=1e-10)


def test_more_shots_and_better_features_give_a_better_probe():
    probe = FewShotProbe(shots=(5, 25), draws=5)
    found = probe.run(collector(3.0))
    assert found["probe_25_shot"].mean > found["probe_5_shot"].mean > 0.7
    chance = probe.run(collector(0.0))["probe_25_shot"]
    assert abs(chance.mean - 0.25) < 4 * chance.standard_error


def test_a_probe_needs_enough_labelled_examples_and_labels():
    with pytest.raises(ConfigError, match="a probe on 200 examples a class needs that many: one class has"):
        FewShotProbe(shots=(200,)).run(collector(1.0))
    with pytest.raises(ConfigError, match="needs labels; this dataset has none"):
        FewShotProbe().run(lambda *_: {"features": np.zeros((3, 2))})


def test_the_standard_error_covers_examples_and_draws():
    """Of 1,000 tables of example effects, draw effects and noise, 95 % lie within 1.96 standard errors, +- 2.5 %."""
    random = np.random.default_rng(3)
    hits = 0
    for _ in range(1_000):
        values = random.normal(size=(100, 1)) + random.normal(size=(1, 20)) * 0.3 + random.normal(size=(100, 20))
        mean, error = two_way_estimate(values)
        hits += abs(mean) < 1.96 * error
    assert abs(hits / 1_000 - 0.95) < 0.025


def test_nearest_neighbours_agree_with_a_loop():
    train, held_out = clusters(1.5), clusters(1.5, seed=1)
    votes = np.zeros((400, 4))
    for i, query in enumerate(held_out["features"]):
        cosine = train["features"] @ query / np.linalg.norm(train["features"], axis=1) / np.linalg.norm(query)
        for j in np.argsort(cosine)[-20:]:
            votes[i, train["label"][j]] += np.exp(cosine[j] / 0.07)
    expected = (votes.argmax(1) == held_out["label"]).mean()
    found = NearestNeighbours().run(collector(1.5))["knn_20"]
    assert found.mean == pytest.approx(expected) and 0.5 < found.mean < 0.95
    assert found.standard_error == pytest.approx(np.sqrt(expected * (1 - expected) / 399))


def probabilities(confidence, examples=20_000):
    """A classifier of two classes that is right as often as `accuracy(confidence)` says."""
    p = RNG.uniform(0.5, 1.0, examples)
    right = RNG.random(examples) < confidence(p)
    both = np.stack([p, 1 - p], axis=1)
    found = {"probabilities": both, "label": np.where(right, 0, 1)}
    return lambda split, names, examples=0: found


def test_a_calibrated_classifier_has_no_calibration_error_and_an_overconfident_one_has_its_excess():
    calibrated = Calibration().run(probabilities(lambda p: p))
    assert calibrated["calibration_error"].mean < 4 * calibrated["calibration_error"].standard_error < 0.03
    over = Calibration().run(probabilities(lambda p: p - 0.2))
    np.testing.assert_allclose(over["calibration_error"].mean, 0.2, atol=0.02)
    assert over["brier_score"].mean > calibrated["brier_score"].mean


def test_the_brier_score_of_a_coin_is_a_half():
    coin = {"probabilities": np.full((10, 2), 0.5), "label": np.arange(10) % 2}
    assert Calibration().run(lambda *_: coin)["brier_score"] == pytest.approx((0.5, 0.0))

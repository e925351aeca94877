import numpy as np

from genlab.objectives.metric import ratio_estimate


def test_equal_weights_give_the_textbook_standard_error():
    values = np.random.default_rng(0).normal(size=50)
    estimate = ratio_estimate(values, np.ones(50))
    np.testing.assert_allclose(estimate, [values.mean(), values.std(ddof=1) / np.sqrt(50)], rtol=1e-12)


def test_padding_does_not_count():
    totals, weights = np.array([1.0, 2.0, 4.0, 0.0]), np.array([1.0, 1.0, 1.0, 0.0])
    assert ratio_estimate(totals, weights) == ratio_estimate(totals[:3], weights[:3])


def test_standard_error_covers_a_ratio_of_sums():
    """Of 2,000 samples of 200 examples with unequal weights, 95 % lie within 1.96 standard errors, +- 2 %."""
    random = np.random.default_rng(1)
    weights = random.integers(1, 20, size=(2000, 200)).astype(float)
    totals = weights * 2.0 + random.normal(size=weights.shape) * weights
    means, errors = np.array([ratio_estimate(t, w) for t, w in zip(totals, weights, strict=True)]).T
    assert abs(np.mean(np.abs(means - 2.0) < 1.96 * errors) - 0.95) < 0.02

"""Power laws of compute: exact on exact points, weighted as stated, intervals that cover."""

import numpy as np
import pytest

from genlab.scaling.approaches.power_laws import power_law

FLOPS = np.geomspace(1e18, 1e22, 9)


def test_exact_points_give_the_exact_law():
    law = power_law(FLOPS, 0.3 * FLOPS**0.47)
    assert law.exponent == pytest.approx(0.47, abs=1e-12) and law.constant == pytest.approx(0.3)
    np.testing.assert_allclose(law(1e25), 0.3 * 1e25**0.47)
    assert np.isnan(law.exponent_interval()).all() and np.isnan(law.interval([1e20, 1e25])).all()


def test_weights_are_one_over_the_variance():
    rng = np.random.default_rng(0)
    std = rng.uniform(0.01, 0.3, len(FLOPS))
    sizes = FLOPS**0.5 * np.exp(std * rng.standard_normal(len(FLOPS)))
    exponent, constant = np.polyfit(np.log(FLOPS), np.log(sizes), 1, w=1 / std)  # polyfit squares its weights
    law = power_law(FLOPS, sizes, std)
    assert (law.exponent, law.log_constant) == pytest.approx((exponent, constant), rel=1e-9)
    plain = np.polyfit(np.log(FLOPS), np.log(sizes), 1)[0]
    assert abs(law.exponent - plain) > 1e-3 and power_law(FLOPS, sizes).exponent == pytest.approx(plain)


def test_intervals_cover_the_truth_also_where_the_points_scatter_more_than_said():
    rng = np.random.default_rng(1)
    for told in (1.0, 0.2):
        covered = 0
        for seed in range(200):
            std = np.full(len(FLOPS), 0.1)
            sizes = 3 * FLOPS**0.5 * np.exp(std * rng.standard_normal(len(FLOPS)))
            law = power_law(FLOPS, sizes, told * std, draws=200, seed=seed)
            low, high = law.interval(1e24)
            covered += low <= 3 * 1e24**0.5 <= high
        assert 0.85 <= covered / 200 <= 0.99


@pytest.mark.parametrize(
    ("flops", "values", "std", "message"),
    [
        ([1e18, 1e18], [1e6, 2e6], None, "different FLOPs"),
        ([1e18, 1e19], [1e6, np.nan], None, "positive"),
        ([1e18, 1e19], [1e6], None, "as many values"),
        ([1e18, 1e19], [1e6, 2e6], [0.1, 0.0], "std must be 2 positive numbers"),
    ],
)
def test_nonsense_is_refused_in_words(flops, values, std, message):
    with pytest.raises(ValueError, match=message):
        power_law(flops, values, std)

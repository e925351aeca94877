import numpy as np
import pytest

from genlab.training.schedules import learning_rate_at


def curve(decay, steps=100, warmup=10, final=0.1, decay_fraction=0.2):
    return np.array([
        learning_rate_at(np.int32(t), decay=decay, peak=2.0, warmup_steps=float(warmup), total_steps=float(steps),
                         final_fraction=final, decay_fraction=decay_fraction) for t in range(steps)])


@pytest.mark.parametrize("decay", ["cosine", "linear", "constant", "warmup_stable_decay"])
def test_warms_up_linearly_to_the_peak(decay):
    np.testing.assert_allclose(curve(decay)[:10], 2.0 * np.arange(1, 11) / 10, rtol=1e-6)


@pytest.mark.parametrize("decay", ["cosine", "linear", "warmup_stable_decay"])
def test_ends_at_the_final_fraction(decay):
    np.testing.assert_allclose(curve(decay)[-1], 0.2, rtol=1e-5)


def test_cosine_is_half_way_in_the_middle():
    np.testing.assert_allclose(curve("cosine")[54], 2.0 * (0.1 + 0.9 / 2), rtol=1e-5)


def test_linear_falls_by_equal_steps():
    np.testing.assert_allclose(np.diff(curve("linear")[9:]), -2.0 * 0.9 / 90, rtol=1e-3)


def test_stable_phase_is_flat_until_the_decay():
    values = curve("warmup_stable_decay")
    np.testing.assert_allclose(values[9:80], 2.0, rtol=1e-6)
    np.testing.assert_allclose(np.diff(values[80:]), -2.0 * 0.9 / 20, rtol=1e-3)


def test_constant_stays():
    np.testing.assert_allclose(curve("constant")[9:], 2.0, rtol=1e-6)

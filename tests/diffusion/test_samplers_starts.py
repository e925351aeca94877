"""Where sampling starts, and settings that would go wrong without a word."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.diffusion.grids import UniformTime, starting_at
from genlab.diffusion.paths import VE, VP
from genlab.diffusion.samplers import AdaptiveOde, Ddim, DpmSolverPlusPlus, EdmStochastic, Sampler
from genlab.diffusion.schedules import Discrete
from tests.diffusion.affine import gaussian

KEY = jax.random.key(3)
DDPM = VP(Discrete(1_000))


@pytest.mark.parametrize(("start", "first", "counts"), [
    (1e-3, 1.0, (2, 999, 1_000)), (1e-3, 0.1, (60, 99, 100)), (0.5, 1.0, (500, 501)), (0.0012, 0.0503, (48, 49)),
])
def test_no_discrete_time_comes_twice(start, first, counts):
    path = VP(Discrete(1_000), start=start)
    for count in counts:
        index = np.asarray(UniformTime().times(path, count, first)) * 1_000
        np.testing.assert_allclose(index, np.round(index), atol=1e-3)
        assert (np.diff(np.round(index)) < 0).all() and index[-1] >= 1_000 * start - 1e-3
    with pytest.raises(ConfigError, match=f"this schedule has {counts[-1]} times"):
        UniformTime().times(path, counts[-1] + 1, first)


def test_all_the_times_left_are_sampled(float64):
    """With a time twice, DPM-Solver++ divided by a length of 0."""
    sampler = Sampler(DpmSolverPlusPlus(), 50, grid=UniformTime())
    found = sampler.sample(DDPM, gaussian(DDPM), KEY, x=jnp.ones((2, 2)), start_time=0.05).x
    assert np.isfinite(found).all()


@pytest.mark.parametrize("sampler", [Sampler(Ddim(), 3), AdaptiveOde(1e-2, 1e-2)])
def test_noise_of_a_shape_is_of_the_end(sampler, float64):
    """Noise of the prior, 50 on VE, where sigma is .7 came out 49 times too wide."""
    path = VE()
    with pytest.raises(ConfigError, match="is of the path's end, 1; to start at 0.5, give an x of that time"):
        sampler.sample(path, gaussian(path), KEY, (2, 2), start_time=0.5)


def test_the_end_may_be_named(float64):
    sampler, path = Sampler(Ddim(), 2), VE()
    at_end, by_default = (sampler.sample(path, gaussian(path), KEY, (2, 2), start_time=t, dtype=jnp.float64).x
                          for t in (path.end, None))
    np.testing.assert_array_equal(at_end, by_default)


def test_samples_end_where_they_are_told_to():
    path = VP(start=1e-5)
    assert starting_at(path, None) is path and starting_at(path, 1e-3) == VP(start=1e-3)
    assert Sampler(Ddim(), 3).times(starting_at(path, 1e-3))[-1] == np.float32(1e-3)
    for start in (1e-6, 1.0):
        with pytest.raises(ConfigError, match=f"start={start:g} is no time of this path, which is trained from 1e-05"):
            starting_at(path, start)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: EdmStochastic(churn=-1.0), "needs churn >= 0"),
    (lambda: EdmStochastic(least=2.0, most=1.0), "0 <= least <= most"),
    (lambda: EdmStochastic(inflation=0.0), "inflation > 0"),
    (lambda: AdaptiveOde(rtol=-1e-3), "rtol=-0.001 and atol=1e-05 must not be negative"),
    (lambda: AdaptiveOde(0.0, 0.0), "nor both 0"),
])
def test_bad_settings_are_one_line(make, message):
    with pytest.raises(ConfigError, match=message):
        make()

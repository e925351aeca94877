"""Grids of times: the spacing that each promises, on every path, between the right ends."""

import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.diffusion.grids import Karras, UniformAngle, UniformLogSnr, UniformTime
from genlab.diffusion.paths import EDM, VE, VP, Flow, SubVP
from genlab.diffusion.schedules import Cosine, Discrete

PATHS = {"vp": VP(), "cosine": VP(Cosine()), "ddpm": VP(Discrete(1_000)), "sub_vp": SubVP(), "ve": VE(), "edm": EDM(),
         "flow": Flow()}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


def spaced(values):
    """The largest difference between two gaps, over their mean."""
    gaps = np.diff(values)
    return np.abs(gaps / gaps.mean() - 1).max()


@pytest.mark.usefixtures("float64")
@every_path
def test_spacing(path):
    ends = np.array([path.end, path.start])
    for grid in (UniformTime(), UniformLogSnr(), UniformAngle(), Karras()):
        t = grid.times(path, 50)
        assert t.shape == (50,) and (np.diff(t) < 0).all()
        np.testing.assert_allclose(t[jnp.array([0, -1])], ends, rtol=1e-12)
        if grid == UniformTime():
            assert spaced(t) < (1e-9 if not path.max_steps else 0.05)
        elif grid == UniformLogSnr():
            assert spaced(path.log_snr(t)) < 1e-6
        elif grid == UniformAngle():
            assert spaced(np.arctan(path.sigma(t) / path.alpha(t))) < 1e-6
        else:
            assert spaced((path.sigma(t) / path.alpha(t)) ** (1 / 7)) < 1e-6


@every_path
def test_times_fall_in_float32_too(path):
    for grid in (UniformTime(), UniformLogSnr(), UniformAngle(), Karras()):
        t = grid.times(path, 1_000)
        assert t.dtype == jnp.float32 and (np.diff(t) < 0).all()
        assert t[0] <= np.float32(path.end) and t[-1] >= np.float32(path.start)


def test_karras_by_equation_5():
    n, rho, least, most = 18, 7, 0.002, 80.0
    i = np.arange(n)
    sigma = (most ** (1 / rho) + i / (n - 1) * (least ** (1 / rho) - most ** (1 / rho))) ** rho
    np.testing.assert_allclose(Karras().times(EDM(), n), sigma, rtol=1e-5)


def test_a_discrete_schedule_is_sampled_at_its_own_times():
    path = VP(Discrete(100), start=0.01)
    np.testing.assert_allclose(UniformTime().times(path, 100), np.arange(100, 0, -1) / 100, rtol=1e-6)
    np.testing.assert_allclose(UniformTime().times(path, 8) * 100, [100, 86, 72, 58, 43, 29, 15, 1], atol=1e-4)


def test_sampling_may_start_on_the_way():
    for grid in (UniformTime(), UniformLogSnr(), Karras(rho=3.0)):
        t = grid.times(VP(), 10, first=0.4)
        np.testing.assert_allclose([t[0], t[-1]], [0.4, 1e-3], rtol=1e-6)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: UniformTime().times(VP(Discrete(10), start=0.1), 11), "11 steps are more than the discretisation allows: "
     "this schedule has 10 times"),
    (lambda: UniformLogSnr().times(VP(), 1), "steps must be at least 2, not 1"),
    (lambda: Karras().times(VP(), 5, first=1.5), "above 0.001 and up to 1, not at 1.5"),
    (lambda: Karras().times(VP(), 5, first=1e-3), "above 0.001 and up to 1, not at 0.001"),
    (lambda: Karras(rho=0.0), "grid.rho=0.0 must be positive"),
])
def test_bad_grids_are_one_line(make, message):
    with pytest.raises(ConfigError, match=message):
        make()

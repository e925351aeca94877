"""Samplers on Gaussian data with the exact score: their mean and covariance, in float64, without Monte Carlo error.

Bounds are about twice what was found. Deterministic solvers begin with the true terminal distribution, since they keep
the prior's mismatch (a mean off by 3e-3 on VP); stochastic ones begin with the prior, which they forget.
"""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.diffusion.grids import UniformLogSnr
from genlab.diffusion.paths import EDM, VE, VP, Flow, SubVP
from genlab.diffusion.samplers import (
    Ancestral,
    AnnealedLangevin,
    Ddim,
    DpmSolverPlusPlus,
    EdmStochastic,
    EulerMaruyama,
    Heun,
    Move,
    ReverseDiffusion,
    Sampler,
    deterministic,
)
from genlab.diffusion.schedules import Discrete
from tests.diffusion.affine import (
    COVARIANCE,
    MEAN,
    Exact,
    ExactCorrector,
    affine_step,
    error,
    gaussian,
    moments_at,
    moments_of,
    propagated,
    rows_of,
)

pytestmark = pytest.mark.usefixtures("float64")

PATHS = {"vp": VP(), "sub_vp": SubVP(), "ve": VE(), "flow": Flow(), "edm": EDM(),
         "ddpm": VP(Discrete(1_000))}
LANGEVIN = ExactCorrector(corrector=AnnealedLangevin())


def from_prior(path, sampler):
    """Errors of (mean, covariance) of samples against the data's."""
    mean, covariance = propagated(sampler, path, np.zeros(2), path.prior_std**2 * np.eye(2))
    return error(mean, MEAN), error(covariance, COVARIANCE)


def from_truth(path, sampler):
    mean, covariance = propagated(sampler, path, *moments_at(path, path.end))
    return error(mean, MEAN), error(covariance, COVARIANCE)


@pytest.mark.parametrize("name", PATHS)
def test_euler_maruyama_at_1_000_steps(name):
    """Within 2e-3 but on DDPM's times: see schedules.Discrete, and the test after this one."""
    mean, covariance = from_prior(PATHS[name], Sampler(Exact(EulerMaruyama()), 1_000))
    assert mean < 2e-3 and covariance < (3e-3 if name == "ddpm" else 2e-3)


def test_ddpm_s_own_sampler_at_its_1_000_times():
    mean, covariance = from_prior(PATHS["ddpm"], Sampler(Exact(Ancestral("forward")), 1_000))
    assert mean < 2e-3 and covariance < 2e-3


@pytest.mark.parametrize("name", ["vp", "sub_vp", "ve"])
def test_dpm_solver_at_100_steps(name):
    mean, covariance = from_truth(PATHS[name], Sampler(DpmSolverPlusPlus(), 100))
    assert mean < 1e-6 and covariance < 3e-3


@pytest.mark.parametrize("name", ["vp", "sub_vp", "flow"])
def test_heun_in_time_at_100_steps(name):
    """In time, on any grid of times; in the noise level, Heun's default, the next test's bounds hold."""
    mean, covariance = from_truth(PATHS[name], Sampler(Heun("time"), 100))
    assert mean < 1e-3 and covariance < 1e-3


@pytest.mark.parametrize(("name", "bound"), [("vp", 4e-3), ("ve", 3e-3)])
def test_heun_in_the_noise_level_at_100_steps(name, bound):
    mean, covariance = from_truth(PATHS[name], Sampler(Heun(), 100))
    assert mean < 1e-6 and covariance < bound


@pytest.mark.parametrize(("name", "bound"), [("vp", 6e-3), ("sub_vp", 7e-3), ("ve", 1.2e-2), ("edm", 7e-3)])
def test_reverse_diffusion_at_1_000_steps(name, bound):
    mean, covariance = from_prior(PATHS[name], Sampler(Exact(ReverseDiffusion()), 1_000))
    assert mean < 2e-3 and covariance < bound


@pytest.mark.parametrize("name", ["ve", "ddpm"])
def test_the_two_variances_of_ancestral_sampling_bound_the_right_one(name):
    """Ho et al. 2020, section 3.2."""
    traces = []
    for variance in ("posterior", "forward"):
        sampler = Sampler(Exact(Ancestral(variance)), 1_000)
        mean, covariance = propagated(sampler, PATHS[name], *moments_at(PATHS[name], PATHS[name].end))
        assert error(mean, MEAN) < 1e-6 and error(covariance, COVARIANCE) < 2e-2
        traces.append(np.trace(covariance))
    assert traces[0] < np.trace(COVARIANCE) < traces[1]


@pytest.mark.parametrize("name", ["vp", "ve"])
def test_a_corrector_leaves_none_of_its_noise(name):
    """Reverse diffusion, each step followed by a Langevin step that is in proportion to the noise level."""
    mean, covariance = from_prior(PATHS[name], Sampler(Exact(ReverseDiffusion()), 1_000, corrector=LANGEVIN))
    assert mean < 1e-3 and covariance < 6e-3


@pytest.mark.parametrize("solver", [EulerMaruyama(), Ddim(eta=1.0)])
def test_errors_of_stochastic_solvers_halve_with_the_step(solver):
    """Weak order 1."""
    coarse, fine = (from_truth(VP(), Sampler(Exact(solver), steps, grid=UniformLogSnr()))[1] for steps in (200, 400))
    assert np.log2(coarse / fine) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", ["vp", "ve"])
def test_the_sde_by_dpm_solver_is_of_weak_order_2(name):
    """A step is linear in x, the data that the step before expected, and noise, here three rows of a batch."""
    path, variance, solver = PATHS[name], 0.4, DpmSolverPlusPlus(stochastic=True)
    denoise, noise = gaussian(path, np.zeros(1), variance * np.eye(1)), jnp.eye(3)[:, 2:]

    (start, true) = (moments_at(path, t, np.zeros(1), variance * np.eye(1))[1][0, 0] for t in (path.end, path.start))

    @jax.jit
    def settled(times):
        def step(carry, ends):
            covariance, length = carry
            x, (data, length) = solver.step(denoise, jnp.eye(3)[:, :1], Move(path, *ends, len(times)), None,
                                            (jnp.eye(3)[:, 1:2], length))
            linear = jnp.concatenate([x, data], axis=1).T
            return (linear[:, :2] @ covariance @ linear[:, :2].T + jnp.outer(linear[:, 2], linear[:, 2]), length), None

        begin = (jnp.diag(jnp.array([start, 0.0])), jnp.asarray(np.inf))
        return jax.lax.scan(step, begin, (times[:-1], times[1:]))[0][0][0, 0]

    with mock.patch.object(deterministic, "noise_like", lambda key, x: noise):
        coarse, fine = (abs(settled(UniformLogSnr().times(path, steps + 1)) - true) for steps in (320, 640))
    assert 1e-9 < fine < 1e-4 and np.log2(coarse / fine) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("name", ["ve", "flow"])
def test_churn_leaves_the_moments_right(name):
    mean, covariance = from_truth(PATHS[name], Sampler(Exact(EdmStochastic(inflation=1.0)), 400))
    assert mean < 1e-6 and covariance < 3e-3


@pytest.mark.parametrize("ratio", [0.3, 0.15])
def test_langevin_alone_has_its_known_stationary_variance(ratio):
    """x + e score + sqrt(2 e) z on N(0, v) settles at v / (1 - e / (2 v)): a bias of e / 2 that halves with e."""
    path, t = VP(), 0.4
    _, target = moments_at(path, t)
    size = 2 * (ratio * float(path.sigma(jnp.float64(t)))) ** 2
    corrector = AnnealedLangevin(ratio)

    @jax.jit
    def settle(rows):
        def step(i, rows):
            return affine_step(lambda x: corrector.correct(path, gaussian(path), x, t, jax.random.key(0)), rows)

        return jax.lax.fori_loop(0, 400, step, rows)

    mean, covariance = moments_of(settle(rows_of(jnp.zeros(2), 3 * jnp.eye(2))))
    variance_D, axes_DE = np.linalg.eigh(target)
    biased = axes_DE @ np.diag(variance_D / (1 - size / (2 * variance_D))) @ axes_DE.T
    np.testing.assert_allclose(mean, moments_at(path, t)[0], rtol=1e-6)
    np.testing.assert_allclose(covariance, biased, rtol=1e-6)
    assert np.trace(covariance - target) == pytest.approx(size, rel=ratio)  # e / 2 a dimension, to first order

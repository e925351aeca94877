"""The loop of a sampler: the turns that its parts take, what it keeps on the way, and what it refuses."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoised, from_noise
from genlab.diffusion.grids import Karras, UniformAngle, UniformLogSnr, UniformTime
from genlab.diffusion.paths import EDM, VE, VP, Flow
from genlab.diffusion.samplers import (
    AdaptiveOde,
    Ancestral,
    AnnealedLangevin,
    Corrector,
    Ddim,
    DpmSolverPlusPlus,
    EdmStochastic,
    EulerMaruyama,
    Heun,
    Langevin,
    RungeKutta4,
    Sampler,
    Solver,
)
from genlab.diffusion.schedules import Discrete
from tests.diffusion.affine import gaussian

KEY = jax.random.key(7, impl="rbg")
X = np.random.default_rng(0).normal(size=(4, 2))


def denoiser(path):
    """Expects a noise that is no exact one of any data."""
    return lambda x, t: from_noise(path, x, t, jnp.tanh(x + t))


@dataclass(frozen=True)
class Doubling(Solver):
    grid = UniformTime()
    stochastic = False

    def step(self, denoiser, x, move, key, memory):
        return 2 * x, memory


@dataclass(frozen=True)
class Adding(Corrector):
    def correct(self, path, denoiser, x, t, key):
        return x + 1

    def step_size(self, path, score, noise, t):
        raise NotImplementedError


def negative(x, t):
    return Denoised(-x, x)


def test_solver_corrector_constraint_and_denoiser_take_turns():
    """Each of two steps is 10 (2 x + 1), from 1: 30, 610; the last is 10 (-x), and its time 0."""
    seen = []

    def tenfold(x, t, key):
        jax.debug.callback(lambda t: seen.append(float(t)), t, ordered=True)
        return 10 * x

    sampler = Sampler(Doubling(), 3, Adding())
    found = sampler.sample(Flow(start=0.25), negative, KEY, x=jnp.ones((2, 1)), constraint=tenfold, intermediates=3)
    jax.effects_barrier()
    np.testing.assert_array_equal(found.trajectory[:, 0, 0], [30, 610, -6_100])
    np.testing.assert_array_equal(found.x, found.trajectory[-1])
    np.testing.assert_allclose(found.times, [0.5, 0.25, 0])
    np.testing.assert_allclose(seen, [0.5, 0.25, 0])


def test_without_the_last_step_there_is_one_more_before_it():
    found = Sampler(Doubling(), 3, denoise=False).sample(Flow(), negative, KEY, x=jnp.ones((2, 1)), intermediates=3)
    np.testing.assert_array_equal(found.trajectory[:, 0, 0], [2, 4, 8])
    assert found.times[-1] == np.float32(1e-3)


@pytest.mark.parametrize(("asked", "kept"), [(1, [16]), (2, [4, 16]), (4, [2, 4, 8, 16])])
def test_intermediates_are_evenly_spaced_and_end_in_the_sample(asked, kept):
    sampler = Sampler(Doubling(), 4, denoise=False)
    found = sampler.sample(EDM(), negative, KEY, x=jnp.ones((1, 1)), intermediates=asked)
    np.testing.assert_array_equal(found.trajectory[:, 0, 0], kept)
    assert (np.diff(found.times) < 0).all() and found.times.shape == (asked,)


def test_sampling_may_start_from_x_on_the_way():
    """From x_t of one point of data, back to it."""
    path, t = VP(), 0.3
    sampler = Sampler(DpmSolverPlusPlus(), 30)
    point, noise = jnp.array([[0.4, -1.0]]), jnp.array([[0.3, 1.2]])

    def certain(x, t):
        return Denoised(jnp.broadcast_to(point, x.shape), (x - path.alpha(t) * point) / path.sigma(t))

    x = path.perturb(point, noise, t)
    found = sampler.sample(path, certain, KEY, x=x, start_time=t, intermediates=30)
    np.testing.assert_allclose(sampler.times(path, t)[0], t)
    np.testing.assert_allclose(found.x, point, atol=1e-6)
    # On the way it is on the straight line of the same noise.
    np.testing.assert_allclose(found.trajectory[9], path.perturb(point, noise, found.times[9]), atol=1e-5)


@pytest.mark.parametrize(("sampler", "calls"), [
    (Sampler(Heun(), 18), 35),  # As Karras et al. 2022 count.
    (Sampler(DpmSolverPlusPlus(), 20), 20),
    (Sampler(EulerMaruyama(), 5, AnnealedLangevin(steps=2)), 13),
    (Sampler(RungeKutta4(), 5, denoise=False), 20),
])
def test_evaluations_are_counted(sampler, calls):
    path, seen = EDM(), []

    def counted(x, t):
        jax.debug.callback(lambda: seen.append(1))
        return denoiser(path)(x, t)

    sampler.sample(path, counted, KEY, (2, 2))
    jax.effects_barrier()
    assert len(seen) == sampler.evaluations == calls


def test_stochastic_says_whether_two_runs_differ():
    path, x = EDM(), jnp.asarray(X, jnp.float32)
    for sampler in (Sampler(Ddim(), 4), Sampler(Ddim(eta=0.5), 4), Sampler(EdmStochastic(churn=0.0), 4),
                    Sampler(Ddim(), 4, AnnealedLangevin())):
        draw = jax.jit(lambda key, sampler=sampler: sampler.sample(path, denoiser(path), key, x=x).x)
        differ = not np.array_equal(draw(KEY), draw(jax.random.key(8, impl="rbg")))
        assert differ == sampler.stochastic, sampler


@pytest.mark.usefixtures("float64")
def test_the_adaptive_ode_goes_where_fixed_steps_go():
    path, x = VP(), jnp.asarray(X)
    ode = AdaptiveOde(1e-8, 1e-8, denoise=False)
    found = jax.jit(lambda x: ode.sample(path, gaussian(path), KEY, x=x, intermediates=3))(x)
    fixed = Sampler(RungeKutta4(), 300, grid=UniformLogSnr(), denoise=False)
    true = jax.jit(lambda x: fixed.sample(path, gaussian(path), KEY, x=x).x)(x)
    np.testing.assert_allclose(found.x, true, atol=1e-6)
    np.testing.assert_allclose(found.times, np.linspace(1, 1e-3, 4)[1:])
    np.testing.assert_array_equal(found.trajectory[-1], found.x)
    back = jax.jit(lambda x: ode.solve(path, gaussian(path), x, path.start, path.end))(found.x)
    assert back.success
    np.testing.assert_allclose(back.x, x, atol=1e-5)


def test_an_ode_that_cannot_be_solved_gives_nan():
    """Steps run out on a velocity that turns faster than they can follow, though x is finite there."""
    def shaking(x, t):
        return Denoised(0 * x, 1e4 * jnp.cos(1e6 * t + x))

    assert np.isnan(AdaptiveOde().sample(EDM(), shaking, KEY, (1, 2)).x).all()


def draw(sampler, path=None, **options):
    path = path or VP()
    return sampler.sample(path, denoiser(path), KEY, **({"shape": (2, 2)} | options))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: draw(Sampler(Ancestral(), 11), VP(Discrete(10), start=0.1)), "11 steps are more than the discretisation"),
    (lambda: draw(Sampler(), start_time=1.2), "up to 1, not at 1.2"),
    (lambda: draw(AdaptiveOde(), start_time=1e-4), "above 0.001 and up to 1, not at 0.0001"),
    (lambda: draw(Sampler(), x=X), "either with noise of a shape, or with a given x"),
    (lambda: draw(AdaptiveOde(), shape=None), "either with noise of a shape, or with a given x"),
    (lambda: draw(Sampler(steps=5), intermediates=6), "5 steps have no 6 images on the way"),
    (lambda: draw(AdaptiveOde(), constraint=lambda x, t, key: x), "cannot meet a constraint after each"),
    (lambda: Ancestral("learned"), 'variance must be "posterior" or "forward", not "learned"'),
    (lambda: Heun("angle"), 'variable must be "noise_level" or "time", not "angle"'),
    (lambda: Ddim(eta=1.5), "eta=1.5 lies in"),
    (lambda: Langevin(signal_to_noise=0.0), "signal_to_noise > 0 and steps >= 1"),
    (lambda: AnnealedLangevin(steps=0), "signal_to_noise > 0 and steps >= 1"),
])
def test_bad_requests_are_one_line(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_times_are_even_in_the_angle_where_t_does_not_suit():
    for solver in (EulerMaruyama(), Ancestral()):
        assert Sampler(solver).grid_on(EDM()) == Sampler(solver).grid_on(Flow()) == UniformAngle()
        assert Sampler(solver).grid_on(VP()) == Sampler(solver).grid_on(VE()) == UniformTime()
        assert Sampler(solver, grid=Karras()).grid_on(EDM()) == Karras()

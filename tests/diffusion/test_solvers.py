"""Steps of solvers and correctors against their papers' formulas in NumPy, in float64."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.diffusion.denoiser import from_noise
from genlab.diffusion.grids import UniformTime
from genlab.diffusion.paths import EDM, VE, VP, Flow, SubVP
from genlab.diffusion.samplers import (
    Ancestral,
    AnnealedLangevin,
    Ddim,
    DpmSolverPlusPlus,
    EdmStochastic,
    EulerMaruyama,
    Heun,
    Langevin,
    Move,
    ReverseDiffusion,
    Sampler,
    stochastic,
)
from genlab.diffusion.samplers.solver import noise_like
from genlab.diffusion.schedules import Discrete

pytestmark = pytest.mark.usefixtures("float64")
KEY = jax.random.key(7, impl="rbg")
X = np.random.default_rng(0).normal(size=(4, 3))


def network(x, t):
    """A noise that is no exact one of any data."""
    return jnp.tanh(x + t) + 0.3 * x[:, ::-1]


def denoiser(path):
    return lambda x, t: from_noise(path, x, t, network(x, t))


def stepped(solver, path, t, s, count=18):
    """(one step from X, the noise it draws), in NumPy."""
    x = jnp.asarray(X)
    found, _ = jax.jit(lambda x, t, s: solver.step(denoiser(path), x, Move(path, t, s, count), KEY, solver.start(x)))(
        x, jnp.float64(t), jnp.float64(s))
    return np.asarray(found), np.asarray(noise_like(KEY, x))


def test_ddpm_is_algorithm_2_of_ho_2020():
    """The same noises, N = 6: x_{t-1} = (x_t - beta_t / sqrt(1 - abar_t) noise) / sqrt(1 - beta_t) + sqrt(v_t) z."""
    N, drawn = 6, []
    path, beta = VP(Discrete(N, 0.01, 0.4), start=1 / N), np.linspace(0.01, 0.4, N)
    abar = np.cumprod(1 - beta)

    def recorded(key, x):
        noise = noise_like(key, x)
        jax.debug.callback(lambda noise: drawn.append(np.asarray(noise)), noise, ordered=True)
        return noise

    for variance in ("posterior", "forward"):
        drawn.clear()
        with mock.patch.object(stochastic, "noise_like", recorded):
            sampler = Sampler(Ancestral(variance), N, grid=UniformTime())
            found = sampler.sample(path, denoiser(path), KEY, x=X).x
        jax.effects_barrier()
        x = X
        for i in reversed(range(N)):
            x = (x - beta[i] / np.sqrt(1 - abar[i]) * np.asarray(network(x, (i + 1) / N))) / np.sqrt(1 - beta[i])
            if i:
                v = beta[i] * ((1 - abar[i - 1]) / (1 - abar[i]) if variance == "posterior" else 1)
                x = x + np.sqrt(v) * drawn[N - 1 - i]
        assert len(drawn) == N - 1
        np.testing.assert_allclose(found, x, rtol=1e-9)


@pytest.mark.parametrize("path", [VP(), SubVP(), VE(), Flow()], ids=["vp", "sub_vp", "ve", "flow"])
def test_first_steps_with_all_their_noise_are_those_of_ancestral_sampling(path):
    solvers = (Ancestral(), Ddim(eta=1.0), DpmSolverPlusPlus(stochastic=True))
    ancestral, *others = (stepped(solver, path, 0.6, 0.5)[0] for solver in solvers)
    for other in others:
        np.testing.assert_allclose(other, ancestral, rtol=1e-9)


def test_steps_on_ve_by_song_2020():
    """Equations 46 and 47, and Euler-Maruyama's; sigma = .01 5000^t, g^2 = 2 sigma^2 log 5000."""
    t, s = 0.6, 0.55
    sigma_t, sigma_s = 0.01 * 5_000**t, 0.01 * 5_000**s
    gap, score = sigma_t**2 - sigma_s**2, -np.asarray(network(X, t)) / sigma_t
    found, z = stepped(ReverseDiffusion(), VE(), t, s)
    np.testing.assert_allclose(found, X + gap * score + np.sqrt(gap) * z, rtol=1e-9)
    found, z = stepped(Ancestral(), VE(), t, s)
    np.testing.assert_allclose(found, X + gap * score + sigma_s * np.sqrt(gap) / sigma_t * z, rtol=1e-9)
    found, z = stepped(EulerMaruyama(), VE(), t, s)
    g = sigma_t * np.sqrt(2 * np.log(5_000))
    np.testing.assert_allclose(found, X + (t - s) * g**2 * score + g * np.sqrt(t - s) * z, rtol=1e-9)


def test_reverse_diffusion_on_ddpm_by_song_2020():
    """Equation 46 for the steps of equation 10: (2 - sqrt(1 - beta)) x + beta score + sqrt(beta) z."""
    beta = np.linspace(0.01, 0.4, 6)
    found, z = stepped(ReverseDiffusion(), VP(Discrete(6, 0.01, 0.4), start=1 / 6), 4 / 6, 3 / 6)
    score = -np.asarray(network(X, 4 / 6)) / np.sqrt(1 - np.prod(1 - beta[:4]))
    mean = (2 - np.sqrt(1 - beta[3])) * X + beta[3] * score
    np.testing.assert_allclose(found, mean + np.sqrt(beta[3]) * z, rtol=1e-9)


@pytest.mark.parametrize("path", [VP(), SubVP()], ids=["vp", "sub_vp"])
def test_euler_maruyama_has_the_reverse_drift(path):
    t, s = 0.6, 0.55
    beta, B = 0.1 + 19.9 * t, 0.1 * t + 19.9 / 2 * t**2
    g2 = beta * (1 if path == VP() else 1 - np.exp(-2 * B))
    sigma = np.sqrt(1 - np.exp(-B)) if path == VP() else 1 - np.exp(-B)
    score = -np.asarray(network(X, t)) / sigma
    found, z = stepped(EulerMaruyama(), path, t, s)
    drift = -0.5 * beta * X - g2 * score
    np.testing.assert_allclose(found, X - (t - s) * drift + np.sqrt(g2 * (t - s)) * z, rtol=1e-9)


@pytest.mark.parametrize(("time", "churn", "gamma"), [
    (2.0, 5.0, 5 / 18), (2.0, 40.0, np.sqrt(2) - 1), (60.0, 5.0, 0.0), (0.04, 5.0, 0.0), (2.0, 0.0, 0.0),
])
def test_the_stochastic_edm_solver_is_algorithm_2_of_karras_2022(time, churn, gamma):
    lower = 0.8 * time
    found, z = stepped(EdmStochastic(churn=churn), EDM(), time, lower)
    raised = time * (1 + gamma)
    x = X + 1.003 * np.sqrt(raised**2 - time**2) * z
    slope = np.asarray(network(x, raised))
    end = x + (lower - raised) * slope
    np.testing.assert_allclose(found, x + (lower - raised) * 0.5 * (slope + network(end, lower)), rtol=1e-9)


def test_correctors_by_algorithms_4_and_5():
    path, t, r = VP(), 0.4, 0.2
    z = np.asarray(noise_like(jax.random.fold_in(KEY, 0), jnp.asarray(X)))
    sigma = float(path.sigma(jnp.float64(t)))
    score = -np.asarray(network(X, t)) / sigma
    ratio = np.linalg.norm(z, axis=1).mean() / np.linalg.norm(score, axis=1).mean()
    for corrector, size in ((Langevin(r), 2 * (r * ratio) ** 2), (AnnealedLangevin(r), 2 * (r * sigma) ** 2)):
        found = corrector.correct(path, denoiser(path), jnp.asarray(X), jnp.float64(t), KEY)
        np.testing.assert_allclose(found, X + size * score + np.sqrt(2 * size) * z, rtol=1e-9)


def test_steps_of_a_corrector_follow_one_another():
    path, t, x = VP(), jnp.float64(0.4), jnp.asarray(X)
    found = AnnealedLangevin(steps=2).correct(path, denoiser(path), x, t, KEY)
    size = 2 * (0.16 * path.sigma(t)) ** 2
    for i in range(2):
        score = denoiser(path)(x, t).score(path, t)
        x = x + size * score + jnp.sqrt(2 * size) * noise_like(jax.random.fold_in(KEY, i), x)
    np.testing.assert_allclose(found, x, rtol=1e-9)


def test_without_churn_it_is_heuns():
    heun, edm = (stepped(solver, VP(), 0.6, 0.5)[0] for solver in (Heun(), EdmStochastic(churn=0.0)))
    np.testing.assert_allclose(heun, edm, rtol=1e-12)

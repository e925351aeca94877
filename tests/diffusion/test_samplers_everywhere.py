"""Every solver with every corrector on every path: two modes of points come out as they should."""

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.diffusion.denoiser import from_data
from genlab.diffusion.grids import UniformLogSnr
from genlab.diffusion.paths import EDM, VE, VP, Flow, SubVP, expand
from genlab.diffusion.samplers import (
    Ancestral,
    AnnealedLangevin,
    Ddim,
    DpmSolverPlusPlus,
    EdmStochastic,
    EulerMaruyama,
    Heun,
    Langevin,
    ReverseDiffusion,
    RungeKutta4,
    Sampler,
    Solver,
)
from genlab.diffusion.schedules import Cosine, Discrete

SOLVERS = (EulerMaruyama(), ReverseDiffusion(), Ancestral(), EdmStochastic(), Ddim(), Ddim(eta=0.5), Heun(),
           Heun("time"), RungeKutta4(), DpmSolverPlusPlus(), DpmSolverPlusPlus(stochastic=True))
CORRECTORS = (None, Langevin(), AnnealedLangevin(steps=2))
PATHS = {"vp": VP(Cosine()), "ddpm": VP(Discrete(1_000)), "sub_vp": SubVP(), "ve": VE(), "edm": EDM(), "flow": Flow()}
MODE, WIDTH = np.array([0.8, -0.5], np.float32), 0.25


def two_modes(path):
    """The exact denoiser of two round normal distributions, of equal shares, about MODE and -MODE."""
    def denoise(x, t):
        alpha, sigma = expand(path.alpha(t), x), expand(path.sigma(t), x)
        variance = alpha**2 * WIDTH**2 + sigma**2
        sign = jnp.tanh(alpha / variance * (x * MODE).sum(axis=-1, keepdims=True))
        return from_data(path, x, t, (alpha * WIDTH**2 * x + sigma**2 * sign * MODE) / variance)

    return denoise


@dataclass(frozen=True)
class OneOf(Solver):
    """The solver of a traced number: all of them in one compiled loop."""

    number: Any
    grid = UniformLogSnr()
    stochastic = True

    def start(self, x):
        return DpmSolverPlusPlus().start(x)

    def step(self, denoiser, x, move, key, memory):
        def branch(solver):
            own = memory if isinstance(solver, DpmSolverPlusPlus) else ()
            x_s, own = solver.step(denoiser, x, move, key, own)
            return x_s, own or memory

        return jax.lax.switch(self.number, [functools.partial(branch, solver) for solver in SOLVERS])


@dataclass(frozen=True)
class OneCorrector:
    """Likewise."""

    number: Any
    steps = 1

    def correct(self, path, denoiser, x, t, key):
        def branch(corrector):
            return x if corrector is None else corrector.correct(path, denoiser, x, t, key)

        return jax.lax.switch(self.number, [functools.partial(branch, corrector) for corrector in CORRECTORS])


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_every_solver_with_every_corrector(path):
    @jax.jit
    def draw(solver, corrector, key):
        sampler = Sampler(OneOf(solver), 64, OneCorrector(corrector))
        return sampler.sample(path, two_modes(path), key, (1_000, 2)).x

    for (i, solver), (j, corrector) in itertools.product(enumerate(SOLVERS), enumerate(CORRECTORS)):
        said = f"{solver} with {corrector}"
        x = np.asarray(draw(i, j, jax.random.key(i, impl="rbg")))
        assert x.dtype == np.float32 and np.isfinite(x).all(), said
        side = np.sign(x @ MODE)[:, None]
        assert side.mean() == pytest.approx(0, abs=0.12), said
        np.testing.assert_allclose((side * x).mean(axis=0), MODE, atol=0.05, err_msg=said)
        np.testing.assert_allclose((side * x).std(axis=0), WIDTH, rtol=0.18, err_msg=said)

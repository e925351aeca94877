"""Samplers: a solver, a corrector and a grid of times make one compiled loop from noise to data."""

from genlab.diffusion.samplers.adaptive import AdaptiveOde
from genlab.diffusion.samplers.correctors import AnnealedLangevin, Corrector, Langevin
from genlab.diffusion.samplers.deterministic import Ddim, DpmSolverPlusPlus, Heun, RungeKutta4
from genlab.diffusion.samplers.sampler import Sampler, Samples
from genlab.diffusion.samplers.solver import Move, Solver
from genlab.diffusion.samplers.stochastic import Ancestral, EdmStochastic, EulerMaruyama, ReverseDiffusion

__all__ = [
    "AdaptiveOde",
    "Ancestral",
    "AnnealedLangevin",
    "Corrector",
    "Ddim",
    "DpmSolverPlusPlus",
    "EdmStochastic",
    "EulerMaruyama",
    "Heun",
    "Langevin",
    "Move",
    "ReverseDiffusion",
    "RungeKutta4",
    "Sampler",
    "Samples",
    "Solver",
]

"""The samplers that commands know by name."""

import dataclasses

from genlab.configuration import ConfigError
from genlab.diffusion.samplers import (
    AdaptiveOde,
    Ancestral,
    Ddim,
    DpmSolverPlusPlus,
    EdmStochastic,
    EulerMaruyama,
    Heun,
    Langevin,
    ReverseDiffusion,
    RungeKutta4,
    Sampler,
)

SAMPLERS = {
    "dpm_solver": Sampler(DpmSolverPlusPlus(), 20),
    "dpm_solver_sde": Sampler(DpmSolverPlusPlus(stochastic=True), 20),
    "ddim": Sampler(Ddim(), 50),
    "heun": Sampler(Heun(), 18),
    "runge_kutta": Sampler(RungeKutta4(), 20),
    "ode": AdaptiveOde(),
    "euler_maruyama": Sampler(EulerMaruyama(), 500),
    "reverse_diffusion": Sampler(ReverseDiffusion(), 500),
    "ancestral": Sampler(Ancestral(), 500),
    "edm": Sampler(EdmStochastic(), 64),
    "predictor_corrector": Sampler(ReverseDiffusion(), 500, Langevin()),
}


def named_sampler(name: str, steps: int | None = None) -> Sampler | AdaptiveOde:
    """The sampler of a name, with so many steps, or with its own number of them.

    Raises:
      ConfigError: an unknown name, or steps of a sampler that chooses its own.
    """
    if name not in SAMPLERS:
        raise ConfigError(f"there is no sampler {name!r}; there are: {', '.join(SAMPLERS)}")
    sampler = SAMPLERS[name]
    if steps is None:
        return sampler
    if not isinstance(sampler, Sampler):
        raise ConfigError(f"the sampler {name} chooses its own steps; leave --steps out")
    return dataclasses.replace(sampler, steps=steps)

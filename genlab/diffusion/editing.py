"""Editing by noise: an image is noised part of the way and sampled back.

SDEdit (Meng et al. 2021, arXiv 2108.01073).
"""

import math

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoiser
from genlab.diffusion.paths import VP, Path
from genlab.diffusion.samplers import AdaptiveOde, Sampler, Samples


def edit_time(path: Path, strength: float) -> float:
    """Returns the time that images are noised to: where sigma / alpha is the linear VP process's at t = strength.

    So a strength is the paper's t_0 for its VP models and means as much noise on every other path, up to the most that
    the path has. The paper uses .3 to .6. Strength 1 is the end of the path.

    Raises:
      ConfigError: a strength outside (0, 1], or less noise than the path starts with.
    """
    if not 0 < strength <= 1:
        raise ConfigError(f"the strength of an edit is more than 0 (the image itself) and at most 1 (nothing of it), "
                          f"not {strength}")
    if strength == 1:
        return path.end
    with jax.ensure_compile_time_eval():
        # A tenth more noise than at the start: the steps of a shorter way would vanish in float32.
        first = path.log_snr(jnp.asarray(path.start, jnp.float32)) - 2 * jnp.log(1.1)
        log_snr = VP().log_snr(jnp.asarray(strength, jnp.float32))
        if log_snr > first:
            raise ConfigError(f"strength={strength} is no more noise than the path starts with; the least it can undo "
                              f"is {float(VP().time_at(first)):.2g}")
        t = min(float(path.time_at(log_snr)), path.end)
    # A discrete schedule's times are i / N: the next one up.
    return math.ceil(t * path.max_steps - 1e-3) / path.max_steps if path.max_steps else t


def edit(sampler: Sampler | AdaptiveOde, path: Path, denoiser: Denoiser, image, strength: float, key,
         **options) -> Samples:
    """Returns samples near `image`: the more `strength`, the less is kept of it. To be jitted by the caller.

    Args:
      sampler: any; all its steps are spent from `edit_time` down.
      path: of the denoiser.
      denoiser: of the model, guided or not.
      image: [B, ...], in the units of the data: a photograph, a sketch, a collage.
      strength: in (0, 1], see `edit_time`.
      key: of the noise and the sampler.
      **options: of `sampler.sample`, such as a constraint that keeps a part as it is (`inverse.Replacement`).

    Raises:
      ConfigError: a strength out of range.
    """
    t = edit_time(path, strength)
    key_noise, key_sampler = jax.random.split(key)
    noise = jax.random.normal(key_noise, image.shape, image.dtype)
    return sampler.sample(path, denoiser, key_sampler, x=path.perturb(image, noise, jnp.asarray(t, image.dtype)),
                          start_time=t, **options)

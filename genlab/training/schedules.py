"""Learning-rate schedules as functions of traced numbers, so that one compilation serves every run length."""

from typing import Literal

import jax
import jax.numpy as jnp

Decay = Literal["cosine", "linear", "constant", "warmup_stable_decay"]


def learning_rate_at(
    step: jax.Array,
    *,
    decay: Decay,
    peak: jax.Array,
    warmup_steps: jax.Array,
    total_steps: jax.Array,
    final_fraction: jax.Array,
    decay_fraction: jax.Array,
) -> jax.Array:
    """Learning rate of the update that follows `step` completed updates.

    Linear warm-up reaches `peak` at update number `warmup_steps`; the decay reaches
    `peak * final_fraction` at update number `total_steps`. Every argument may be traced.

    Args:
      step: completed updates, from 0.
      decay: "cosine" (Loshchilov & Hutter 2016, eq. 5, one cycle), "linear", "constant", or
        "warmup_stable_decay" (Hu et al. 2024, MiniCPM: constant, then linear over the last
        `decay_fraction` of all steps).
      peak: the highest learning rate.
      warmup_steps: updates of linear warm-up.
      total_steps: updates of the whole run.
      final_fraction: the last learning rate as a fraction of the peak.
      decay_fraction: share of all steps that decay; "warmup_stable_decay" only.

    Returns:
      A float32 scalar.
    """
    update = jnp.asarray(step, jnp.float32) + 1.0
    warmup = jnp.minimum(1.0, update / jnp.maximum(warmup_steps, 1.0))
    start = warmup_steps
    if decay == "warmup_stable_decay":
        start = jnp.maximum(total_steps * (1.0 - decay_fraction), warmup_steps)
    progress = jnp.clip((update - start) / jnp.maximum(total_steps - start, 1.0), 0.0, 1.0)
    if decay == "constant":
        shape = jnp.ones_like(progress)
    elif decay == "cosine":
        shape = final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
    else:
        shape = 1.0 - (1.0 - final_fraction) * progress
    return peak * warmup * shape

"""Ordinary differential equations with adaptive steps, by diffrax (Kidger 2021, arXiv 2202.02435)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp


class Solution(NamedTuple):
    """Where an ODE leads.

    Attributes:
      x: at the end.
      evaluations: of the velocity, int32.
      success: whether the end was reached within the steps allowed.
    """

    x: Any
    evaluations: jax.Array
    success: jax.Array


def solve(velocity: Callable[[jax.Array, Any], Any], x, t0, t1, rtol: float = 1e-5, atol: float = 1e-5,
          max_steps: int = 4_096) -> Solution:
    """Integrates dx/dt = velocity(t, x) from t0 to t1, in either direction, by Dormand and Prince's method of order 5.

    One error for the whole batch sets the step: the root mean square over all of x.

    Args:
      velocity: of a time and a pytree like x.
      x: arrays, or a pytree of them.
      t0, t1: may be traced.
      rtol, atol: the error allowed a step is atol + rtol |x|.
      max_steps: then `success` is False.
    """
    dtype = jnp.result_type(*jax.tree.leaves(x))
    t0, t1 = jnp.asarray(t0, dtype), jnp.asarray(t1, dtype)
    found = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, x, _: velocity(t, x)), diffrax.Dopri5(), t0, t1, None, x,
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol), max_steps=max_steps, throw=False)
    # Six a step and one to begin with: the last slope of a step is the first of the next.
    evaluations = 6 * found.stats["num_steps"] + 1
    return Solution(jax.tree.map(lambda a: a[-1], found.ys), evaluations, found.result == diffrax.RESULTS.successful)

"""Losses of residuals: what a fit sums over its rows, by name.

Each is rho(r) with a threshold delta, about r^2 / 2 for |r| well below delta (squared everywhere), so that
objectives of different losses can be compared on residuals that are small. A fit needs three things of a loss:

  rho(r)                  the summand
  psi(r) = rho'(r)        how hard a row pulls
  psi'(r)                 its curvature; psi(r) / r is the weight of iteratively reweighted least squares

The absolute loss |r| is not among them: its minimum lies at a kink, where no gradient vanishes and nothing
certifies it. A Huber loss with a delta far below the residuals is the same in all but name.
"""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class LossShape:
    """The formula of a loss; `xp` is `numpy` or `jax.numpy`, r an array, delta a number.

    Attributes:
      name: how commands call it.
      text: the formula as a reader would write it.
      citation: where it comes from.
      rho: `rho(xp, r, delta)`.
      psi: its derivative in r.
      curvature: its second derivative in r.
    """

    name: str
    text: str
    citation: str
    rho: Callable
    psi: Callable
    curvature: Callable


def _huber(xp, r, delta):
    inside = xp.clip(r, -delta, delta)
    return inside * (r - 0.5 * inside)


HUBER = LossShape(
    name="huber",
    text="r^2/2 where |r| <= delta, else delta (|r| - delta/2)",
    citation="Huber 1964 (Annals of Mathematical Statistics 35), equation 1.8; on log loss with delta 1e-3: "
    "Hoffmann et al. 2022 (arXiv 2203.15556), section 3.3",
    rho=_huber,
    psi=lambda xp, r, delta: xp.clip(r, -delta, delta),
    curvature=lambda xp, r, delta: xp.where(xp.abs(r) < delta, 1.0, 0.0),
)

SQUARED = LossShape(
    name="squared",
    text="r^2/2 (delta plays no part)",
    citation="least squares",
    rho=lambda xp, r, delta: 0.5 * r * r,
    psi=lambda xp, r, delta: r,
    curvature=lambda xp, r, delta: xp.ones_like(r),
)


def _log_cosh(xp, r, delta):
    u = xp.abs(r / delta)
    small = xp.minimum(u, 1.0)  # beyond 1 the hyperbolic sine would overflow, below it the other form cancels
    near = 0.5 * xp.log1p(xp.sinh(small) ** 2)
    return delta**2 * xp.where(u < 1.0, near, u + xp.log1p(xp.exp(-2.0 * u)) - np.log(2.0))


def _sech_squared(xp, r, delta):
    far = xp.exp(-2.0 * xp.abs(r / delta))  # 1 - tanh^2 would cancel
    return 4.0 * far / (1.0 + far) ** 2


LOG_COSH = LossShape(
    name="log_cosh",
    text="delta^2 log cosh(r/delta): as Huber's, without its kinks in the slope",
    citation='Holland and Welsch 1977 (Communications in Statistics A6, 813-827), there "logistic"',
    rho=_log_cosh,
    psi=lambda xp, r, delta: delta * xp.tanh(r / delta),
    curvature=_sech_squared,
)

CAUCHY = LossShape(
    name="cauchy",
    text="delta^2/2 log(1 + (r/delta)^2): far rows hardly count; delta of 2.4 times the scatter suits normal "
    "residuals, and one far below it makes many local minima",
    citation="Holland and Welsch 1977 (Communications in Statistics A6, 813-827)",
    rho=lambda xp, r, delta: 0.5 * delta**2 * xp.log1p((r / delta) ** 2),
    psi=lambda xp, r, delta: r / (1.0 + (r / delta) ** 2),
    curvature=lambda xp, r, delta: (1.0 - (r / delta) ** 2) / (1.0 + (r / delta) ** 2) ** 2,
)

LOSSES: dict[str, LossShape] = {shape.name: shape for shape in (HUBER, SQUARED, LOG_COSH, CAUCHY)}


@dataclasses.dataclass(frozen=True)
class Robust:
    """A loss with its threshold: `Robust("huber", 1e-3)`.

    Attributes:
      name: one of `LOSSES`.
      delta: residuals well below it count as squares; in the scale of the residuals (log response, or the
        response itself for a law whose `response_scale` is linear).

    Raises:
      ValueError: no such loss, or a threshold that is not a positive number.
    """

    name: str = "huber"
    delta: float = 1e-3

    def __post_init__(self):
        if self.name not in LOSSES:
            nearest = difflib.get_close_matches(str(self.name), LOSSES, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"there are: {', '.join(LOSSES)}"
            raise ValueError(f"no loss is called {self.name!r}; {hint}")
        if not self.delta > 0 or (self.name in ("log_cosh", "cauchy") and not np.isfinite(self.delta)):
            raise ValueError(f"delta of the {self.name} loss is {self.delta:g}; it must be positive and finite")

    @classmethod
    def of(cls, loss: "Robust | float") -> "Robust":
        """A loss as it is; a number is the threshold of a Huber loss."""
        return loss if isinstance(loss, Robust) else cls("huber", float(loss))

    @property
    def shape(self) -> LossShape:
        """Its formulas."""
        return LOSSES[self.name]

    def widened(self, delta: float) -> "Robust":
        """The same loss with a threshold of at least `delta`."""
        return Robust(self.name, max(self.delta, delta))

    def rho(self, residual: np.ndarray) -> np.ndarray:
        """The summand of each residual."""
        return self.shape.rho(np, residual, self.delta)

    def psi(self, residual: np.ndarray) -> np.ndarray:
        """The derivative of `rho`."""
        return self.shape.psi(np, residual, self.delta)

    def __str__(self) -> str:
        return self.name if self.name == "squared" else f"{self.name}, delta {self.delta:g}"


def compiled_terms(name: str) -> Callable[[Any, Any], tuple]:
    """`terms(r, delta) -> (rho, psi, psi', psi / r)` of a loss on JAX arrays."""
    shape = LOSSES[name]

    def terms(residual, delta):
        slope = shape.psi(jnp, residual, delta)
        zero = residual == 0.0
        touching = jnp.where(zero, 1.0, slope / jnp.where(zero, 1.0, residual))
        return shape.rho(jnp, residual, delta), slope, shape.curvature(jnp, residual, delta), touching

    return terms

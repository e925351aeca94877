"""One isoFLOP curve: loss against size at one training compute, its minimum, and what that is worth."""

import dataclasses
from typing import Any

import numpy as np

from genlab.scaling.approaches.budgets import Budget
from genlab.scaling.approaches.valleys import (
    akima_minima,
    akima_spline,
    merge_repeats,
    parabola_minima,
    polynomial_minimum,
)
from genlab.scaling.cost import Cost
from genlab.scaling.fitting.fitted import Fit

LEAST_STD = 0.33  # of the mean spacing of log sizes: `min_std_factor` in Porian et al.'s published code
_MOST_DRAWN, _FEWEST_DRAWS = 4_000_000, 100  # losses, 32 MB; draws of a budget with very many runs
_SIZES_FOR_QUARTIC = 6
_DIGITS = 6  # of a drawn log size in fit.json


@dataclasses.dataclass(frozen=True)
class IsoFlop:
    """Loss against size at one training compute.

    Attributes:
      flops: the budget.
      names: identities of the runs; of both neighbours, "a..b", for an interpolated point.
      params, tokens, loss: one entry a point, in order of params.
      interpolated: the points are read off each size's loss against compute, between two of its runs.
      coefficients: of log loss as a parabola in log params, highest power first; empty if there is none.
      best_params, best_tokens, best_loss: the minimum; None where it is refused.
      refused: why there is no minimum, in words; empty if there is one.
      method: "parabola" or "akima".
      noise: standard deviation of a log loss that the draws assume (their mean); None if not known.
      std: of log best_params, for weights: that of the draws, at least a third of the mean spacing of the
        sizes, over the share of draws with a minimum inside (as Porian et al.); None without noise.
      interval_95: of best_params, percentiles of the draws; None without noise.
      draws: log params of the minima of drawn losses that had one.
      draws_refused: the share of draws whose minimum was at an edge.
      off_centre: log(geometric centre of the sizes / best_params).
      bias: estimated log(found / true best size) of this grid and method; None where it cannot be said.
      bias_from: what says so, "NAME law", "cubic" or "quartic".
    """

    flops: float
    names: tuple[str, ...]
    params: tuple[float, ...]
    tokens: tuple[float, ...]
    loss: tuple[float, ...]
    interpolated: bool
    coefficients: tuple[float, ...] = ()
    best_params: float | None = None
    best_tokens: float | None = None
    best_loss: float | None = None
    refused: str = ""
    method: str = "parabola"
    noise: float | None = None
    std: float | None = None
    interval_95: tuple[float, float] | None = None
    draws: tuple[float, ...] = ()
    draws_refused: float = 0.0
    off_centre: float | None = None
    bias: float | None = None
    bias_from: str = ""

    def curve(self, params) -> np.ndarray:
        """The loss that the method reads at sizes `params`; NaN outside the sizes, or if it was refused."""
        at = np.log(np.asarray(params, dtype=np.float64))
        if self.best_params is None:
            return np.full(at.shape, np.nan)
        if self.method == "parabola":
            return np.exp(np.polyval(self.coefficients, at))
        x, y, _ = merge_repeats(np.log(self.params), np.log(self.loss))
        return np.exp(akima_spline(x, y)(np.clip(at, x[0], x[-1])))

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "IsoFlop":
        """The inverse of `to_json`."""
        return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in saved.items()})


def _minimum(x: np.ndarray, y: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    if method == "parabola":
        return parabola_minima(x, y)
    sizes, means, _ = merge_repeats(x, y)
    return akima_minima(sizes, means)


def isoflop_curve(budget: Budget, cost: Cost | None, method: str, draws: int, seed: int) -> IsoFlop:
    """The curve of one budget, with its minimum or why there is none; arguments as for `isoflop_minima`."""
    curve = IsoFlop(
        flops=budget.flops,
        names=budget.names,
        params=tuple(map(float, budget.params)),
        tokens=tuple(map(float, budget.tokens)),
        loss=tuple(map(float, budget.loss)),
        interpolated=budget.interpolated,
        method=method,
    )
    x, y = np.log(budget.params), np.log(budget.loss)
    (best,), details = _minimum(x, y[:, None], method)
    sizes, means, _ = merge_repeats(x, y)
    lowest = int(np.argmin(means))
    # Akima's spline may dip inside beside the lowest size: Porian et al. count that as a minimum.
    if lowest in (0, len(sizes) - 1) and (method == "parabola" or not np.isfinite(best)):
        which = "smallest" if lowest == 0 else "largest"
        return dataclasses.replace(curve, refused=f"the {which} size has the lowest loss")
    if method == "parabola" and details[0, 0] <= 0:
        return dataclasses.replace(curve, refused="the losses do not curve upwards")
    if not np.isfinite(best):
        return dataclasses.replace(curve, refused=f"the {method}'s minimum is outside the sizes")
    if method == "akima" and details[0] < y.min() - np.ptp(y) / 2:
        return dataclasses.replace(curve, refused="the spline's minimum is far below every loss")
    if np.isfinite(budget.noise).all():
        curve = _with_draws(curve, x, y, budget.noise, draws, seed)
        if curve.refused:
            return curve
    parabola = tuple(map(float, details[:, 0])) if method == "parabola" else ()
    tokens = np.exp(np.interp(best, *merge_repeats(x, np.log(budget.tokens))[:2]))
    return dataclasses.replace(
        curve,
        coefficients=parabola,
        best_params=float(np.exp(best)),
        best_tokens=float(tokens if cost is None else cost.tokens(budget.flops, np.exp(best))),
        best_loss=float(np.exp(np.polyval(parabola, best) if parabola else details[0])),
        off_centre=float((x.min() + x.max()) / 2 - best),
    )


def _with_draws(curve: IsoFlop, x, y, noise: np.ndarray, draws: int, seed: int) -> IsoFlop:
    """Minima of the losses with further noise, as Porian et al.'s code draws them."""
    draws = min(draws, max(_FEWEST_DRAWS, _MOST_DRAWN // len(x)))  # all of 1,000 up to 4,000 runs
    if draws < 2:
        return dataclasses.replace(curve, noise=float(noise.mean()))
    rng = np.random.default_rng([seed, 4])
    drawn, _ = _minimum(x, y[:, None] + noise[:, None] * rng.standard_normal((len(y), draws)), curve.method)
    inside = np.round(drawn[np.isfinite(drawn)], _DIGITS)
    curve = dataclasses.replace(curve, noise=float(noise.mean()), draws_refused=1.0 - len(inside) / draws)
    if len(inside) < draws / 2:
        share = f"{curve.draws_refused:.0%}"
        return dataclasses.replace(curve, refused=f"{share} of the draws of its noise have their minimum at an edge")
    spacing = np.ptp(x) / (len(np.unique(x)) - 1)
    low, high = np.exp(np.percentile(inside, [2.5, 97.5]))
    return dataclasses.replace(
        curve,
        std=float(max(inside.std(), LEAST_STD * spacing) * draws / len(inside)),
        interval_95=(float(low), float(high)),
        draws=tuple(map(float, inside)),
    )


def with_bias(curve: IsoFlop, fit: Fit | None = None) -> IsoFlop:
    """The curve with the bias of its minimum.

    With a fit, the method is applied to what the law says at the very same sizes, without noise, and
    compared with the law's own best size. Without one, a parabola is compared with a cubic, or from six
    sizes on with a quartic, which has noise of its own and says only the greater part of the bias.
    """
    if curve.best_params is None:
        return curve
    x = np.log(curve.params)
    if fit is not None and fit.law.allocates:
        y = np.log(fit.predict(params=np.array(curve.params), tokens=np.array(curve.tokens)))
        fine = np.linspace(x.min(), x.max(), 2001)
        tokens = np.exp(np.interp(fine, *merge_repeats(x, np.log(curve.tokens))[:2]))
        exact = fit.predict(params=np.exp(fine), tokens=tokens)
        truth, said_by = fine[np.argmin(exact)], f"{fit.law.name} law"
        found = _minimum(x, y[:, None], curve.method)[0][0]
        if not x.min() < truth < x.max():
            return curve
    elif curve.method == "parabola":
        degree, said_by = (4, "quartic") if len(np.unique(x)) >= _SIZES_FOR_QUARTIC else (3, "cubic")
        truth = polynomial_minimum(x, np.log(curve.loss), degree)
        found = np.log(curve.best_params)
    else:
        return curve
    if not np.isfinite(found - truth):
        return curve
    return dataclasses.replace(curve, bias=float(found - truth), bias_from=said_by)

"""Compute-optimal size from isoFLOP curves (approach 2 of Hoffmann et al. 2022, section 3.2).

At a fixed training compute, loss against log N has a valley; its lowest point is the best size for that
compute. Two methods find it, both in the logarithms of size and loss:

  parabola   least squares through all sizes (Hoffmann et al. 2022)
  akima      the lowest point of Akima's spline through the sizes (Porian et al. 2024, arXiv 2406.19146)

A minimum at the edge of the sizes that were tried is no minimum: it is refused. Every other has a
standard deviation from drawn noise, as in Porian et al., and a bias where the grid of sizes is not
centred on it (Czech et al. 2026, arXiv 2603.22339, "Problems with Chinchilla Approach 2").

    curves = isoflop_minima(runs, method="akima", noise="0.002 / loss")
    exponent, constant = optimal_exponent(curves)
"""

import dataclasses
from typing import Literal

import numpy as np

from genlab.scaling.approaches.budgets import find_budgets
from genlab.scaling.approaches.isoflop_curve import IsoFlop, isoflop_curve, with_bias
from genlab.scaling.approaches.power_laws import PowerLaw, power_law
from genlab.scaling.approaches.valleys import estimate_noise
from genlab.scaling.cost import Cost
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.fitting.weighting import EXPRESSION_ERRORS
from genlab.scaling.runs import Runs

METHODS = ("parabola", "akima")
_SMALL_BIAS = 0.05  # of a size: not worth a warning


def isoflop_minima(
    runs: Runs,
    cost: Cost | None = None,
    method: Literal["parabola", "akima"] = "parabola",
    noise: float | str = "auto",
    draws: int = 1000,
    seed: int = 0,
    fit: Fit | None = None,
) -> list[IsoFlop]:
    """One isoFLOP curve for each training compute that at least three sizes share.

    Runs whose FLOPs agree within 15 %, with a gap to all others, share a budget. Where the table has no
    such budget (a grid of sizes by tokens), each size's log loss is interpolated in log FLOPs, never
    extrapolated, at up to five budgets that at least three sizes have runs around. Of several runs of a
    size at a budget, Akima's spline goes through the mean, and a parabola is fitted to them all.

    Args:
      runs: params, tokens, flops, loss.
      cost: gives the tokens of a budget's best size; by default they are interpolated between the sizes'.
      method: "parabola" or "akima", see the module.
      noise: standard deviation of a log loss from run to run: a number, a column or pandas expression of
        the table ("0.002 / loss"), or "auto" to estimate it from the curves.
      draws: of noise, for the spread of each minimum; 0 for none.
      seed: of the draws.
      fit: a fitted law of params and tokens, which then says each minimum's bias.

    Returns:
      In order of flops; empty if no three sizes share a compute.

    Raises:
      ValueError: no such method, or noise that is no positive number.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} of isoFLOP minima must be one of {', '.join(METHODS)}")
    budgets = find_budgets(runs, _noise_of(runs, noise))
    if noise == "auto":
        found = estimate_noise([(np.log(b.params), np.log(b.loss)) for b in budgets])
        budgets = [dataclasses.replace(b, noise=np.full(len(b.params), found)) for b in budgets]
    curves = [isoflop_curve(b, cost, method, draws, seed + i) for i, b in enumerate(budgets)]
    return [with_bias(curve, fit) for curve in curves]


def optimal_exponent(curves: list[IsoFlop], weighted: bool = True) -> tuple[float, float] | None:
    """(a, k) of N_opt = k C^a through the accepted minima (Hoffmann et al. 2022, section 3.2).

    None with fewer than two minima. `optimal_power_laws` also has the intervals.
    """
    found = optimal_power_laws(curves, weighted)
    return None if found is None else (found[0].exponent, found[0].constant)


def optimal_power_laws(curves: list[IsoFlop], weighted: bool = True) -> tuple[PowerLaw, PowerLaw] | None:
    """N_opt(C) and D_opt(C) through the accepted minima, with intervals from the minima's draws.

    Where the noise is not known, the scatter of four or more minima about the power law stands for it.

    Args:
      curves: from `isoflop_minima`, of one method.
      weighted: by 1/std^2 (Porian et al. 2024) where every minimum has one.

    Returns:
      None with fewer than two minima.
    """
    found = [curve for curve in curves if curve.best_params is not None]
    if len(found) < 2:
        return None
    flops = np.array([curve.flops for curve in found])
    params = np.array([curve.best_params for curve in found])
    tokens = np.array([curve.best_tokens for curve in found])
    known = all(curve.std is not None for curve in found)
    std = np.array([curve.std for curve in found]) if known and weighted else None
    drawn = _drawn_sizes(found) if known else _scattered_sizes(flops, params)
    # At fixed compute, a size drawn larger leaves as much fewer tokens; what is left is second order.
    drawn_tokens = None if drawn is None else tokens * params / drawn
    return power_law(flops, params, std, drawn), power_law(flops, tokens, std, drawn_tokens)


def isoflop_warnings(curves: list[IsoFlop]) -> list[str]:
    """What the curves cannot support, in words, method by method."""
    methods = dict.fromkeys(curve.method for curve in curves)
    return [told for method in methods for told in _warnings(method, [c for c in curves if c.method == method])]


def _warnings(method: str, curves: list[IsoFlop]) -> list[str]:
    refused = [curve for curve in curves if curve.best_params is None]
    found = [curve for curve in curves if curve.best_params is not None]
    told = []
    if refused:
        which = ", ".join(f"{curve.flops:.2g}" for curve in refused)
        told.append(f"{len(refused)} of {len(curves)} isoFLOP curves have no minimum by {method} (at {which} FLOPs)")
    if found and all(curve.std is None for curve in found):
        told.append("isoFLOP minima have no intervals of their own: too few sizes share a budget to tell noise")
    biased = [c for c in found if c.bias is not None and abs(c.bias) > max(_SMALL_BIAS, _draws_std(c) or 0.0)]
    if biased:
        worst = max(biased, key=lambda curve: abs(curve.bias))
        says = f"the {'fitted ' if worst.bias_from.endswith('law') else 'best '}{worst.bias_from}"
        told.append(
            f"{len(biased)} of {len(found)} isoFLOP minima by {method} are biased by more than their noise: at "
            f"{worst.flops:.2g} FLOPs by {np.expm1(worst.bias):+.0%}, says {says} (its sizes are centred at "
            f"{np.exp(worst.off_centre):.2g} times the best)"
        )
    shift = exponent_bias(curves)
    if biased and shift is not None:
        told.append(f"that moves the isoFLOP exponent of N_opt by {method} by about {shift:+.3f}")
    return told


def exponent_bias(curves: list[IsoFlop]) -> float | None:
    """By how much the minima's biases move the exponent of N_opt; None unless two or more have one.

    Args:
      curves: of one method.
    """
    found = [c for c in curves if c.best_params is not None and c.bias is not None]
    if len(found) < 2:
        return None
    std = None if any(c.std is None for c in found) else [c.std for c in found]
    return power_law([c.flops for c in found], np.exp([c.bias for c in found]), std, draws=0).exponent


def _noise_of(runs: Runs, noise: float | str) -> np.ndarray:
    """The standard deviation of each row's log loss, NaN for "auto"."""
    if noise == "auto":
        return np.full(len(runs), np.nan)
    values = noise
    if isinstance(noise, str):
        try:
            values = runs.frame.eval(noise, local_dict={}, global_dict={}, engine="python")
        except EXPRESSION_ERRORS as error:
            raise ValueError(f"cannot evaluate the noise {noise!r}: {str(error).splitlines()[0]}") from None
    values = np.broadcast_to(np.asarray(values, dtype=np.float64), (len(runs),))
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"noise {noise!r} must be positive: the deviation of a log loss, e.g. 0.002")
    return values


def _draws_std(curve: IsoFlop) -> float | None:
    return float(np.std(curve.draws)) if curve.draws else None


def _drawn_sizes(found: list[IsoFlop]) -> np.ndarray:
    """What the best sizes could as well have been, [draws, minima]; a refused draw is replaced by another."""
    count = max(len(curve.draws) for curve in found)
    return np.exp(np.stack([np.resize(curve.draws, count) for curve in found], axis=1))


def _scattered_sizes(flops: np.ndarray, params: np.ndarray) -> np.ndarray | None:
    """Sizes drawn about the minima by their scatter about the power law, [draws, minima]; None for under four.

    The scatter's own uncertainty is drawn as well, so that intervals are those of Student's t.
    """
    freedom = len(params) - 2
    if freedom < 2:
        return None
    rng = np.random.default_rng(len(params))
    variance = np.sum(np.log(params / power_law(flops, params)(flops)) ** 2) / rng.chisquare(freedom, (1000, 1))
    return params * np.exp(np.sqrt(variance) * rng.standard_normal((1000, len(params))))

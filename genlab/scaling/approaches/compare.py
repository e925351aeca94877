"""The three approaches to compute-optimality of Hoffmann et al. 2022 (arXiv 2203.15556), side by side.

  1  envelope     the lower envelope of training curves (section 3.1): `genlab.scaling.approaches.envelope`
  2  isoflop      minima of isoFLOP curves, by parabola and by spline (section 3.2): `genlab.scaling.approaches.isoflop`
  3  parametric   a law L(N, D) minimised at fixed compute (section 3.3): `Fit.allocate`

    comparison = compare_approaches(runs, budgets=(1e21,))
    comparison.disagreements, comparison.estimates
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from genlab.scaling.approaches.comparison import Comparison, Estimate, disagreements_between, summary_of
from genlab.scaling.approaches.envelope import envelope
from genlab.scaling.approaches.isoflop import METHODS, isoflop_minima, isoflop_warnings, optimal_power_laws
from genlab.scaling.approaches.power_laws import PowerLaw
from genlab.scaling.cost import Cost
from genlab.scaling.fitting.fit_law import fit_law
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.runs import LeftOut, Runs

_CURVE_POINTS = 41


def compare_approaches(
    runs: Runs,
    curves: Runs | pd.DataFrame | None = None,
    fit: Fit | None = None,
    budgets: Iterable[float] = (),
    methods: Iterable[str] = METHODS,
    noise: float | str = "auto",
    smoothing: str = "gaussian",
    width: float = 0.1,
    decays: bool = True,
    cost: Cost | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """N_opt(C) and D_opt(C) by every approach that the table allows, and where they disagree.

    Two approaches disagree about an exponent, or at a budget, where their 95 % intervals do not overlap. All
    rest on the same runs, so that intervals that overlap are no proof that the approaches agree.

    Args:
      runs: params, tokens, loss, flops: final losses of the runs to use.
      curves: training curves, see `training_curves`; by default the column `curve` of runs, if it is there.
      fit: of a law of params and tokens; by default Chinchilla's is fitted.
      budgets: training FLOPs to compare at; by default the middle and the largest of the table.
      methods: of approach 2, "parabola" and "akima".
      noise: of approach 2, see `isoflop_minima`.
      smoothing, width, decays: of approach 1, see `envelope`.
      cost: gives the tokens of an isoFLOP budget's best size, see `isoflop_minima`.
      resamples: of rows (fit), runs (envelope) and noise (isoFLOP).
      seed: of all of them.

    Raises:
      ValueError: runs lacks a column, or budgets are not positive.
    """
    runs = runs.require(("params", "tokens", "loss", "flops"))
    if not len(runs):
        raise ValueError(f"{runs.source} has no row with params, tokens and loss: nothing to compare")
    flops = runs.column("flops")
    budgets = tuple(map(float, budgets)) or (float(np.sqrt(flops.min() * flops.max())), float(flops.max()))
    if not all(0 < value < np.inf for value in budgets):
        raise ValueError(f"budgets must be positive FLOPs, not {', '.join(f'{value:g}' for value in budgets)}")
    span = _Span(float(flops.min()), float(flops.max()), budgets)
    if fit is None:
        fit, problem = _chinchilla(runs, resamples, seed)
    else:
        problem = f"{fit.law.name} is no law of params and tokens alone"
    usable = fit is not None and fit.law.allocates
    estimates = [
        _envelope_estimate(runs if curves is None else curves, span, smoothing, width, decays, resamples, seed),
        *(_isoflop_estimate(runs, span, method, noise, cost, fit, resamples, seed) for method in methods),
        _parametric_estimate(fit, span) if usable else Estimate(3, "parametric", problem),
    ]
    return Comparison(tuple(estimates), tuple(disagreements_between(estimates)), summary_of(estimates))


@dataclasses.dataclass(frozen=True)
class _Span:
    """The table's range of FLOPs, and the budgets asked for."""

    low: float
    high: float
    budgets: tuple[float, ...]

    @property
    def grid(self) -> np.ndarray:
        """FLOPs that cover both."""
        return np.geomspace(min(self.low, *self.budgets), max(self.high, *self.budgets), _CURVE_POINTS)

    def rows(self, params, tokens, ends: dict[str, tuple]) -> tuple[dict[str, Any], ...]:
        """One dict a budget; arguments are [budgets]."""
        return tuple(
            {
                "flops": budget,
                "extrapolation": budget / self.high,
                "params": float(params[i]),
                "tokens": float(tokens[i]),
                "tokens_per_param": float(tokens[i] / params[i]),
                "interval_95": {name: [float(low[i]), float(high[i])] for name, (low, high) in ends.items()},
            }
            for i, budget in enumerate(self.budgets)
        )


def _chinchilla(runs: Runs, resamples: int, seed: int) -> tuple[Fit | None, str]:
    try:
        return fit_law("chinchilla", runs, resamples=resamples, seed=seed), ""
    except ValueError as error:
        return None, str(error)


def _envelope_estimate(table, span: _Span, smoothing, width, decays, resamples, seed) -> Estimate:
    if isinstance(table, Runs) and not table.has("curve") and table.frame.get("name", pd.Series(["a"])).is_unique:
        return Estimate(1, "envelope", "no training curves in the table")
    try:
        found = envelope(table, smoothing, width, resamples, seed, decays)
    except ValueError as error:
        return Estimate(1, "envelope", str(error))
    refused = [f"{share:.0%} of the FLOPs: {reason}" for reason, share in found.refused.items()]
    refused += _by_reason(found.left_out)
    kept = {"refused": tuple(refused), "warnings": found.warnings}
    if found.params_law is None:
        return Estimate(1, "envelope", found.warnings[0], **kept)
    stretches = found.to_json()["best_runs"]
    points = {
        "flops": [float(np.sqrt(low * high)) for low, high in (s["flops"] for s in stretches)],
        "params": [s["params"] for s in stretches],
    }
    return _of_power_laws(1, "envelope", found.params_law, found.tokens_law, span, points, kept)


def _isoflop_estimate(runs: Runs, span: _Span, method, noise, cost, fit, resamples, seed) -> Estimate:
    name = f"isoflop {method}"
    found = isoflop_minima(runs, cost, method, noise, draws=resamples, seed=seed, fit=fit)
    if not found:
        return Estimate(2, name, "no three sizes share a training compute")
    refused = [f"{curve.flops:.3g} FLOPs: {curve.refused}" for curve in found if curve.refused]
    kept = {"refused": tuple(refused), "warnings": tuple(isoflop_warnings(found))}
    laws = optimal_power_laws(found)
    if laws is None:
        return Estimate(2, name, f"fewer than two of {len(found)} isoFLOP curves have a minimum", **kept)
    minima = [curve for curve in found if curve.best_params is not None]
    points = {"flops": [curve.flops for curve in minima], "params": [curve.best_params for curve in minima]}
    return _of_power_laws(2, name, *laws, span, points, kept)


def _of_power_laws(
    approach: int, name: str, params: PowerLaw, tokens: PowerLaw, span: _Span, points: dict, kept: dict
) -> Estimate:
    budgets, grid = np.array(span.budgets), span.grid
    ratio = np.zeros((0, 2)) if not len(params.samples) else tokens.samples - params.samples
    per_param = PowerLaw(tokens.exponent - params.exponent, tokens.log_constant - params.log_constant, ratio)
    laws = {"params": params, "tokens": tokens, "tokens_per_param": per_param}
    low, high = params.interval(grid)
    return Estimate(
        approach=approach,
        name=name,
        exponent=params.exponent,
        exponent_interval_95=params.exponent_interval(),
        tokens_exponent=tokens.exponent,
        tokens_exponent_interval_95=tokens.exponent_interval(),
        budgets=span.rows(params(budgets), tokens(budgets), {k: law.interval(budgets) for k, law in laws.items()}),
        curve=_curve(grid, params(grid), low, high),
        points=points,
        **kept,
    )


def _parametric_estimate(fit: Fit, span: _Span) -> Estimate:
    def exponents(values: np.ndarray) -> np.ndarray:
        """Of N_opt and D_opt between the least and the most FLOPs of the table, [..., 2]."""
        ends = np.array([span.low, max(span.high, 1.001 * span.low)])
        allocated = np.log(np.stack(fit.law.allocate(values, ends, fit.cost), axis=-1))
        return np.diff(allocated, axis=-2)[..., 0, :] / np.diff(np.log(ends))

    def interval(drawn: np.ndarray):
        if not len(drawn):
            return np.full(drawn.shape[1:], np.nan), np.full(drawn.shape[1:], np.nan)
        return np.percentile(drawn, [2.5, 97.5], axis=0)

    name = f"parametric {fit.law.name}"
    budgets, grid = np.array(span.budgets), span.grid
    with np.errstate(all="ignore"):
        params, tokens = fit.allocate(budgets)
        at = exponents(fit.values)
        if not (np.isfinite(at).all() and np.isfinite(np.log([params, tokens])).all()):
            return Estimate(3, name, "the fitted law has no finite best size", warnings=tuple(fit.warnings))
    drawn_params, drawn_tokens = fit.law.allocate(fit.samples, budgets, fit.cost)
    drawn = {"params": drawn_params, "tokens": drawn_tokens, "tokens_per_param": drawn_tokens / drawn_params}
    ends = np.array(interval(exponents(fit.samples)))
    return Estimate(
        approach=3,
        name=name,
        exponent=float(at[0]),
        exponent_interval_95=tuple(map(float, ends[:, 0])),
        tokens_exponent=float(at[1]),
        tokens_exponent_interval_95=tuple(map(float, ends[:, 1])),
        budgets=span.rows(params, tokens, {name: interval(values) for name, values in drawn.items()}),
        curve=_curve(grid, fit.allocate(grid)[0], *interval(fit.law.allocate(fit.samples, grid, fit.cost)[0])),
        refused=tuple(_by_reason(fit.rows_left_out)),
        warnings=tuple(fit.warnings),
    )


def _by_reason(left_out: Iterable[LeftOut]) -> list[str]:
    counts = Counter(row.reason for row in left_out)
    return [f"{count} row{'s' * (count > 1)}: {reason}" for reason, count in counts.items()]


def _curve(flops, params, low, high) -> dict[str, list[float]]:
    return {k: [float(x) for x in v] for k, v in zip(("flops", "params", "low", "high"), (flops, params, low, high),
                                                     strict=True)}  # fmt: skip

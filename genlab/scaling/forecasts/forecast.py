"""Forecasts of runs that no fit has seen, beside what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.law import Law
from genlab.scaling.runs import Runs

COMBINED = "combined"  # the `law` of a forecast by several


def forecast(fit: Fit, held_out: Runs, scatter: float | None = None) -> list[dict[str, Any]]:
    """What a fit says about held-out runs.

    Args:
      fit: fitted to other runs.
      held_out: rows with the law's inputs and its response.
      scatter: standard deviation of a new run's log error about the law; by default that of the fit's
        residuals. Give the law's backtest error where it is larger: it is the error of predictions.

    Returns:
      one dict a run: name, predicted, measured, relative_error (predicted / measured - 1; NaN of a measured 0,
      which only a law whose `response_scale` is linear allows), error (predicted - measured),
      interval_95 (None without a bootstrap, or where a refit has no finite prediction), covered (whether it holds
      the measured value), law, the law's inputs, flops, and extrapolation (flops, or a single input where there
      are none, over the largest fitted).
    """
    held_out = held_out.require((*fit.law.inputs, fit.law.response))
    if not len(held_out):
        return []
    inputs = _inputs(fit.law, held_out)
    ends = fit.predict_interval(scatter=scatter, **inputs) if len(fit.samples) else None
    return _rows(fit.law.name, [fit], held_out, fit.predict(**inputs), ends)


def combined_forecast(
    fits: Mapping[str, Fit], weights: Mapping[str, float], held_out: Runs, scatter: Mapping[str, float]
) -> list[dict[str, Any]]:
    """What several laws say together about held-out runs: the weighted (geometric) mean of their forecasts.

    The interval is that of the mixture of the laws' predictive distributions with the same weights (the linear
    opinion pool; Stone 1961), so laws that disagree widen it.

    Args:
      fits: law -> fit, all of one response.
      weights: law -> share, e.g. `Backtest.weights`; of some of the fits.
      held_out: as for `forecast`.
      scatter: law -> as for `forecast`.
    """
    fits = [fits[name] for name in weights]
    shares = np.array(list(weights.values()))
    inputs = dict.fromkeys(name for fit in fits for name in fit.law.inputs)
    held_out = held_out.require((*inputs, fits[0].law.response))
    if not len(held_out):
        return []
    told = [fit.law.respond(fit.predict(**_inputs(fit.law, held_out))) for fit in fits]
    predicted = _raw(fits[0].law, np.einsum("l,lr->r", shares, np.array(told)))
    ends = None
    if all(len(fit.samples) for fit in fits):
        draws = [fit.draws(scatter[fit.law.name], **_inputs(fit.law, held_out)) for fit in fits]
        weight = np.concatenate([np.full(len(each), w / len(each)) for w, each in zip(shares, draws, strict=True)])
        ends = _raw(fits[0].law, weighted_quantiles(np.concatenate(draws), weight, (0.025, 0.975)))
    return _rows(COMBINED, fits, held_out, predicted, ends)


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, at: Sequence[float]) -> np.ndarray:
    """Quantiles [at, ...] over the first axis of values [n, ...] whose n rows have weights [n]; NaN where any is NaN.

    The smallest value at or below which lies at least a share `at` of the weight.
    """
    order = np.argsort(values, axis=0)
    shares = np.cumsum(weights[order], axis=0) / weights.sum()
    ordered = np.take_along_axis(values, order, axis=0)
    last = len(values) - 1
    first = [np.minimum(np.sum(shares < level - 1e-12, axis=0), last) for level in at]
    found = np.stack([np.take_along_axis(ordered, each[None], axis=0)[0] for each in first])
    return np.where(np.isnan(values).any(axis=0), np.nan, found)


def _rows(law: str, fits: Sequence[Fit], held_out: Runs, predicted, ends) -> list[dict[str, Any]]:
    measured = held_out.column(fits[0].law.response)
    inputs = {name: values for fit in fits for name, values in _inputs(fit.law, held_out).items()}
    flops = held_out.column("flops") if held_out.has("flops") else np.full(len(held_out), np.nan)
    reach = _reach(fits, inputs, flops)
    known = np.zeros(len(held_out), dtype=bool) if ends is None else np.isfinite(ends).all(axis=0)
    return [
        {
            "name": name,
            "predicted": float(predicted[i]),
            "measured": float(measured[i]),
            "relative_error": float(predicted[i] / measured[i] - 1.0) if measured[i] else float("nan"),
            "error": float(predicted[i] - measured[i]),
            "interval_95": [float(ends[0][i]), float(ends[1][i])] if known[i] else None,
            "covered": bool(ends[0][i] <= measured[i] <= ends[1][i]) if known[i] else None,
            "law": law,
            **{key: float(values[i]) for key, values in inputs.items()},
            "flops": float(flops[i]),
            "extrapolation": float(reach[i]),
        }
        for i, name in enumerate(held_out.names)
    ]


def _reach(fits: Sequence[Fit], inputs: dict[str, np.ndarray], flops: np.ndarray) -> np.ndarray:
    """How many times the largest fitted compute, or the largest value of a single input, each run has."""
    along = "flops" if np.isfinite(flops).any() or len(inputs) > 1 else next(iter(inputs))
    largest = max(fit.ranges.get(along, (np.nan, np.nan))[1] for fit in fits)
    return inputs.get(along, flops) / largest


def _inputs(law: Law, runs: Runs) -> dict[str, np.ndarray]:
    return {name: runs.column(name) for name in law.inputs}


def _raw(law: Law, responses: np.ndarray) -> np.ndarray:
    """The inverse of `Law.respond`."""
    return np.exp(responses) if law.response_scale == "log" else responses

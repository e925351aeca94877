"""Forecasts of runs that no fit has seen, beside what was measured."""

from typing import Any

import numpy as np

from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.runs import Runs


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
      interval_95 (None without a bootstrap), covered (whether it holds the measured value), law, the
      law's inputs, flops, and extrapolation (flops over the largest fitted).
    """
    law = fit.law
    held_out = held_out.require((*law.inputs, law.response))
    if not len(held_out):
        return []
    inputs = {name: held_out.column(name) for name in law.inputs}
    predicted, measured = fit.predict(**inputs), held_out.column(law.response)
    low, high = fit.predict_interval(scatter=scatter, **inputs)
    flops = held_out.column("flops") if held_out.has("flops") else np.full(len(held_out), np.nan)
    largest = fit.ranges.get("flops", (np.nan, np.nan))[1]
    known = bool(len(fit.samples))
    return [
        {
            "name": name,
            "predicted": float(predicted[i]),
            "measured": float(measured[i]),
            "relative_error": float(predicted[i] / measured[i] - 1.0) if measured[i] else float("nan"),
            "error": float(predicted[i] - measured[i]),
            "interval_95": [float(low[i]), float(high[i])] if known else None,
            "covered": bool(low[i] <= measured[i] <= high[i]) if known else None,
            "law": law.name,
            **{key: float(values[i]) for key, values in inputs.items()},
            "flops": float(flops[i]),
            "extrapolation": float(flops[i] / largest),
        }
        for i, name in enumerate(held_out.names)
    ]

"""The shape of a rise: a sigmoid, a power law, or one with a break, with intervals, and tested where it was not fitted.

A metric's share s of the way from chance to always right is fitted against training compute C by

  accuracy_of_flops   s = ceiling / (1 + exp(-k (ln C - log_C_0)))
  power_floor         1 - s = E + A / C^alpha, which has no break
  broken_1            1 - s = E + b / C^c0 (1 + (C/d1)^(1/f1))^(-c1 f1), one break (Caballero et al. 2022)

by least squares; the intervals are of a bootstrap over runs. A break is more than a curve that fits: a law with one has
three parameters more. So all three are fitted again without each inner part of the compute range and judged there; a
break is supported where the broken law's error is at least a tenth below that of both others.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from genlab.scaling.emergence.scales import Scales, draw_runs
from genlab.scaling.fitting.bootstrap import Refits
from genlab.scaling.fitting.derivatives import Table
from genlab.scaling.fitting.minimize import follow
from genlab.scaling.fitting.robust import Robust
from genlab.scaling.fitting.starts import starting_points
from genlab.scaling.law import Law
from genlab.scaling.laws import get_law

SIGMOID, SMOOTH_LAW, BROKEN = "accuracy_of_flops", "power_floor", "broken_1"
_LAWS: Mapping[str, Law] = {
    SIGMOID: get_law(SIGMOID).fix(chance=0.0),
    # Of errors as they are: in their logarithms, those of a model that is nearly always right would weigh most.
    **{name: dataclasses.replace(get_law(name), response_scale="linear") for name in (SMOOTH_LAW, BROKEN)},
}
_STARTS = 16
_MOST_ROWS = 256
_PADDED = 64  # rows: tables of about one size share one compilation
_FOLDS = 8
_POINTS = 60  # of a curve that is drawn
_BETTER = 0.9


def shapes(scales: Scales, resamples: int = 50, seed: int = 0) -> dict[str, Any] | None:
    """Fits the three laws to a metric; None where it has too few values for the largest of them.

    Returns:
      laws: law -> parameters, interval_95 of each, error (root mean square of the share), held_out_error, curve
        (flops, share, low, high: 95 % band); break_at: FLOPs, with its interval; break_supported; and words.
    """
    scales = scales if len(scales.rows[0]) <= _MOST_ROWS else scales.thinned()
    x, share = scales.rows
    if len(x) <= len(_LAWS[BROKEN].parameters) + 1 or len(np.unique(x.round(3))) < 5:
        return None
    fold = _folds(x)
    found = {name: _fit(law, x, share, scales.row_runs, fold, resamples, seed) for name, law in _LAWS.items()}
    smooth = min((SIGMOID, SMOOTH_LAW), key=lambda name: found[name]["held_out_error"])
    errors = {name: found[name]["held_out_error"] for name in (smooth, BROKEN)}
    supported = errors[BROKEN] < _BETTER * errors[smooth]
    at, interval = found[BROKEN]["parameters"]["d1"], found[BROKEN]["interval_95"]["d1"]
    inside = np.exp(x.min()) <= at <= np.exp(x.max())
    words = (
        f"held-out error {errors[BROKEN]:.3f} with a break, {errors[smooth]:.3f} without ({smooth}): a break at "
        f"{at:.3g} FLOPs ({interval[0]:.2g} to {interval[1]:.2g})" if supported and inside
        else f"held-out error {errors[BROKEN]:.3f} with a break, {errors[smooth]:.3f} without ({smooth}): no break"
    )  # fmt: skip
    return {"laws": found, "break_at": at, "break_interval_95": interval, "break_supported": bool(supported and inside),
            "words": words}  # fmt: skip


def _fit(law: Law, x: np.ndarray, share: np.ndarray, run: np.ndarray, fold: np.ndarray, resamples: int, seed: int):
    rng = np.random.default_rng(seed)
    table = Table(x[None], share if law.response == "accuracy" else 1 - share)
    parts = range(1, fold.max())  # the inner ones
    left_out = np.array([np.where(fold == part, 0.0, 1.0) for part in parts])
    drawn = draw_runs(run, resamples, rng).astype(float)
    found = law.values(_minima(law, table, np.concatenate([np.ones((1, len(x))), left_out, drawn]), seed))
    fitted, without, samples = found[0], found[1 : 1 + len(parts)], found[1 + len(parts) :]
    line = np.linspace(x.min(), x.max(), _POINTS)
    low, high = np.percentile(_share(law, samples, line), [2.5, 97.5], axis=0)
    ends = np.percentile(samples, [2.5, 97.5], axis=0).T
    held_out = [
        _share(law, values, x[fold == part]) - share[fold == part] for part, values in zip(parts, without, strict=True)
    ]
    return {
        "parameters": law.named(fitted),
        "interval_95": {name: list(map(float, pair)) for name, pair in zip(law.parameter_names, ends, strict=True)},
        "error": float(np.sqrt(np.mean((_share(law, fitted, x) - share) ** 2))),
        "held_out_error": float(np.sqrt(np.mean(np.concatenate(held_out) ** 2))),
        "curve": {"flops": np.exp(line).tolist(), "share": _share(law, fitted, line).tolist(), "low": low.tolist(),
                  "high": high.tolist()},
    }  # fmt: skip


def _minima(law: Law, table: Table, weights: np.ndarray, seed: int) -> np.ndarray:
    """Coordinates [problems, P] of the minimum of each weighting of the rows, looked for from that of the first."""
    padded, loss = _pad(table), Robust("squared", 1.0)
    weights = np.concatenate([weights, np.zeros((len(weights), len(padded) - len(table)))], axis=1)
    starts = starting_points(law, table, _STARTS, seed)
    with np.errstate(over="ignore"):
        ends = follow(law, padded, starts, np.repeat(weights[:1], len(starts), axis=0), loss)
        best = int(np.argmin(np.where(np.isfinite(ends.objective), ends.objective, np.inf)))
        return Refits(law, padded, ends.coordinates[best : best + 1], loss)(weights).coordinates


def _share(law: Law, values: np.ndarray, x: np.ndarray) -> np.ndarray:
    predicted = law.predict(values, **{law.inputs[0]: np.exp(x)})
    return predicted if law.response == "accuracy" else 1 - predicted


def _pad(table: Table) -> Table:
    """The table with copies of its last row, which get no weight, up to a round number of rows."""
    more = -len(table) % _PADDED
    return table.take(np.concatenate([np.arange(len(table)), np.full(more, len(table) - 1)]))


def _folds(x: np.ndarray) -> np.ndarray:
    """Parts of the range of compute of about as many rows each, whole scales, numbered from 0 [rows]; 3 or more."""
    levels = np.round(x, 2)
    scales = np.unique(levels)
    bounds = np.unique(np.linspace(0, len(scales), min(_FOLDS, len(scales)) + 1).astype(int)[1:-1])
    return np.searchsorted(scales[bounds], levels, side="right")

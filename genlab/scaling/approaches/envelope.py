"""Compute-optimal size from the envelope of training curves (approach 1 of Hoffmann et al. 2022, section 3.1).

Every run's training curve is smoothed and read as loss against FLOPs. At 1,500 FLOPs evenly spaced in the
logarithm the run with the lowest loss is the most efficient; power laws through these runs' sizes and tokens
give N_opt(C) and D_opt(C). FLOPs at which the best size is at an edge of what could have been better are
refused: see `Envelope.refused`.

    envelope(runs).params_law(1e21), envelope(points_table, smoothing="gaussian", width=0.1)

The middle of a run is not the end of a shorter one: where the learning rate decays over the run, its losses
on the way are too high, most for few tokens (Hoffmann et al. 2022, section 2, on Kaplan et al. 2020).
"""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from genlab.scaling.approaches.curves import TrainingCurve, training_curves
from genlab.scaling.approaches.power_laws import PowerLaw
from genlab.scaling.runs import LeftOut, Runs

GRID = 1500  # FLOPs of the envelope, as in Hoffmann et al. 2022, section 3.1
SAME_SIZE = 1.1  # sizes within this factor are no better neighbours of a size than itself
_EVERY = 5  # of the FLOPs a bootstrap resample looks at every fifth: 1,000 resamples in about a second
_MOST_DRAWN = 2  # times the resamples asked for that are drawn: where more than half fail there are no intervals
_CONVERGED = 0.95  # of its tokens: a run that far is about to end
_REASONS = (
    "the smallest size with a curve there is the best",
    "the largest size with a curve there is the best",
    "the best size's smaller neighbour has no curve there",
    "the best size's larger neighbour has no curve there",
    "the best run is within one point of an end of its curve",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Envelope:
    """The lower envelope of training curves.

    Attributes:
      flops: where the envelope can be used, [points].
      params, tokens, loss: of the best run there, [points].
      names: of that run, [points].
      progress: the share of its tokens that the run has seen there, [points].
      refused: reason -> the share of the FLOPs between the first and last curve that it cost.
      params_law, tokens_law: N_opt(C) and D_opt(C), with intervals from a bootstrap over runs; None where
        fewer than two sizes make the envelope.
      smoothing, width: of the curves, see `TrainingCurve.smoothed`.
      curves: how many were used.
      left_out: runs without a usable curve, and those with points that have no finite number.
      resamples, resamples_redrawn: of the runs; redrawn ones left fewer than two sizes on the envelope.
      warnings: in words.
    """

    flops: np.ndarray
    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    names: tuple[str, ...]
    progress: np.ndarray
    refused: dict[str, float]
    params_law: PowerLaw | None
    tokens_law: PowerLaw | None
    smoothing: str
    width: float
    curves: int
    left_out: tuple[LeftOut, ...] = ()
    resamples: int = 0
    resamples_redrawn: int = 0
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What was found, as JSON; of the points one for each run in turn, with the FLOPs it is best at."""
        begins = [i for i, name in enumerate(self.names) if not i or name != self.names[i - 1]]
        ends = [*(i - 1 for i in begins[1:]), len(self.names) - 1] if begins else []
        stretches = [
            {"name": self.names[i], "params": float(self.params[i]), "flops": [float(v) for v in self.flops[[i, j]]]}
            for i, j in zip(begins, ends, strict=True)
        ]
        return {
            "smoothing": self.smoothing,
            "width": self.width,
            "curves": self.curves,
            "params_law": self.params_law and self.params_law.to_json(),
            "tokens_law": self.tokens_law and self.tokens_law.to_json(),
            "best_runs": stretches,
            "refused": self.refused,
            "left_out": [row._asdict() for row in self.left_out],
            "resamples": self.resamples,
            "resamples_redrawn": self.resamples_redrawn,
            "warnings": list(self.warnings),
        }


def envelope(
    table: Runs | pd.DataFrame,
    smoothing: str = "gaussian",
    width: float = 0.1,
    resamples: int = 1000,
    seed: int = 0,
    decays: bool = True,
) -> Envelope:
    """The envelope of a table's training curves, and the power laws through it.

    Args:
      table: see `training_curves`.
      smoothing, width: of the curves, see `TrainingCurve.smoothed`.
      resamples: bootstrap over runs, not over points: the points of a curve err together.
      seed: of the bootstrap.
      decays: the learning rate decays over a run (or it is not known), so that losses on the way are no
        losses of shorter runs; False for a constant learning rate silences that warning.

    Raises:
      ValueError: no curves in the table, or an argument that makes no sense.
    """
    raw, left_out = training_curves(table)
    curves = [curve.smoothed(smoothing, width) for curve in raw]
    if len(curves) < 2:
        raise ValueError(f"an envelope needs the training curves of two or more runs; there are {len(curves)}")
    low, high = min(c.flops[0] for c in curves), max(c.flops[-1] for c in curves)
    grid = _Grid(curves, np.linspace(np.log(low), np.log(high), GRID))
    best, why = grid.envelope(np.arange(len(curves)))
    used = why < 0
    laws, drawn, redrawn = (None, None), np.zeros((0, 4)), 0
    if used.any() and len(np.unique(grid.log_params[best[used]])) > 1:
        drawn, redrawn = _bootstrap(grid, resamples, seed)
        at = _two_lines(grid, best, used)
        laws = PowerLaw(at[0], at[1], drawn[:, :2]), PowerLaw(at[2], at[3], drawn[:, 2:])
    here = best[used]
    tokens = np.exp(grid.log_tokens[here, used])
    progress = tokens / np.array([curves[i].horizon for i in here])
    found = Envelope(
        flops=np.exp(grid.log_flops[used]),
        params=np.exp(grid.log_params[here]),
        tokens=tokens,
        loss=np.exp(grid.log_loss[here, used]),
        names=tuple(curves[i].name for i in here),
        progress=progress,
        refused={reason: float(np.mean(why == k)) for k, reason in enumerate(_REASONS) if (why == k).any()},
        params_law=laws[0],
        tokens_law=laws[1],
        smoothing=smoothing,
        width=float(width) if smoothing != "none" else 0.0,
        curves=len(curves),
        left_out=tuple(left_out),
        resamples=len(drawn),
        resamples_redrawn=redrawn,
    )
    return dataclasses.replace(found, warnings=tuple(_warnings(found, resamples, decays)))


class _Grid:
    """Every curve's log loss and log tokens at the same FLOPs, [curves, grid]; inf where it has none."""

    def __init__(self, curves: list[TrainingCurve], log_flops: np.ndarray):
        self.log_flops = log_flops
        self.log_params = np.log([curve.params for curve in curves])
        at = [np.log(curve.flops) for curve in curves]
        self.log_loss = np.stack(
            [np.interp(log_flops, x, np.log(c.loss), np.inf, np.inf) for x, c in zip(at, curves, strict=True)]
        )
        self.log_tokens = np.stack([np.interp(log_flops, x, np.log(c.tokens)) for x, c in zip(at, curves, strict=True)])
        self.at_end = np.stack([(log_flops < x[1]) | (log_flops > x[-2]) for x in at])

    def coarser(self, every: int) -> "_Grid":
        """The same at every so many FLOPs."""
        thin = object.__new__(_Grid)
        thin.log_params = self.log_params
        for name in ("log_flops", "log_loss", "log_tokens", "at_end"):
            setattr(thin, name, getattr(self, name)[..., ::every])
        return thin

    def envelope(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(the best of these curves [grid], which of _REASONS refuses it there [grid], -1 for none)."""
        loss, size = self.log_loss[rows], self.log_params[rows]
        lowest = loss.argmin(axis=0)
        there, at = np.isfinite(loss), size[lowest]
        apart = size[:, None] - at
        smaller, larger = apart < -np.log(SAME_SIZE), apart > np.log(SAME_SIZE)
        # The nearest smaller and larger size of all, whether it has a curve at this compute or not.
        below = np.where(smaller, size[:, None], -np.inf).max(axis=0)
        above = np.where(larger, size[:, None], np.inf).min(axis=0)
        why = np.full(len(lowest), -1)
        checks = (
            ~(smaller & there).any(axis=0),
            ~(larger & there).any(axis=0),
            ~(there & (size[:, None] == below)).any(axis=0),
            ~(there & (size[:, None] == above)).any(axis=0),
            self.at_end[rows[lowest], np.arange(len(lowest))],
        )
        for k, bad in reversed(list(enumerate(checks))):
            why[bad] = k
        return rows[lowest], why


def _two_lines(grid: _Grid, best: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Exponent and log constant of N_opt, then of D_opt, by least squares in the logarithms, [4]."""
    x = grid.log_flops[used]
    y = np.stack([grid.log_params[best[used]], grid.log_tokens[best[used], used]], axis=1)
    (slopes, intercepts) = np.polyfit(x, y, 1)
    return np.array([slopes[0], intercepts[0], slopes[1], intercepts[1]])


def _bootstrap(grid: _Grid, resamples: int, seed: int) -> tuple[np.ndarray, int]:
    """Lines through the envelopes of resampled runs, [resamples, 4], and how many had to be drawn again.

    [0, 4] where most resamples leave fewer than two sizes on the envelope.
    """
    grid, rng = grid.coarser(_EVERY), np.random.default_rng([seed, 5])
    found, drawn, count = [], 0, len(grid.log_params)
    while len(found) < resamples and drawn < _MOST_DRAWN * resamples:
        rows = np.unique(rng.integers(count, size=count))
        best, why = grid.envelope(rows)
        used, drawn = why < 0, drawn + 1
        if used.any() and np.ptp(grid.log_params[best[used]]) > 0:
            found.append(_two_lines(grid, best, used))
    if len(found) < resamples:
        return np.zeros((0, 4)), drawn - len(found)
    return np.array(found).reshape(-1, 4), drawn - len(found)


def _warnings(found: Envelope, resamples: int, decays: bool) -> list[str]:
    told = []
    if found.params_law is None:
        told.append("the envelope has fewer than two sizes away from its edges: no power law")
    elif resamples and not found.resamples:
        told.append("most resamples of the runs leave fewer than two sizes on the envelope: no intervals")
    lost = sum(found.refused.values())
    if lost > 0.5:
        told.append(f"{lost:.0%} of the FLOPs between the first and last point of the curves are refused")
    early = float(np.mean(found.progress < _CONVERGED)) if len(found.progress) else 0.0
    if decays and early > 0:
        told.append(
            f"{early:.0%} of the envelope is mid-run (in the median after {np.median(found.progress):.0%} of the "
            "run's tokens): with a learning rate that decays over the run these losses are higher than those of "
            "runs that end there"
        )
    return told

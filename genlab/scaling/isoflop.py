"""Compute-optimal size from isoFLOP curves (approach 2 of Hoffmann et al. 2022).

At a fixed training compute, loss against log N is close to a parabola; its lowest point is the best size
for that compute. A minimum at the edge of the sizes that were tried is no minimum: it is refused.
"""

import dataclasses
from typing import Any

import numpy as np

from genlab.scaling.cost import Cost
from genlab.scaling.runs import Runs

MIN_SIZES = 3  # A parabola has three coefficients.
SAME_BUDGET = 1.15  # FLOPs of one budget differ by less than this factor: steps come in whole batches


@dataclasses.dataclass(frozen=True)
class IsoFlop:
    """Loss against size at one training compute.

    Attributes:
      flops: the budget.
      names: identities of the runs; of both neighbours, "a..b", for an interpolated point.
      params, tokens, loss: one entry a point, in order of params.
      interpolated: the points are read off each size's loss against compute, between two of its runs.
      coefficients: of log loss as a parabola in log params, highest power first; empty if refused.
      best_params, best_tokens, best_loss: the minimum; None where it is refused.
      refused: why there is no minimum, in words; empty if there is one.
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

    def curve(self, params) -> np.ndarray:
        """The parabola's loss at sizes `params`; NaN if it was refused."""
        if not self.coefficients:
            return np.full(np.shape(params), np.nan)
        return np.exp(np.polyval(self.coefficients, np.log(params)))

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "IsoFlop":
        """The inverse of `to_json`."""
        return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in saved.items()})


def isoflop_minima(runs: Runs, cost: Cost | None = None) -> list[IsoFlop]:
    """One isoFLOP curve for each training compute that at least three sizes share.

    Runs whose FLOPs agree within 15 %, with a gap to all others, share a budget. Where the table has no
    such budget (a grid of sizes by tokens), each size's log loss is interpolated in log FLOPs, never
    extrapolated, at up to five budgets that at least three sizes have runs around.

    Args:
      runs: params, tokens, flops, loss.
      cost: gives the tokens of a budget's best size; by default fitted to the table.

    Returns:
      In order of flops; empty if no three sizes share a compute.
    """
    cost = cost or Cost.of(runs)
    curves = _shared_budgets(runs, cost) or _interpolated_budgets(runs, cost)
    return sorted(curves, key=lambda curve: curve.flops)


def optimal_exponent(curves: list[IsoFlop]) -> tuple[float, float] | None:
    """(a, k) of N_opt = k C^a through the accepted minima (Hoffmann et al. 2022, section 3.2).

    None with fewer than two minima.
    """
    found = [(curve.flops, curve.best_params) for curve in curves if curve.best_params is not None]
    if len(found) < 2:
        return None
    log_flops, log_params = np.log(np.array(found)).T
    exponent, intercept = np.polyfit(log_flops, log_params, 1)
    return float(exponent), float(np.exp(intercept))


def _shared_budgets(runs: Runs, cost: Cost) -> list[IsoFlop]:
    flops, params = runs.column("flops"), runs.column("params")
    tokens, loss, names = runs.column("tokens"), runs.column("loss"), runs.names
    order = np.argsort(flops, kind="stable")
    curves = []
    for group in _groups(flops, order):
        if len(np.unique(params[group])) < MIN_SIZES:
            continue
        group = group[np.argsort(params[group], kind="stable")]
        budget = float(np.exp(np.mean(np.log(flops[group]))))
        points = [(str(names[i]), params[i], tokens[i], loss[i]) for i in group]
        curves.append(_curve(budget, points, False, cost))
    return curves


def _groups(flops: np.ndarray, order: np.ndarray) -> list[np.ndarray]:
    """Runs whose FLOPs lie close together and apart from all others."""
    log_flops = np.log(flops[order])
    groups = np.split(order, np.flatnonzero(np.diff(log_flops) > np.log(SAME_BUDGET) / 3) + 1)
    return [g for g in groups if flops[g].max() <= SAME_BUDGET * flops[g].min()]


def _interpolated_budgets(runs: Runs, cost: Cost) -> list[IsoFlop]:
    log_flops, params, loss = np.log(runs.column("flops")), runs.column("params"), runs.column("loss")
    log_tokens, names = np.log(runs.column("tokens")), runs.names
    sizes = {}
    for size in np.unique(params):
        rows = np.flatnonzero(params == size)
        rows = rows[np.unique(log_flops[rows], return_index=True)[1]]
        if len(rows) > 1:
            sizes[size] = rows
    curves = []
    for budget in _budgets_to_interpolate([log_flops[rows] for rows in sizes.values()]):
        points = []
        for size, rows in sizes.items():
            at = log_flops[rows]
            if not _spans(at, budget):
                continue
            right = int(np.clip(np.searchsorted(at, budget), 1, len(rows) - 1))
            tokens = np.exp(_interpolate(at, log_tokens[rows], budget))
            value = np.exp(_interpolate(at, np.log(loss[rows]), budget))
            points.append((f"{names[rows[right - 1]]}..{names[rows[right]]}", size, tokens, value))
        curves.append(_curve(float(np.exp(budget)), points, True, cost))
    return curves


def _interpolate(x: np.ndarray, y: np.ndarray, at: float) -> float:
    """The parabola through the three nearest points (the line through two), at `at`."""
    near = np.argsort(np.abs(x - at), kind="stable")[:3]
    return float(np.polyval(np.polyfit(x[near] - at, y[near], len(near) - 1), 0.0))


def _budgets_to_interpolate(spans: list[np.ndarray]) -> np.ndarray:
    """At most five log budgets, evenly spaced over where at least three sizes have runs around them."""

    def covered(budget: float) -> bool:
        return sum(_spans(span, budget) for span in spans) >= MIN_SIZES

    ends = [end for span in spans for end in (span[0], span[-1]) if covered(end)]
    if not ends:
        return np.array([])
    grid = np.unique(np.linspace(min(ends), max(ends), 5))
    return np.array([budget for budget in grid if covered(budget)])


def _spans(log_flops: np.ndarray, budget: float) -> bool:
    return bool(log_flops[0] - 1e-9 <= budget <= log_flops[-1] + 1e-9)


def _curve(budget: float, points: list[tuple], interpolated: bool, cost: Cost) -> IsoFlop:
    names, params, tokens, loss = zip(*points, strict=True)
    curve = IsoFlop(
        flops=budget,
        names=tuple(names),
        params=tuple(map(float, params)),
        tokens=tuple(map(float, tokens)),
        loss=tuple(map(float, loss)),
        interpolated=interpolated,
    )
    log_params, log_loss = np.log(params), np.log(loss)
    if log_params[np.argmin(log_loss)] in (log_params.min(), log_params.max()):
        which = "smallest" if log_params[np.argmin(log_loss)] == log_params.min() else "largest"
        return dataclasses.replace(curve, refused=f"the {which} size has the lowest loss")
    centre = log_params.mean()
    a, b, c = np.polyfit(log_params - centre, log_loss, 2)
    if a <= 0:
        return dataclasses.replace(curve, refused="the losses do not curve upwards")
    best = centre - b / (2 * a)
    if not log_params.min() < best < log_params.max():
        return dataclasses.replace(curve, refused="the parabola's minimum is outside the sizes")
    best_params = float(np.exp(best))
    return dataclasses.replace(
        curve,
        coefficients=(float(a), float(b - 2 * a * centre), float(c - b * centre + a * centre**2)),
        best_params=best_params,
        best_tokens=float(cost.tokens(budget, best_params)),
        best_loss=float(np.exp(c - b * b / (4 * a))),
    )

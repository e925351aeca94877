"""Which runs of a table stand at one training compute: budgets that runs share, or that lie between runs."""

import dataclasses

import numpy as np

from genlab.scaling.runs import Runs

MIN_SIZES = 3  # A parabola has three coefficients.
SAME_BUDGET = 1.15  # FLOPs of one budget differ by less than this factor: steps come in whole batches
_WELL_APART = 0.5
_INTERPOLATED = 5  # budgets, where the runs themselves share none


@dataclasses.dataclass(frozen=True)
class Budget:
    """Loss and tokens at several sizes and one training compute, in order of params.

    Attributes:
      flops: the budget, the geometric mean of its runs'.
      names: identities of the runs; of both neighbours, "a..b", for an interpolated point.
      params, tokens, loss: [points]; tokens are scaled to the budget itself.
      noise: standard deviation of each log loss, [points]; NaN where it is not known.
      interpolated: the points are read off each size's loss against compute, between two of its runs.
    """

    flops: float
    names: tuple[str, ...]
    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    noise: np.ndarray
    interpolated: bool


def find_budgets(runs: Runs, noise: np.ndarray) -> list[Budget]:
    """Every budget that at least three sizes share, in order of flops.

    Runs whose FLOPs agree within 15 %, with a gap to all others, share a budget. Where the table has no
    such budget (a grid of sizes by tokens), each size's log loss is interpolated in log FLOPs, never
    extrapolated, at up to five budgets that at least three sizes have runs around.

    Args:
      runs: params, tokens, flops, loss.
      noise: standard deviation of each run's log loss, [rows].
    """
    found = _shared(runs, noise) or _interpolated(runs, noise)
    return sorted(found, key=lambda budget: budget.flops)


def _shared(runs: Runs, noise: np.ndarray) -> list[Budget]:
    flops, params = runs.column("flops"), runs.column("params")
    tokens, loss, names = runs.column("tokens"), runs.column("loss"), runs.names
    found = []
    for group in _groups(flops):
        if len(np.unique(params[group])) < MIN_SIZES:
            continue
        group = group[np.argsort(params[group], kind="stable")]
        flops_here = float(np.exp(np.mean(np.log(flops[group]))))
        at = tuple(str(names[i]) for i in group)
        scaled = tokens[group] * flops_here / flops[group]
        found.append(Budget(flops_here, at, params[group], scaled, loss[group], noise[group], False))
    return found


def _groups(flops: np.ndarray) -> list[np.ndarray]:
    """Runs whose FLOPs lie close together and apart from all others."""
    order = np.argsort(flops, kind="stable")
    log_flops = np.log(flops[order])
    groups = np.split(order, np.flatnonzero(np.diff(log_flops) > np.log(SAME_BUDGET) / 3) + 1)
    return [g for g in groups if flops[g].max() <= SAME_BUDGET * flops[g].min()]


def _interpolated(runs: Runs, noise: np.ndarray) -> list[Budget]:
    log_flops, log_loss = np.log(runs.column("flops")), np.log(runs.column("loss"))
    log_tokens, params, names = np.log(runs.column("tokens")), runs.column("params"), runs.names
    sizes = _rows_by_size(params, log_flops)
    found = []
    for budget in _budgets_to_interpolate([log_flops[rows[[0, -1]]] for rows in sizes]):
        points = []
        for rows in sizes:
            at = log_flops[rows]
            if not at[0] - 1e-9 <= budget <= at[-1] + 1e-9:
                continue
            right = int(np.clip(np.searchsorted(at, budget), 1, len(rows) - 1))
            near, weight = _parabola_around(at, budget, right)
            tokens, loss = (np.exp(weight @ values[rows[near]]) for values in (log_tokens, log_loss))
            spread = np.sqrt(np.sum((weight * noise[rows[near]]) ** 2))
            left_name, right_name = names[rows[right - 1]], names[rows[right]]
            points.append((f"{left_name}..{right_name}", params[rows[0]], tokens, loss, spread))
        at, *columns = zip(*points, strict=True)
        found.append(Budget(float(np.exp(budget)), at, *map(np.array, columns), True))
    return found


def _rows_by_size(params: np.ndarray, log_flops: np.ndarray) -> list[np.ndarray]:
    """For each size with runs at two or more computes, ascending, its rows in order of compute."""
    order = np.lexsort((log_flops, params))
    groups = np.split(order, np.flatnonzero(np.diff(params[order])) + 1)
    groups = [rows[np.unique(log_flops[rows], return_index=True)[1]] for rows in groups]
    return [rows for rows in groups if len(rows) > 1]


def _parabola_around(x: np.ndarray, at: float, right: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of ascending x to interpolate through, and Lagrange's weights of their values at `at`.

    The points around it, x[right - 1] and x[right], and the nearest other one that is at least half their distance
    away from both; a straight line where there is none: close points would weigh their noise many times.
    """
    pair = np.array([right - 1, right])
    away = np.abs(x[:, None] - x[pair]).min(axis=1)
    others = np.flatnonzero(away >= _WELL_APART * (x[right] - x[right - 1]))
    near = np.append(pair, others[np.argsort(np.abs(x[others] - at), kind="stable")[:1]])
    return near, np.array([np.prod([(at - x[j]) / (x[i] - x[j]) for j in near if j != i]) for i in near])


def _budgets_to_interpolate(spans: list[np.ndarray]) -> np.ndarray:
    """At most five log budgets, evenly spaced over where at least three sizes have runs around them."""
    if len(spans) < MIN_SIZES:
        return np.array([])
    first, last = np.sort(np.array(spans), axis=0).T

    def covered(budgets: np.ndarray) -> np.ndarray:
        begun = np.searchsorted(first, budgets + 1e-9, side="right")
        return begun - np.searchsorted(last, budgets - 1e-9, side="left") >= MIN_SIZES

    ends = np.concatenate([first, last])
    ends = ends[covered(ends)]
    if not len(ends):
        return np.array([])
    grid = np.unique(np.linspace(ends.min(), ends.max(), _INTERPOLATED))
    return grid[covered(grid)]

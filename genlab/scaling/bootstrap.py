"""Bootstrap over rows: every resample refitted to the same certificate as the fit itself."""

import numpy as np

from genlab.scaling.derivatives import Table
from genlab.scaling.law import Law
from genlab.scaling.minimize import SAME_MINIMUM, Minima, follow
from genlab.scaling.starts import starting_points

_ENTRIES_AT_ONCE = 4_000_000  # of a [resamples, rows] matrix of weights: 32 MB
_FRESH_STARTS = 4


def draw_resamples(
    rng: np.random.Generator, table: Table, count: int, parameters: int
) -> tuple[np.ndarray, int]:
    """Draws rows with replacement: (how often each row was drawn [count, rows], number redrawn).

    A resample that could not be fitted (no more different rows than parameters, or a single value of
    some input) is drawn again, by the rule that refuses such a table in the first place.
    """
    rows = len(table)
    weights, redrawn = np.zeros((count, rows)), 0
    todo = np.arange(count)
    for _ in range(1000):
        drawn = rng.multinomial(rows, np.full(rows, 1.0 / rows), size=len(todo))
        weights[todo] = drawn
        bad = (drawn > 0).sum(axis=1) <= parameters
        for values in table.log_inputs:
            lowest = np.where(drawn > 0, values, np.inf).min(axis=1)
            bad |= lowest >= np.where(drawn > 0, values, -np.inf).max(axis=1)
        todo = todo[bad]
        redrawn += len(todo)
        if not len(todo):
            return weights, redrawn
    raise ValueError("a bootstrap finds no resample that could be fitted: too few different rows")


def bootstrap(
    law: Law, table: Table, near: np.ndarray, resamples: int, delta: float, seed: int
) -> tuple[Minima, int]:
    """Refits resamples of the rows, each from every point of `near`, and keeps the lowest minimum.

    Resamples that have not converged from there are followed from fresh starting points.

    Returns:
      one minimum a resample, none left out, and how many resamples had to be drawn again.
    """
    rng = np.random.default_rng([seed, 1])
    at_once = max(1, _ENTRIES_AT_ONCE // len(table))
    parts, redrawn = [], 0
    for begin in range(0, resamples, at_once):
        count = min(at_once, resamples - begin)
        weights, again = draw_resamples(rng, table, count, len(law.parameters))
        redrawn += again
        best = None
        for point in near:
            start = np.repeat(point[None], count, axis=0)
            best = _better(best, follow(law, table, start, weights, delta, near=True))
        parts.append(_retry(law, table, best, weights, delta, seed))
    return Minima.join(parts), redrawn


def _retry(law, table, found: Minima, weights: np.ndarray, delta: float, seed: int) -> Minima:
    """Follows the resamples that have not converged from fresh starting points, all at once."""
    failed = np.flatnonzero(~found.converged)
    if not len(failed):
        return found
    points = starting_points(law, table, _FRESH_STARTS, seed + 1)
    start = np.tile(points, (len(failed), 1))
    again = follow(law, table, start, np.repeat(weights[failed], _FRESH_STARTS, axis=0), delta)
    for k in range(_FRESH_STARTS):
        other = again.take(np.arange(k, len(start), _FRESH_STARTS))
        found = found.replaced(failed, _better(found.take(failed), other))
    return found


def _better(old: Minima | None, new: Minima) -> Minima:
    """Problem by problem the lower objective; at equal ones, the converged result."""
    if old is None:
        return new
    slack = SAME_MINIMUM * np.abs(old.objective)
    take = (new.objective < old.objective - slack) | ~np.isfinite(old.objective)
    take |= (new.objective <= old.objective + slack) & new.converged & ~old.converged
    rows = np.flatnonzero(take)
    return old.replaced(rows, new.take(rows))

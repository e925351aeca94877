"""Bootstrap over rows: every resample refitted to the same certificate as the fit itself."""

import numpy as np

from genlab.scaling.law import Law
from genlab.scaling.minimize import SAME_MINIMUM, Minima, Table, follow, minimize
from genlab.scaling.starts import starting_points

_ENTRIES_AT_ONCE = 4_000_000  # of a [resamples, rows] matrix of weights: 32 MB
_FRESH_STARTS = 8


def bootstrap(
    law: Law, table: Table, near: np.ndarray, resamples: int, delta: float, seed: int
) -> Minima:
    """Refits resamples of the rows (drawn with replacement), each from every point of `near`.

    Resamples that have not converged from there are followed from 8 fresh starting points. Every
    resample is in the result, in order.
    """
    rng = np.random.default_rng([seed, 1])
    rows = len(table)
    at_once = max(1, _ENTRIES_AT_ONCE // rows)
    parts = []
    for begin in range(0, resamples, at_once):
        count = min(at_once, resamples - begin)
        drawn = rng.multinomial(rows, np.full(rows, 1.0 / rows), size=count).astype(np.float64)
        best = None
        for point in near:
            start = np.repeat(point[None], count, axis=0)
            best = _better(best, minimize(law, table, start, drawn, delta))
        parts.append(_retry(law, table, best, drawn, delta, seed))
    return Minima.join(parts)


def _retry(law, table, found: Minima, weights: np.ndarray, delta: float, seed: int) -> Minima:
    failed = np.flatnonzero(~found.converged)
    if not len(failed):
        return found
    points = starting_points(law, table, _FRESH_STARTS, seed + 1)
    for point in points:
        start = np.repeat(point[None], len(failed), axis=0)
        again = follow(law, table, start, weights[failed], delta)
        found = found.replaced(failed, _better(found.take(failed), again))
    return found


def _better(old: Minima | None, new: Minima) -> Minima:
    """Problem by problem the lower objective; at equal ones, the converged result."""
    if old is None:
        return new
    slack = SAME_MINIMUM * np.abs(old.objective)
    take = (new.objective < old.objective - slack) | ~np.isfinite(old.objective)
    take |= (new.objective <= old.objective + slack) & new.converged & ~old.converged
    return old.replaced(np.flatnonzero(take), new.take(np.flatnonzero(take)))



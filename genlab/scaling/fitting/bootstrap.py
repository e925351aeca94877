"""Bootstrap over rows, or over groups of them: every resample refitted to the same certificate as the fit."""

import numpy as np

from genlab.scaling.fitting.chord import LARGE, Chord
from genlab.scaling.fitting.derivatives import Table
from genlab.scaling.fitting.minimize import SAME_MINIMUM, Minima, follow
from genlab.scaling.fitting.robust import Robust
from genlab.scaling.fitting.starts import starting_points
from genlab.scaling.law import Law

_ENTRIES_AT_ONCE = 4_000_000  # of a [resamples, rows] matrix of weights: 32 MB
_FRESH_STARTS = 4
_SURELY_THERE = 100  # a resample lacks all of k rows with probability e^-k


def draw_resamples(
    rng: np.random.Generator, table: Table, count: int, parameters: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, int]:
    """Draws rows with replacement: (how often each row was drawn [count, rows], number redrawn).

    A resample that could not be fitted (no more different rows than parameters, or a single value of
    some input) is drawn again, by the rule that refuses such a table in the first place.

    Args:
      groups: which group each row belongs to [rows], numbered from 0; whole groups are drawn then, as
        many as there are (the pairs cluster bootstrap; Cameron, Gelbach and Miller 2008).
    """
    rows = len(table)
    units = rows if groups is None else int(groups.max()) + 1
    scarce = [values for values in table.log_inputs if _others_than_commonest(values) <= _SURELY_THERE]
    weights, redrawn = np.zeros((count, rows)), 0
    todo = np.arange(count)
    for _ in range(1000):
        drawn = rng.integers(0, units, size=(len(todo), units)) + units * np.arange(len(todo))[:, None]
        drawn = np.bincount(drawn.ravel(), minlength=units * len(todo)).reshape(len(todo), units)
        drawn = drawn if groups is None else drawn[:, groups]
        weights[todo] = drawn
        bad = np.count_nonzero(drawn, axis=1) <= parameters
        for values in table.log_inputs if groups is not None else scarce:
            lowest = np.where(drawn > 0, values, np.inf).min(axis=1)
            bad |= lowest >= np.where(drawn > 0, values, -np.inf).max(axis=1)
        todo = todo[bad]
        redrawn += len(todo)
        if not len(todo):
            return weights, redrawn
    raise ValueError("a bootstrap finds no resample that could be fitted: too few different rows")


def _others_than_commonest(values: np.ndarray) -> int:
    """How many entries differ from the commonest value."""
    return len(values) - int(np.unique(values, return_counts=True)[1].max())


def bootstrap(
    law: Law,
    table: Table,
    near: np.ndarray,
    resamples: int,
    loss: Robust | float,
    seed: int,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> tuple[Minima, int]:
    """Refits resamples of the rows, each from every point of `near`, and keeps the lowest minimum.

    Resamples that have not converged from there are followed from fresh starting points.

    Args:
      law: the functional form.
      table: the rows.
      near: coordinates of the minima on all rows, [points, P], the fit's own first.
      resamples: how many.
      loss: as for `follow`.
      seed: of the resamples.
      weights: of the rows in the fit, [rows]; a row counts by its weight as often as it was drawn.
      groups: see `draw_resamples`.

    Returns:
      one minimum a resample, none left out, and how many resamples had to be drawn again.
    """
    rng = np.random.default_rng([seed, 1])
    at_once = max(1, _ENTRIES_AT_ONCE // len(table))
    refit = Refits(law, table, near, loss)
    parts, redrawn = [], 0
    for begin in range(0, resamples, at_once):
        count = min(at_once, resamples - begin)
        drawn, again = draw_resamples(rng, table, count, len(law.parameters) - len(law.fixed), groups)
        drawn = drawn if weights is None else drawn * weights
        redrawn += again
        parts.append(_retry(law, table, refit(drawn), drawn, loss, seed))
    return Minima.join(parts), redrawn


class Refits:
    """Minima of any weightings of a table's rows, looked for near known minima."""

    def __init__(self, law: Law, table: Table, near: np.ndarray, loss: Robust | float):
        """`near`: coordinates [points, P]; from each of them every problem is followed."""
        self._law, self._table, self._near, self._loss = law, table, near, Robust.of(loss)
        large = len(table) >= LARGE
        self._chords = [Chord(law, table, self._loss, point) for point in near] if large else []

    def __call__(self, weights: np.ndarray) -> Minima:
        """The lowest minimum found for each weighting, [problems, rows]."""
        best = None
        for chord in self._chords:
            best = _better(best, chord(weights))
        left = np.arange(len(weights)) if best is None else np.flatnonzero(~best.converged)
        for point in self._near if len(left) else ():
            start = np.repeat(point[None], len(left), axis=0)
            found = follow(self._law, self._table, start, weights[left], self._loss, near=True)
            best = found if best is None else best.replaced(left, _better(best.take(left), found))
        return best


def _retry(law, table, found: Minima, weights: np.ndarray, loss: Robust | float, seed: int) -> Minima:
    """Follows the resamples that have not converged from fresh starting points, all at once."""
    failed = np.flatnonzero(~found.converged)
    if not len(failed):
        return found
    points = starting_points(law, table, _FRESH_STARTS, seed + 1)
    start = np.tile(points, (len(failed), 1))
    again = follow(law, table, start, np.repeat(weights[failed], _FRESH_STARTS, axis=0), loss)
    for k in range(_FRESH_STARTS):
        other = again.take(np.arange(k, len(start), _FRESH_STARTS))
        found = found.replaced(failed, _better(found.take(failed), other))
    return found


def _better(old: Minima | None, new: Minima) -> Minima:
    """Problem by problem the lower objective; at equal ones, the converged result."""
    if old is None:
        return new
    slack = SAME_MINIMUM * np.abs(np.where(np.isfinite(old.objective), old.objective, 0.0))
    take = (new.objective < old.objective - slack) | ~np.isfinite(old.objective)
    take |= (new.objective <= old.objective + slack) & new.converged & ~old.converged
    rows = np.flatnonzero(take)
    return old.replaced(rows, new.take(rows))

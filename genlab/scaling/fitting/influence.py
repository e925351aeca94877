"""Which rows a fit rests on: leave-one-out refits, sets of rows that move the exponents together, and the
fit with and without the rows that were dropped.

Rows that err together hide one another: with either of two left in, the fit hardly moves. So sets are
tried as well as single rows. The rule of `influence`, for a table of n rows:

  1. Candidates are sets of sqrt(n)/3 rows, or twice as many where those say nothing: the rows whose
     first-order influence on an exponent adds up to most, in either direction (Broderick, Giordano and Meager
     2020, arXiv 2011.14999); the rows furthest from a fit with a Cauchy loss, which hardly counts them; and
     the single rows that move an exponent most.
  2. Each candidate is left out and the law refitted; those that move an exponent most are looked at first.
  3. Its rows that lie more than 5 standard deviations from the refit are kept; the deviation is that of the
     remaining residuals (by their median absolute deviation) and of the refit's own prediction.
  4. They are influential if without them an exponent moves by more than 2 bootstrap standard deviations of the
     fit without them. (The fit with them is no yardstick: such rows widen its own intervals.)
  5. What remains is searched again, until nothing is found.

Of ordinary noise, sqrt(n)/3 rows can move an exponent by about one standard deviation, whatever n is.
"""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from genlab.scaling.fitting.bootstrap import Refits, bootstrap
from genlab.scaling.fitting.derivatives import row_terms
from genlab.scaling.fitting.fit_law import fit_law
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.fitting.minimize import Minima, follow, free_parameters
from genlab.scaling.fitting.robust import Robust
from genlab.scaling.fitting.rows import rows_of, table_of
from genlab.scaling.fitting.weighting import row_groups
from genlab.scaling.law import Law
from genlab.scaling.runs import Runs

_LARGEST_SET = 1 / 3  # of sqrt(rows)
_MOVED = 2.0  # bootstrap standard deviations of the fit without the rows
_OUTLYING = 5.0  # standard deviations from the fit without the rows
_LOOKED_AT = 4  # candidate sets of one round
_MOST_SETS = 5  # found one after another
_MOST_REFITS = 2_000  # single rows that are left out exactly; of others, the first-order influence is given
_ROWS_REFITTED = 40_000_000  # rows x refits of these: 400 refits of 100,000 rows take 3 s
_ENTRIES_AT_ONCE = 4_000_000
_CAUCHY = 2.385  # standard deviations: 95 % efficient for normal residuals (Holland and Welsch 1977)
_MAD = 1.4826  # standard deviation of normal residuals over their median absolute deviation


@dataclasses.dataclass(frozen=True, eq=False)
class Influence:
    """What each row does to a fit.

    Attributes:
      table: one row for each row of the fit (or group of rows): `row`; for each free parameter the change of
        its coordinate (its logarithm where the fit moves that) when the row is left out, in bootstrap
        standard deviations of the fit; `prediction`, the change of log predicted (predicted for a law whose
        `response_scale` is linear) at `at`; `residual` (log measured / predicted by the whole fit; of a group,
        the mean); `exact`, whether the law was refitted (else: first order); `influential`.
      rows: the influential rows, by name.
      moved: parameter -> (value with them, value without); empty where there are none.
      at: the inputs of the prediction.
      rule: what makes a row influential, in words.
    """

    table: pd.DataFrame
    rows: list[str | int]
    moved: dict[str, tuple[float, float]]
    at: dict[str, float]
    rule: str

    def to_json(self) -> dict[str, Any]:
        """The fields, without the table of all rows."""
        return {
            "rows": list(self.rows),
            "moved": {name: list(ends) for name, ends in self.moved.items()},
            "rule": self.rule,
        }


RULE = (
    "few rows (in each of up to five rounds at most 2/3 of the square root of their number) that lie more than 5 "
    "standard deviations from the fit without them, and without which an exponent moves by more than 2 of its standard "
    "deviations"
)


def influence(
    fit: Fit, runs: Runs, by: str = "", at: dict[str, float] | None = None, resamples: int = 200, seed: int = 0
) -> Influence:
    """Leaves out every row of a fit, or every group of rows, and names those that the fit rests on.

    Args:
      fit: of the law to `runs`.
      runs: the table that was fitted.
      by: leave out whole groups instead: "seed", "name,seed".
      at: inputs of the prediction whose change is reported; by default the largest of each in the table.
      resamples: of the bootstrap of the fit without the rows that are suspected.
      seed: of that bootstrap.

    Raises:
      ValueError: `runs` is not the table of the fit, or `by` makes fewer than three groups.
    """
    search = _Search(fit, runs, resamples, seed)
    at = at or {name: fit.ranges[name][1] for name in fit.law.inputs}
    found, without = search.influential()
    members = row_groups(rows_of(fit, runs), by)
    single = members is None
    units = np.arange(len(search.table)) if single else members
    coordinates, exact = search.each_left_out(units)
    law = fit.law
    with np.errstate(invalid="ignore", divide="ignore"):
        told = law.respond(law.predict(law.values(coordinates), **at)) - law.respond(fit.predict(**at))
    spread = np.maximum(search.spread, 1e-300)
    moves = (coordinates - search.start) / spread
    first = np.unique(units, return_index=True)[1]
    names = fit.rows_used if single else _group_names(runs, by, first)
    free = np.flatnonzero(free_parameters(law))
    table = pd.DataFrame(
        {
            "row": names,
            **{law.parameter_names[k]: moves[:, k] for k in free},
            "prediction": told,
            "residual": np.bincount(units, fit.residuals) / np.bincount(units),
            "exact": exact,
            "influential": np.bincount(units, np.isin(np.arange(len(units)), found)) > 0,
        }
    )
    values = law.values(without)
    moved = {name: (fit.parameters[name], float(values[k])) for k, name in enumerate(law.parameter_names)}
    return Influence(
        table, [fit.rows_used[row] for row in found], moved if len(found) else {}, at, RULE
    )


def with_and_without(
    law: str | Law, runs: Runs, dropped: np.ndarray, **settings
) -> dict[str, dict[str, Any]]:
    """The fit with and without some rows, side by side.

    Args:
      law: a law or its name.
      runs: all rows, those that were dropped included.
      dropped: which rows were dropped: bool [rows], or their names as in `runs.names`.
      **settings: of `fit_law`; without `resamples`, 200 give the intervals.

    Returns:
      "with" and "without", each with rows, objective, parameters and interval_95.

    Raises:
      ValueError: a name that no row has, no row dropped, or rows that cannot be fitted (see `fit_law`).
    """
    gone = np.asarray(dropped)
    if gone.dtype != bool:
        unwanted, there = dict.fromkeys(gone.tolist()), set(runs.names)
        unknown = [name for name in unwanted if name not in there]
        if unknown:
            raise ValueError(f"{runs.source} has no row {unknown[0]!r}")
        gone = np.array([name in unwanted for name in runs.names])
    if not gone.any():
        raise ValueError("no row was dropped: there is nothing to compare")
    settings = {"resamples": 200, **settings}
    sides = {"with": runs, "without": runs.take(~gone)}
    return {side: _summary(fit_law(law, rows, **settings)) for side, rows in sides.items()}


def _summary(fit: Fit) -> dict[str, Any]:
    return {
        "rows": len(fit.rows_used),
        "objective": fit.objective,
        "parameters": dict(fit.parameters),
        "interval_95": {name: list(ends) for name, ends in fit.intervals.items()},
    }


def _group_names(runs: Runs, by: str, first: np.ndarray) -> list[str]:
    columns = [name.strip() for name in by.split(",") if name.strip()]
    rows = runs.frame[columns].iloc[first]
    return [", ".join(str(value) for value in row) for row in rows.itertuples(index=False)]


class _Search:
    """Refits of one table without some of its rows."""

    def __init__(self, fit: Fit, runs: Runs, resamples: int, seed: int):
        runs = rows_of(fit, runs)
        self.law, self.table = fit.law, table_of(fit.law, runs)
        self.loss = Robust(fit.loss, fit.delta)
        self.weights = np.ones(len(self.table)) if fit.weights is None else fit.weights
        self.start = np.clip(fit.law.coordinates(fit.values), *fit.law.bounds)
        self.free = free_parameters(fit.law)
        self.exponents = _exponents(fit.law)
        self.resamples, self.seed = resamples, seed
        self.groups = row_groups(runs, fit.groups)
        self.spread = (
            fit.law.coordinates(fit.samples).std(axis=0)
            if len(fit.samples)
            else self._bootstrap(np.ones(len(self.table), dtype=bool), self.start).std(axis=0)
        )

    def refit(self, kept: np.ndarray, start: np.ndarray) -> Minima:
        """The law fitted to each subset of the rows, bool [subsets, rows]."""
        refits = Refits(self.law, self.table, start[None], self.loss)
        at_once = max(1, _ENTRIES_AT_ONCE // kept.shape[1])
        parts = range(0, len(kept), at_once)
        return Minima.join([refits(kept[begin : begin + at_once] * self.weights) for begin in parts])

    def influential(self) -> tuple[np.ndarray, np.ndarray]:
        """(positions of the influential rows, coordinates of the fit without them)."""
        kept, at = np.ones(len(self.table), dtype=bool), self.start
        small = max(1, round(_LARGEST_SET * np.sqrt(len(kept))))
        sizes = [size for size in (small, 2 * small) if size <= max(1, len(kept) // 8)]
        for _ in range(_MOST_SETS):
            if kept.sum() <= self.free.sum() + 2 * small + 1:
                break
            # The larger sets only where the smaller say nothing: rows that err together hide one another.
            rows = next(filter(len, (self._outlying_set(kept, at, size) for size in sizes)), ())
            if not len(rows):
                break
            kept[rows] = False
            at = self.refit(kept[None], at).coordinates[0]
        return np.flatnonzero(~kept), at

    def _outlying_set(self, kept: np.ndarray, at: np.ndarray, largest: int) -> np.ndarray:
        """One round of the module's rule with sets of one size: positions, perhaps none."""
        sets = self._candidates(kept, at, largest)
        subsets = np.repeat(kept[None], len(sets), axis=0)
        for subset, rows in zip(subsets, sets, strict=True):
            subset[rows] = False
        found = self.refit(subsets, at)
        moves = np.abs(found.coordinates - at)[:, self.exponents] / self.spread[self.exponents]
        moves = np.where(found.converged, np.nan_to_num(moves).max(axis=1), 0.0)
        for best in np.argsort(-moves)[:_LOOKED_AT]:
            rows = self._distant(subsets[best], np.asarray(sets[best]), found.coordinates[best])
            if not len(rows):
                continue
            without = kept.copy()
            without[rows] = False
            end = self.refit(without[None], at).coordinates[0]
            spread = self._bootstrap(without, end).std(axis=0)[self.exponents]
            moved = np.abs(end - at)[self.exponents] / np.maximum(spread, 1e-300)
            if moved.max() > _MOVED:
                return rows
        return np.array([], dtype=int)

    def _candidates(self, kept: np.ndarray, at: np.ndarray, largest: int) -> list[np.ndarray]:
        inside = np.flatnonzero(kept)
        first_order = self._first_order(kept, at)[inside][:, self.exponents]
        sets = [inside[order[:largest]] for order in np.argsort(first_order, axis=0).T]
        sets += [inside[order[:largest]] for order in np.argsort(-first_order, axis=0).T]
        residual = self._residuals(at)
        cauchy = Robust("cauchy", _CAUCHY * max(_scale(residual[inside], self._freedom(kept)), 1e-12))
        weights = (kept * self.weights)[None]
        aside = follow(self.law, self.table, at[None], weights, cauchy, near=True).coordinates[0]
        sets.append(inside[np.argsort(-np.abs(self._residuals(aside)[inside]))[:largest]])
        most = inside[np.argsort(-np.abs(first_order).max(axis=1))[:_MOST_SETS]]
        furthest = sets[-1][:1]
        return [*sets, furthest, *([row] for row in most)]

    def _distant(self, kept: np.ndarray, rows: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Those of some rows that lie far from a fit without them."""
        residual = self._residuals(at)
        scale = max(_scale(residual[kept], self._freedom(kept)), 1e-9)
        rows = rows[np.abs(residual[rows]) > _OUTLYING * scale / np.sqrt(self.weights[rows])]
        if not len(rows):
            return rows
        samples = self._bootstrap(kept, at)
        inputs = dict(zip(self.law.inputs, np.exp(self.table.log_inputs[:, rows]), strict=True))
        with np.errstate(invalid="ignore", divide="ignore"):
            told = self.law.respond(self.law.predict(self.law.values(samples), **inputs))
        deviation = np.sqrt(scale**2 / self.weights[rows] + np.nan_to_num(told.var(axis=0)))
        return rows[np.abs(residual[rows]) > _OUTLYING * deviation]

    def each_left_out(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(coordinates without each unit of rows [units, P], whether refitted [units])."""
        count = int(units.max()) + 1
        change = self._first_order(np.ones(len(units), dtype=bool), self.start)
        shift = np.stack([np.bincount(units, column, minlength=count) for column in change.T], axis=1)
        coordinates = np.clip(self.start + shift, *self.law.bounds)
        size = np.abs(shift / np.maximum(self.spread, 1e-300)).max(axis=1)
        refitted = np.sort(np.argsort(-size)[: min(_MOST_REFITS, max(50, _ROWS_REFITTED // len(units)))])
        at_once = max(1, _ENTRIES_AT_ONCE // len(units))
        for begin in range(0, len(refitted), at_once):
            part = refitted[begin : begin + at_once]
            coordinates[part] = self.refit(units[None] != part[:, None], self.start).coordinates
        return coordinates, np.isin(np.arange(count), refitted)

    def _first_order(self, kept: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Change of the coordinates when a row goes, to first order: H^-1 of its gradient, [rows, P]."""
        terms = row_terms(self.law, self.table, self.loss, at)
        weights = kept * self.weights
        hessian = np.einsum("n,nij->ij", weights, terms.hessian)
        free = self.free & (at > self.law.bounds[0]) & (at < self.law.bounds[1])
        change = np.zeros_like(terms.gradient)
        block = hessian[np.ix_(free, free)]
        size = np.sqrt(np.maximum(np.abs(np.diag(block)), 1e-300))
        block = block / np.outer(size, size)
        gradient = (weights[:, None] * terms.gradient)[:, free] / size
        change[:, free] = np.linalg.lstsq(block, gradient.T, rcond=1e-12)[0].T / size
        return change

    def _residuals(self, at: np.ndarray) -> np.ndarray:
        return row_terms(self.law, self.table, self.loss, at).residual

    def _freedom(self, kept: np.ndarray) -> int:
        return max(int(kept.sum() - self.free.sum()), 1)

    def _bootstrap(self, kept: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Coordinates of bootstrap refits to some of the rows, [resamples, P]."""
        groups = None if self.groups is None else np.unique(self.groups[kept], return_inverse=True)[1]
        table, weights = self.table.take(kept), self.weights[kept]
        count = self.resamples
        return bootstrap(self.law, table, at[None], count, self.loss, self.seed, weights, groups)[0].coordinates


def _exponents(law: Law) -> np.ndarray:
    """Positions of the parameters that set a law's shape: free, and neither scales nor linear in it."""
    free = free_parameters(law)
    linear = np.isin(law.parameter_names, law.linear)
    shape = np.flatnonzero(free & ~law.is_log & ~linear)
    return shape if len(shape) else np.flatnonzero(free)


def _scale(residuals: np.ndarray, freedom: int) -> float:
    """Standard deviation of residuals about a fit, blind to a few that are far away."""
    return float(_MAD * np.median(np.abs(residuals)) * np.sqrt(len(residuals) / freedom))

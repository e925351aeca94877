"""Rolling backtest: which law, fitted to the smaller runs, foretells the larger ones best.

The choice among laws rests on errors in runs that the fit did not see, never on training error.

The rule. Runs are sorted by training FLOPs, or, where every law is one of the same single variable (x, steps),
by that variable. A cut is 2 % above a run's value, such that at least `rows` runs lie at or below it, and at
least one above; `rows` is the largest number of parameters among the laws plus 1, or half of all runs if that
is more. So every law is judged on the same cuts, and none while it merely interpolates; a law takes part if
its number of parameters plus 1 is at most 80 % of the runs, so that large laws do not leave small tables
without cuts. At each cut every law is fitted to the runs at or below it and predicts all runs above it. The
score is the root mean square of log(predicted / measured) over all these predictions (of predicted - measured
for a response on a linear scale); the lowest score wins, and scores within 1 % of each other go to the law
with fewer parameters. Of a table of more than 4,000 runs, 2,000 drawn at random stand for all, and a note says
so: 12 cuts and 16 starts a cut would be 200 fits of the table, minutes of 100,000 rows.

The combination. Forecasts of all laws together, with weights in inverse proportion to the square of their mean
square errors: Bates and Granger 1969 ("The combination of forecasts", Operational Research Quarterly 20) weight
two forecasts by inverse mean square errors, Stock and Watson 2004 (Journal of Forecasting 23, section 3) by
powers of them. A cut with much to extrapolate has far larger errors than one with little; so that it does not
decide alone, the weights are computed at each cut and then averaged (`Backtest.weights`).

How this was arrived at. The rule of choice was there first. On the 92 learning curves of Alabdulmohsin et al.
2022 (fitted by least squares, no law of more than one break), it chooses no better than the best single law
does: a law that looks best at earlier cuts is often too simple for the whole curve. Some fifty variants of
it (other cuts, medians, errors per factor of extrapolation, only flexible laws) were tried on those curves,
held-out rows seen, and none did well in all four domains. Eleven ways to combine the laws were tried as well; all
but two do better than the choice on average, and this one is among the best in each domain. So its errors on those
curves (see `genlab.scaling.forecasts.groups`) are not those of a blind test; a new table is the fairer one.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genlab.scaling.fitting.derivatives import Table
from genlab.scaling.fitting.fit_law import HUBER_DELTA
from genlab.scaling.fitting.minimize import Minima, follow, free_parameters, minimize
from genlab.scaling.fitting.robust import Robust
from genlab.scaling.fitting.rows import check_identifiable, some_rows, table_of, usable_rows
from genlab.scaling.fitting.starts import starting_points
from genlab.scaling.fitting.weighting import row_weights
from genlab.scaling.law import Law
from genlab.scaling.laws import get_law
from genlab.scaling.runs import Runs

_SPARE_ROWS = 1
_LARGEST_LAW = 0.8  # of the runs: its parameters and spare rows
_MOST_CUTS = 12
STARTS = 16
_FOLLOWED = 3  # of the starts of each fit, those that a first descent leaves lowest
_TIE = 1.01
_SAME_COST = 1.02  # a run that costs 2 % more is no test of extrapolation: it is fitted
_EXACT = 1e-12  # root mean square errors below this are rounding
_SAMPLED = "the backtest judges the laws by {taken:,} of the {rows:,} rows, drawn at random"
RULE = (
    "least root mean square {error} of runs above a cut of {cut}, fitted to the runs at or below it, "
    "over all cuts that leave at least {rows} runs to fit; ties go to the law with fewer parameters"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Backtest:
    """What each law would have said about the runs above each cut.

    Attributes:
      table: one row a law, cut and predicted run: law, cut_flops, rows_fitted, name, flops, extrapolation
        (flops / cut_flops), predicted, measured, relative_error (predicted / measured - 1), log_error (its
        logarithmic form; for a response on a linear scale predicted - measured). A backtest along another
        variable has it in place of flops: cut_x and x.
      scores: law -> root mean square of log_error over its rows.
      choice: the law with the lowest score.
      rule: the rule, in words.
      notes: why a law is missing, or that some of the runs stand for all, in words.
      weights: law -> its share in `combine`; they sum to 1.
      along: the column that is cut, "flops" or the laws' one input.
      response_scale: of the laws, "log" or "linear".
    """

    table: pd.DataFrame
    scores: dict[str, float]
    choice: str
    rule: str
    notes: list[str] = dataclasses.field(default_factory=list)
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    along: str = "flops"
    response_scale: str = "log"

    def combine(self, forecasts: Mapping[str, np.ndarray]) -> np.ndarray:
        """The weighted mean of the laws' forecasts, geometric for responses on a log scale.

        Args:
          forecasts: law -> predicted responses, for each law in `weights`; any shape.
        """
        logarithmic = self.response_scale == "log"
        scaled = {law: np.log(forecasts[law]) if logarithmic else forecasts[law] for law in self.weights}
        mean = sum(weight * np.asarray(scaled[law]) for law, weight in self.weights.items())
        return np.exp(mean) if logarithmic else mean

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON; the table as a list of records."""
        return {
            "choice": self.choice,
            "scores": dict(self.scores),
            "weights": dict(self.weights),
            "rule": self.rule,
            "along": self.along,
            "response_scale": self.response_scale,
            "notes": list(self.notes),
            "table": self.table.to_dict(orient="records"),
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Backtest":
        """The inverse of `to_json`."""
        return cls(**{**saved, "table": pd.DataFrame(saved["table"])})


def backtest(
    laws: str | Sequence[str | Law],
    runs: Runs,
    loss: str = "huber",
    delta: float = HUBER_DELTA,
    starts: int = STARTS,
    seed: int = 0,
    weights: str | None = None,
) -> Backtest:
    """Compares laws by the module's rule.

    Args:
      laws: laws or their names, all of one response.
      runs: the runs that may be fitted; keep held-out runs away.
      loss, delta: of the fits, as for `fit_law`.
      starts: starting points of each fit.
      seed: of the starting points, and of the rows that stand for a large table.
      weights: of the rows in the fits (not in the scores), a column or an expression as for `fit_law`.

    Raises:
      ValueError: no cut leaves enough runs on both sides, the laws predict different columns, or no law
        could be fitted.
    """
    laws = [get_law(law) for law in ([laws] if isinstance(laws, str) else laws)]
    if len({(law.response, law.response_scale) for law in laws}) > 1:
        told = ", ".join(f"{law.name} predicts {law.response}" for law in laws)
        raise ValueError(f"laws of different responses cannot be compared: {told}")
    for law in laws:
        runs = usable_rows(law, runs)
    along, usable = cut_column(laws), len(runs)
    runs = runs.require((along,))
    lost = [f"{usable - len(runs)} rows without {along} take no part in the backtest"] * (len(runs) < usable)
    taken = some_rows(len(runs), seed)
    sampled = [_SAMPLED.format(taken=len(taken), rows=len(runs))] if len(taken) < len(runs) else []
    runs = runs.take(np.sort(taken))
    laws, notes = _small_enough(laws, runs)
    notes = [*lost, *sampled, *notes]
    cuts, rows = cuts_of(runs, max(_free(law) for law in laws), along)
    row_weight, robust = row_weights(runs, weights or None), Robust(loss, delta)
    parts = []
    for law in laws:
        try:
            parts.append(_errors(law, runs, along, cuts, row_weight, robust, starts, seed))
        except ValueError as error:
            notes.append(f"{law.name} is not compared: {error}")
    if not parts:
        raise ValueError(f"no law can be backtested: {'; '.join(notes)}")
    table = _finite_only(pd.concat(parts, ignore_index=True), notes)
    square = table["log_error"] ** 2
    scores = np.sqrt(square.groupby(table["law"], sort=False).mean()).to_dict()
    of_cuts = square.groupby([table[f"cut_{along}"], table["law"]], sort=False).mean().unstack()
    linear = laws[0].response_scale == "linear"
    rule = RULE.format(
        rows=rows, cut="compute" if along == "flops" else along, error="error" if linear else "log error"
    )
    combination = _shares(of_cuts)
    return Backtest(
        table, scores, _choose(laws, scores), rule, notes, combination, along, laws[0].response_scale
    )


def cut_column(laws: Sequence[Law]) -> str:
    """The column along which laws are cut: their one input, where all have the same, else flops.

    A loss is no input to cut along: it is measured, not planned.
    """
    inputs = {law.inputs for law in laws}
    (first, *others), *more = inputs
    return "flops" if more or others or first == "loss" else first


def cuts_of(runs: Runs, parameters: int, along: str = "flops") -> tuple[np.ndarray, int]:
    """(the cuts, in the unit of the column, the least number of runs at or below a cut) by the module's rule.

    Of more than 12 cuts, 12 evenly spaced ones are taken.

    Raises:
      ValueError: there is no cut.
    """
    values = runs.column(along)
    rows = max(parameters + _SPARE_ROWS, len(runs) // 2)
    levels = np.sort(values)
    counts = np.searchsorted(levels, _SAME_COST * levels, side="right")
    below = dict(zip(counts.tolist(), (_SAME_COST * levels).tolist(), strict=True))
    cuts = [cut for count, cut in below.items() if rows <= count < len(runs)]
    if not cuts:
        what = "compute" if along == "flops" else along
        raise ValueError(
            f"no backtest: {len(runs)} runs leave no {what} cut with {rows} runs at or below it and one above"
        )
    take = np.unique(np.linspace(0, len(cuts) - 1, min(len(cuts), _MOST_CUTS)).round().astype(int))
    return np.array(cuts)[take], rows


def fit_parts(
    law: Law, table: Table, weights: np.ndarray, loss: Robust, starts: int = STARTS, seed: int = 0
) -> Minima:
    """Fits a law to parts of a table in one batch: only the starts that look best are followed to the end.

    Args:
      weights: of the rows in each part, [parts, rows]; 0 where a part does not have the row.

    Returns:
      the lowest minimum of each part, [parts].
    """
    parts = len(weights)
    points = np.concatenate([starting_points(law, table.take(w > 0), starts, seed) for w in weights])
    first = minimize(law, table, points, np.repeat(weights, starts, axis=0), Robust("squared"), 1e-4, 60)
    kept = min(_FOLLOWED, starts)
    order = np.argsort(_finite(first.objective).reshape(parts, starts), axis=1)[:, :kept]
    best = (order + starts * np.arange(parts)[:, None]).ravel()
    part = np.repeat(weights, kept, axis=0)
    found = follow(law, table, first.coordinates[best], part, loss, near=True)
    lowest = _finite(found.objective).reshape(parts, kept).argmin(axis=1)
    return found.take(lowest + kept * np.arange(parts))


def _finite(objective: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(objective), objective, np.inf)


def _free(law: Law) -> int:
    return int(free_parameters(law).sum())


def _small_enough(laws: list[Law], runs: Runs) -> tuple[list[Law], list[str]]:
    """The laws that the table is large enough to compare, and why the others are not."""
    most = int(_LARGEST_LAW * len(runs)) - _SPARE_ROWS
    kept = [law for law in laws if _free(law) <= most]
    notes = [
        f"{law.name} is not compared: {len(runs)} runs are too few to test {_free(law)} parameters"
        for law in laws
        if _free(law) > most
    ]
    return (kept, notes) if kept else (laws, [])


def _errors(law: Law, runs: Runs, along: str, cuts, row_weight, loss: Robust, starts: int, seed: int):
    """Fits at all cuts in one batch; the table of predictions above them."""
    table, values = table_of(law, runs), runs.column(along)
    below = values <= cuts[:, None]
    for rows in below:
        check_identifiable(law, runs.take(rows))
    weights = below * (1.0 if row_weight is None else row_weight)
    found = fit_parts(law, table, weights, loss, starts, seed)
    inputs = {name: runs.column(name) for name in law.inputs}
    predicted = law.predict(law.values(found.coordinates), **inputs)
    measured = runs.column(law.response)
    parts = []
    for k, cut in enumerate(cuts):
        above = np.flatnonzero(~below[k])
        told, seen = predicted[k, above], measured[above]
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(seen != 0, told / np.where(seen != 0, seen, 1.0) - 1.0, np.nan)
            error = law.respond(told) - law.respond(seen)
        parts.append(
            pd.DataFrame(
                {
                    "law": law.name,
                    f"cut_{along}": cut,
                    "rows_fitted": int(np.sum(below[k])),
                    "name": [runs.names[i] for i in above],
                    along: values[above],
                    "extrapolation": values[above] / cut,
                    "predicted": told,
                    "measured": seen,
                    "relative_error": relative,
                    "log_error": error,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _choose(laws: list[Law], scores: dict[str, float]) -> str:
    lowest = min(scores.values())
    level = [law for law in laws if scores.get(law.name, np.inf) <= _TIE * lowest]
    return min(level, key=lambda law: (_free(law), scores[law.name])).name


def _finite_only(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The table without the laws that foretell no number for some run, which are noted."""
    lost = (~np.isfinite(table["log_error"])).groupby(table["law"], sort=False).sum()
    for law, count in lost[lost > 0].items():
        notes.append(f"{law} is not compared: it foretells no finite response for {count} of the runs above a cut")
    if (lost > 0).all():
        raise ValueError(f"no law can be backtested: {'; '.join(notes)}")
    return table[table["law"].map(lost) == 0].reset_index(drop=True)


def _shares(mean_squares: pd.DataFrame) -> dict[str, float]:
    """Shares in inverse proportion to squared mean square errors [cuts, laws], averaged over cuts."""
    inverse = np.maximum(mean_squares, _EXACT**2) ** -2
    return inverse.div(inverse.sum(axis=1), axis=0).mean().to_dict()

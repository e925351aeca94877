"""One fit a group: every learning curve (or corpus, or task) of a table by itself, with its own choice of law.

    found = fit_by(("power", "power_floor", "power_shift", "saturating", "broken_1"), runs,
                   by=("Domain", "Task", "Model"), holdout="Training == 0")
    found.table, found.summary("Domain")

On the 92 learning curves of Alabdulmohsin et al. 2022 (arXiv 2209.06640; their released benchmark), laws fitted
to the rows with Training == 1, mean over curves of the root mean square log error of the others:

                        curves   power  power_floor  power_shift  saturating  broken_1   chosen  combined
    image classification    72   .1046        .0725        .0592       .0421     .0400    .0492     .0357
    language modelling       5  .01397       .00113       .00331      .00084    .00083   .00087    .00074
    translation              5   .2217        .0482        .0133       .0126     .0105    .0106     .0097
    BIG-bench               10   .0148        .0100        .0105       .0083     .0142    .0096     .0097

"chosen" is the law with the best backtest of each curve, "combined" the automatic forecast.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from genlab.scaling.fitting.robust import Robust
from genlab.scaling.fitting.rows import check_identifiable, table_of, usable_rows
from genlab.scaling.fitting.weighting import row_weights
from genlab.scaling.forecasts.backtest import Backtest, backtest, fit_parts
from genlab.scaling.law import Law
from genlab.scaling.laws import get_law
from genlab.scaling.runs import Runs

FITTED, REFUSED = "fitted", "refused"


@dataclasses.dataclass(frozen=True, eq=False)
class GroupFits:
    """What `fit_by` found.

    Attributes:
      table: one row a group: the group's keys; status ("fitted" or "refused") and reason (why refused, or what
        is worth knowing); law (the choice); rows_fitted, rows_held_out; error, the root mean square held-out
        error of the automatic forecast; error_chosen, that of the chosen law alone; and of each law its
        held-out error (error_LAW), backtest score (score_LAW) and share in the forecast (weight_LAW).
        Errors are of log response, NaN where nothing is held out or the law was not fitted.
      forecasts: one row a held-out row: the group's keys, name, the laws' inputs, measured, predicted (the
        automatic forecast), chosen (by the chosen law) and predicted_LAW.
      parameters: one row a group, law and parameter: the keys, law, parameter, value.
      by: the columns that make the groups.
      laws: names of the laws.
    """

    table: pd.DataFrame
    forecasts: pd.DataFrame
    parameters: pd.DataFrame
    by: tuple[str, ...]
    laws: tuple[str, ...]

    def summary(self, column: str = "") -> pd.DataFrame:
        """Mean held-out error over groups, one row a value of `column` (all groups in one row without).

        Columns: groups, refused, error (the automatic forecast), error_chosen, and error_LAW of each law, over
        the groups that have them.

        Raises:
          ValueError: no such column among the group's keys.
        """
        if column and column not in self.by:
            raise ValueError(f"the groups have no column {column!r}; there are: {', '.join(self.by)}")
        keys = self.table[column] if column else pd.Series("all", index=self.table.index, name="groups of")
        parts = self.table.groupby(keys, sort=False)
        errors = [name for name in self.table if name == "error" or name.startswith("error_")]
        counts = pd.DataFrame({"groups": parts.size(), "refused": parts["status"].agg(lambda s: (s == REFUSED).sum())})
        return counts.join(parts[errors].mean())

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON; tables as lists of records."""
        tables = {name: getattr(self, name).to_dict(orient="records") for name in _TABLES}
        return {"by": list(self.by), "laws": list(self.laws), **tables}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "GroupFits":
        """The inverse of `to_json`."""
        tables = {name: pd.DataFrame(saved[name]) for name in _TABLES}
        return cls(by=tuple(saved["by"]), laws=tuple(saved["laws"]), **tables)


_TABLES = ("table", "forecasts", "parameters")


def fit_by(
    laws: Sequence[str | Law],
    runs: Runs,
    by: Sequence[str],
    holdout: str = "",
    loss: str = "squared",
    delta: float = 1e-3,
    starts: int = 16,
    seed: int = 0,
    weights: str | None = None,
) -> GroupFits:
    """Fits and forecasts every group of a table by itself.

    The automatic forecast is `Backtest.combine`: the laws' forecasts weighted by their errors in a backtest
    among the rows that are not held out; held-out rows take no part in it. Where a group is too small for a
    backtest, it is that of the first law that can be fitted. A group that cannot be fitted is a row with the
    reason, never a gap. No intervals are drawn here: fit one group with `fit_law` for those.

    Args:
      laws: laws or their names, all of one response.
      runs: the table, with the laws' columns.
      by: columns whose values together make a group.
      holdout: a pandas expression; by default the rows whose `role` is held_out.
      loss: of the fits; least squares by default, as forecasts are scored by their squared error.
      delta: its threshold, where it has one.
      starts, seed, weights: as for `backtest`.

    Raises:
      ValueError: no group column, no such column, no such law or loss, or a bad expression.
    """
    laws, by = [get_law(law) for law in laws], tuple(by)
    if not by or not laws:
        raise ValueError("name at least one law, and at least one column that makes the groups")
    for name in by:
        if name not in runs.frame:
            raise ValueError(f"{runs.source} has no column {name!r} to group by")
    held = runs.matches(holdout) if holdout else np.isin(np.arange(len(runs)), _held_by_role(runs))
    settings = {"robust": Robust(loss, delta), "starts": starts, "seed": seed, "weights": weights}
    rows, forecasts, parameters = [], [], []
    for key, positions in runs.frame.groupby(list(by), sort=False, dropna=False).indices.items():
        keys = dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True))
        fitted, held_out = (runs.take(positions[held[positions] == side]) for side in (False, True))
        row, told, found = _fit_group(laws, fitted, held_out, **settings)
        rows.append({**keys, **row})
        forecasts += [{**keys, **each} for each in told]
        parameters += [{**keys, **each} for each in found]
    names = tuple(law.name for law in laws)
    return GroupFits(pd.DataFrame(rows), pd.DataFrame(forecasts), pd.DataFrame(parameters), by, names)


def _held_by_role(runs: Runs) -> np.ndarray:
    index = pd.Index(runs.held_out.frame.index)
    return np.flatnonzero(runs.frame.index.isin(index))


def _fit_group(laws: list[Law], fitted: Runs, held_out: Runs, **settings) -> tuple[dict, list[dict], list[dict]]:
    """(the group's row, its forecasts, its parameters)."""
    row = {"status": REFUSED, "reason": "", "law": "", "rows_fitted": len(fitted), "rows_held_out": len(held_out)}
    row |= {"error": np.nan, "error_chosen": np.nan}
    row |= {f"{what}_{law.name}": np.nan for what in ("error", "score", "weight") for law in laws}
    values, problems, there, possible = {}, [], len(fitted), []
    for law in laws:  # All laws are fitted to the same rows: those that each of them can use.
        try:
            fitted, held_out = usable_rows(law, fitted), usable_rows(law, held_out)
            possible.append(law)
        except ValueError as error:
            problems.append(str(error))
    for law in possible:
        try:
            values[law.name] = _fit_one(law, fitted, **settings)
        except ValueError as error:
            problems.append(str(error))
    if len(fitted) < there:
        problems.append(f"{there - len(fitted)} rows left out: no value of what the laws read")
    if not values:
        return {**row, "reason": problems[0]}, [], []
    row |= {"status": FITTED, "rows_fitted": len(fitted), "rows_held_out": len(held_out)}
    laws = [law for law in laws if law.name in values]
    tested, note = _tested(laws, fitted, **settings)
    chosen = tested.choice if tested else laws[0].name
    notes = [*problems, *(tested.notes if tested else []), *([note] if note else [])]
    row |= {"law": chosen, "reason": "; ".join(notes)}
    if tested:
        row |= {f"score_{name}": score for name, score in tested.scores.items()}
    row |= {f"weight_{name}": share for name, share in (tested.weights if tested else {chosen: 1.0}).items()}
    parameters = [
        {"law": law.name, "parameter": name, "value": value}
        for law in laws
        for name, value in law.named(values[law.name]).items()
    ]
    if not len(held_out):
        return row, [], parameters
    told = {law.name: law.predict(values[law.name], **_inputs(law, held_out)) for law in laws}
    forecast = tested.combine(told) if tested else told[chosen]
    law, measured = laws[0], held_out.column(laws[0].response)
    row |= {f"error_{name}": _error(law, predicted, measured) for name, predicted in told.items()}
    row |= {"error": _error(law, forecast, measured), "error_chosen": row[f"error_{chosen}"]}
    columns = {"name": held_out.names, **_inputs(law, held_out), "measured": measured, "predicted": forecast}
    columns |= {"chosen": told[chosen], **{f"predicted_{name}": each for name, each in told.items()}}
    return row, pd.DataFrame(columns).to_dict(orient="records"), parameters


def _fit_one(law: Law, fitted: Runs, robust: Robust, starts: int, seed: int, weights: str | None) -> np.ndarray:
    """Parameter values [P] of a law fitted to all rows."""
    check_identifiable(law, fitted)
    row_weight = row_weights(fitted, weights)
    rows = np.ones((1, len(fitted))) if row_weight is None else row_weight[None]
    found = fit_parts(law, table_of(law, fitted), rows, robust, 2 * starts, seed)
    if not np.isfinite(found.objective[0]):
        raise ValueError(f"{law.name} cannot be fitted: no start gave a finite {law.response}")
    return law.values(law.in_order(found.coordinates[0]))


def _tested(laws: list[Law], fitted: Runs, robust: Robust, **settings) -> tuple[Backtest | None, str]:
    try:
        return backtest(laws, fitted, robust.name, robust.delta, **settings), ""
    except ValueError as error:
        return None, str(error)


def _inputs(law: Law, runs: Runs) -> dict[str, np.ndarray]:
    return {name: runs.column(name) for name in law.inputs}


def _error(law: Law, predicted: np.ndarray, measured: np.ndarray) -> float:
    """Root mean square of log(predicted / measured), or of the difference for a linear response."""
    return float(np.sqrt(np.mean((law.respond(predicted) - law.respond(measured)) ** 2)))

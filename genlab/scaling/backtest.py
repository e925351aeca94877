"""Rolling backtest: which law, fitted to the cheaper runs, foretells the dearer ones best.

The choice among laws rests on errors in runs that the fit did not see, never on training error.

The rule. Sort the runs by training FLOPs. A cut is 2 % above a run's FLOPs, such that at least `rows` runs
cost no more, and at least one run costs more; `rows` is the largest number of parameters among the laws plus 2,
or half of all runs if that is more, so that every law is judged on the same cuts and none while it merely
interpolates. At each cut every law is fitted to the runs at or below it and predicts all runs above it.
The score is the root mean square of log(predicted / measured) over all these predictions; the lowest
score wins, and scores within 1 % of each other go to the law with fewer parameters.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from genlab.scaling.fitting import HUBER_DELTA
from genlab.scaling.law import Law
from genlab.scaling.laws import get_law
from genlab.scaling.minimize import follow
from genlab.scaling.rows import check_identifiable, table_of, usable_rows
from genlab.scaling.runs import Runs
from genlab.scaling.starts import starting_points

_SPARE_ROWS = 2
_MOST_CUTS = 12
_STARTS = 16
_TIE = 1.01
_SAME_COST = 1.02  # a run that costs 2 % more is no test of extrapolation: it is fitted
RULE = (
    "least root mean square log error of runs above a compute cut, fitted to the runs at or below it, "
    "over all cuts that leave at least {rows} runs to fit; ties go to the law with fewer parameters"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Backtest:
    """What each law would have said about the runs above each compute cut.

    Attributes:
      table: one row a law, cut and predicted run: law, cut_flops, rows_fitted, name, flops,
        extrapolation (flops / cut_flops), predicted, measured, relative_error (predicted / measured
        - 1), log_error (its logarithmic form).
      scores: law -> root mean square of log_error over its rows.
      choice: the law with the lowest score.
      rule: the rule, in words.
      notes: why a law is missing, in words.
    """

    table: pd.DataFrame
    scores: dict[str, float]
    choice: str
    rule: str
    notes: list[str] = dataclasses.field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON; the table as a list of records."""
        return {
            "choice": self.choice,
            "scores": dict(self.scores),
            "rule": self.rule,
            "notes": list(self.notes),
            "table": self.table.to_dict(orient="records"),
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Backtest":
        """The inverse of `to_json`."""
        return cls(**{**saved, "table": pd.DataFrame(saved["table"])})


def backtest(
    laws: Sequence[str | Law],
    runs: Runs,
    delta: float = HUBER_DELTA,
    starts: int = _STARTS,
    seed: int = 0,
) -> Backtest:
    """Compares laws by the module's rule.

    Args:
      laws: laws or their names.
      runs: the runs that may be fitted; keep held-out runs away.
      delta: Huber threshold of the fits.
      starts: starting points of each fit.
      seed: of the starting points.

    Raises:
      ValueError: no cut leaves enough runs on both sides, or no law could be fitted.
    """
    laws = [get_law(law) for law in laws]
    for law in laws:
        runs = usable_rows(law, runs)
    runs = runs.require(("flops",))
    cuts, rows = cuts_of(runs, max(len(law.parameters) for law in laws))
    parts, notes = [], []
    for law in laws:
        try:
            parts.append(_errors(law, runs, cuts, delta, starts, seed))
        except ValueError as error:
            notes.append(f"{law.name} is not compared: {error}")
    if not parts:
        raise ValueError(f"no law can be backtested: {'; '.join(notes)}")
    table = pd.concat(parts, ignore_index=True)
    scores = {
        str(name): float(np.sqrt(np.mean(np.square(errors))))
        for name, errors in table.groupby("law", sort=False)["log_error"]
    }
    return Backtest(table, scores, _choose(laws, scores), RULE.format(rows=rows), notes)


def cuts_of(runs: Runs, parameters: int) -> tuple[np.ndarray, int]:
    """(the cuts, in FLOPs, the least number of runs at or below a cut) by the module's rule.

    Of more than 12 cuts, 12 evenly spaced ones are taken.

    Raises:
      ValueError: there is no cut.
    """
    flops = runs.column("flops")
    rows = max(parameters + _SPARE_ROWS, len(runs) // 2)
    below = {int(np.sum(flops <= _SAME_COST * level)): _SAME_COST * level for level in np.sort(flops)}
    cuts = [cut for count, cut in below.items() if rows <= count < len(runs)]
    if not cuts:
        raise ValueError(
            f"no backtest: {len(runs)} runs leave no compute cut with {rows} runs at or below it "
            "and one above"
        )
    take = np.unique(np.linspace(0, len(cuts) - 1, min(len(cuts), _MOST_CUTS)).round().astype(int))
    return np.array(cuts)[take], rows


def _errors(law: Law, runs: Runs, cuts: np.ndarray, delta: float, starts: int, seed: int):
    """Fits at all cuts in one batch; the table of predictions above them."""
    table, flops = table_of(law, runs), runs.column("flops")
    points, weights = [], []
    for cut in cuts:
        below = flops <= cut
        check_identifiable(law, runs.take(below))
        points.append(starting_points(law, table.take(below), starts, seed))
        weights.append(np.repeat(below[None].astype(np.float64), starts, axis=0))
    found = follow(law, table, np.concatenate(points), np.concatenate(weights), delta)
    objective = np.where(np.isfinite(found.objective), found.objective, np.inf)
    best = objective.reshape(len(cuts), starts).argmin(axis=1) + starts * np.arange(len(cuts))
    inputs = {name: runs.column(name) for name in law.inputs}
    predicted = law.predict(law.values(found.coordinates[best]), **inputs)
    measured = runs.column(law.response)
    parts = []
    for k, cut in enumerate(cuts):
        above = np.flatnonzero(flops > cut)
        parts.append(
            pd.DataFrame(
                {
                    "law": law.name,
                    "cut_flops": cut,
                    "rows_fitted": int(np.sum(flops <= cut)),
                    "name": [runs.names[i] for i in above],
                    "flops": flops[above],
                    "extrapolation": flops[above] / cut,
                    "predicted": predicted[k, above],
                    "measured": measured[above],
                    "relative_error": predicted[k, above] / measured[above] - 1.0,
                    "log_error": np.log(predicted[k, above] / measured[above]),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _choose(laws: list[Law], scores: dict[str, float]) -> str:
    lowest = min(scores.values())
    level = [law for law in laws if scores.get(law.name, np.inf) <= _TIE * lowest]
    return min(level, key=lambda law: (len(law.parameters), scores[law.name])).name

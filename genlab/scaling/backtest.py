"""Rolling backtest: which law, fitted to the cheaper runs, foretells the dearer ones best.

The choice among laws rests on errors of runs that the fit did not see, never on training error.
"""

import dataclasses
from typing import Any

import pandas as pd


@dataclasses.dataclass(frozen=True, eq=False)
class Backtest:
    """What each law would have said about the runs above each compute cut.

    Attributes:
      table: one row a law, cut and predicted run: law, cut_flops, rows_fitted, name, flops,
        extrapolation (flops / cut_flops), predicted, measured, relative_error (predicted / measured
        - 1), log_error (its logarithmic form).
      scores: law -> root mean square of log_error over its rows; laws that could not be fitted lack.
      choice: the law with the lowest score.
      rule: the rule, in words.
      notes: why a law or a cut is missing, in words.
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

"""What an analysis of a table of runs found: fits, choice of law, forecasts, budgets, and how far to trust them."""

import dataclasses
import os
from typing import Any

from genlab.scaling.approaches.comparison import Comparison
from genlab.scaling.approaches.isoflop import IsoFlop
from genlab.scaling.checklist import Item
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.forecasts.backtest import Backtest
from genlab.scaling.jsonfile import read_json, write_json
from genlab.scaling.runs import Runs


@dataclasses.dataclass(frozen=True, eq=False)
class Analysis:
    """What `ComputeOptimal` found; `fit.json` holds it.

    Attributes:
      fits: law name -> Fit to all the grid's rows.
      choice: the law whose numbers count.
      choice_reason: why that one, in words.
      forecasts: one dict a held-out run, by the chosen law, or by all laws combined where they were left open
        ("auto"): see `genlab.scaling.forecasts.forecast`.
      other_forecasts: the same by the other laws.
      backtest: None where the table is too small for one.
      isoflop: one curve a budget, see `genlab.scaling.approaches.isoflop`.
      budgets: one dict a budget asked for: see `Fit.allocation`.
      influence: the rows that the chosen fit rests on, see `genlab.scaling.fitting.influence`; empty if not asked.
      comparisons: the chosen law fitted with and without some rows, side by side: one dict a set of rows,
        with `dropped` (why), `rows` (their names), and "with" and "without" as of `with_and_without`.
      checklist: what reviewers ask, answered where the table can answer.
      approaches: the three approaches to the compute-optimal size side by side; None for other laws.
      accuracy: column -> `fit` (of accuracy on loss, as JSON), `forecasts` by the chosen law and that fit one
        after the other, and `warnings`; or `error`, where it could not be fitted.
      warnings: about the table and the analysis; each fit has its own.
      columns: canonical name -> the column of the table it was read from, where they differ.
    """

    fits: dict[str, Fit]
    choice: str
    choice_reason: str
    forecasts: list[dict[str, Any]]
    other_forecasts: list[dict[str, Any]]
    backtest: Backtest | None
    isoflop: list[IsoFlop]
    budgets: list[dict[str, Any]]
    warnings: list[str]
    columns: dict[str, str] = dataclasses.field(default_factory=dict)
    influence: dict[str, Any] = dataclasses.field(default_factory=dict)
    comparisons: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    checklist: list[Item] = dataclasses.field(default_factory=list)
    approaches: Comparison | None = None
    accuracy: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def fit(self) -> Fit:
        """The chosen law's fit."""
        return self.fits[self.choice]

    def table(self, runs: Runs) -> Runs:
        """The table with the canonical columns that the laws were fitted to."""
        return runs.rename(self.columns)

    def to_json(self) -> dict[str, Any]:
        """The chosen fit's fields at the top level, then everything else; `from_json` inverts it."""
        chosen = self.fit.to_json()
        del chosen["samples"]
        return {
            **chosen,
            "choice_reason": self.choice_reason,
            "forecasts": self.forecasts,
            "budgets": self.budgets,
            "other_forecasts": self.other_forecasts,
            "backtest": None if self.backtest is None else self.backtest.to_json(),
            "isoflop": [curve.to_json() for curve in self.isoflop],
            "approaches": None if self.approaches is None else self.approaches.to_json(),
            "accuracy": self.accuracy,
            "influence": self.influence,
            "comparisons": self.comparisons,
            "checklist": [item._asdict() for item in self.checklist],
            "analysis_warnings": self.warnings,
            "columns": self.columns,
            "fits": {name: fit.to_json() for name, fit in self.fits.items()},
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Analysis":
        """The analysis that `to_json` wrote."""
        tested = saved["backtest"]
        return cls(
            fits={name: Fit.from_json(fit) for name, fit in saved["fits"].items()},
            choice=saved["law"],
            choice_reason=saved["choice_reason"],
            forecasts=saved["forecasts"],
            other_forecasts=saved["other_forecasts"],
            backtest=None if tested is None else Backtest.from_json(tested),
            isoflop=[IsoFlop.from_json(curve) for curve in saved["isoflop"]],
            budgets=saved["budgets"],
            warnings=saved["analysis_warnings"],
            columns=saved["columns"],
            approaches=None if saved["approaches"] is None else Comparison.from_json(saved["approaches"]),
            accuracy=saved["accuracy"],
            influence=saved["influence"],
            comparisons=saved["comparisons"],
            checklist=[Item(**item) for item in saved["checklist"]],
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes fit.json, in one piece: a reader never sees half of it."""
        write_json(self.to_json(), path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Analysis":
        """Reads what `save` wrote.

        Raises:
          FileNotFoundError: no such file.
          ValueError: a file that `save` did not write.
        """
        return read_json(path, cls.from_json)

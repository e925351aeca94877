"""From a table of runs to everything a report needs: fits, choice of law, forecasts, isoFLOP minima."""

import dataclasses
import json
import os
from typing import Any

from genlab.scaling.backtest import Backtest
from genlab.scaling.fitted import Fit
from genlab.scaling.isoflop import IsoFlop


@dataclasses.dataclass(frozen=True, eq=False)
class Analysis:
    """What `ComputeOptimal` found; `fit.json` holds it.

    Attributes:
      fits: law name -> Fit to all the grid's rows.
      choice: the law whose numbers count.
      choice_reason: why that one, in words.
      forecasts: one dict a held-out run: name, predicted, measured, relative_error, interval_95,
        covered, law, flops, params, tokens, extrapolation (flops over the largest fitted).
      backtest: None where a single law was asked for or the table is too small.
      isoflop: one curve a budget.
      budgets: one dict a budget asked for: flops, params, tokens, tokens_per_param, loss, each with
        its interval_95.
      warnings: about the table and the analysis; each fit has its own.
    """

    fits: dict[str, Fit]
    choice: str
    choice_reason: str
    forecasts: list[dict[str, Any]]
    backtest: Backtest | None
    isoflop: list[IsoFlop]
    budgets: list[dict[str, Any]]
    warnings: list[str]

    @property
    def fit(self) -> Fit:
        """The chosen law's fit."""
        return self.fits[self.choice]

    def to_json(self) -> dict[str, Any]:
        """The chosen fit's fields at the top level, then everything else; `from_json` inverts it."""
        return {
            **_without_samples(self.fit),
            "choice_reason": self.choice_reason,
            "forecasts": self.forecasts,
            "backtest": None if self.backtest is None else self.backtest.to_json(),
            "budgets": self.budgets,
            "isoflop": [curve.to_json() for curve in self.isoflop],
            "analysis_warnings": self.warnings,
            "fits": {name: fit.to_json() for name, fit in self.fits.items()},
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Analysis":
        """The analysis that `to_json` wrote."""
        backtest = saved["backtest"]
        return cls(
            fits={name: Fit.from_json(fit) for name, fit in saved["fits"].items()},
            choice=saved["law"],
            choice_reason=saved["choice_reason"],
            forecasts=saved["forecasts"],
            backtest=None if backtest is None else Backtest.from_json(backtest),
            isoflop=[IsoFlop.from_json(curve) for curve in saved["isoflop"]],
            budgets=saved["budgets"],
            warnings=saved["analysis_warnings"],
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes fit.json, so that a reader never sees half of it."""
        text = json.dumps(self.to_json(), indent=1, allow_nan=True)
        part = f"{os.fspath(path)}.part"
        with open(part, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        os.replace(part, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Analysis":
        """Reads what `save` wrote."""
        with open(path, encoding="utf-8") as file:
            return cls.from_json(json.load(file))


def _without_samples(fit: Fit) -> dict[str, Any]:
    return {key: value for key, value in fit.to_json().items() if key != "samples"}

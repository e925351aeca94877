"""From a table of runs to everything a report needs: fits, choice of law, forecasts, isoFLOP minima."""

import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from genlab.scaling.backtest import Backtest, backtest
from genlab.scaling.fitted import Fit
from genlab.scaling.fitting import HUBER_DELTA, fit_law
from genlab.scaling.forecasts import forecast
from genlab.scaling.isoflop import IsoFlop, isoflop_minima
from genlab.scaling.jsonfile import write_json
from genlab.scaling.laws import get_law
from genlab.scaling.runs import Runs


@dataclasses.dataclass(frozen=True, eq=False)
class Analysis:
    """What `ComputeOptimal` found; `fit.json` holds it.

    Attributes:
      fits: law name -> Fit to all the grid's rows.
      choice: the law whose numbers count.
      choice_reason: why that one, in words.
      forecasts: one dict a held-out run, by the chosen law: see `genlab.scaling.forecasts.forecast`.
      other_forecasts: the same by the laws that were not chosen.
      backtest: None where the table is too small for one.
      isoflop: one curve a budget, see `genlab.scaling.isoflop`.
      budgets: one dict a budget asked for: see `Fit.allocation`.
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
        with open(path, encoding="utf-8") as file:
            try:
                return cls.from_json(json.load(file))
            except (KeyError, TypeError, json.JSONDecodeError) as error:
                raise ValueError(f"{os.fspath(path)} is no analysis of genlab: {error!r}") from None


@dataclasses.dataclass(frozen=True)
class ComputeOptimal:
    """The analysis of a sweep over model size and data: which law holds, and what it foretells.

    Every law is fitted to the runs that are not held out. The law that counts is chosen by rolling
    backtest among those same runs (`genlab.scaling.backtest` states the rule), before any held-out
    run is looked at; where the table is too small for a backtest it is the first in `laws`.

    Attributes:
      laws: names of laws of params and tokens, in order of preference.
      params: the column that is N: "params", or "params_non_embedding" (Kaplan et al. 2020).
      tokens: the column that is D; "examples" for images.
      loss: the column that is L.
      budgets: training FLOPs at which to state the compute-optimal run.
      delta: Huber threshold on the log residual.
      starts: starting points of each fit.
      resamples: bootstrap refits of each law.
      seed: of starting points and resamples.
    """

    laws: tuple[str, ...] = ("chinchilla", "kaplan")
    params: str = "params"
    tokens: str = "tokens"
    loss: str = "loss"
    budgets: tuple[float, ...] = ()
    delta: float = HUBER_DELTA
    starts: int = 64
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self):
        if not self.laws:
            raise ValueError("laws: name at least one law")
        for law in self.laws:
            get_law(law)

    @property
    def columns(self) -> dict[str, str]:
        """Canonical name -> the table's own, where they differ."""
        own = {"params": self.params, "tokens": self.tokens, "loss": self.loss}
        return {canonical: name for canonical, name in own.items() if canonical != name}

    def run(self, runs: Runs, held_out: Runs | None = None) -> Analysis:
        """Analyses a table.

        Args:
          runs: the table; runs whose role is held_out are only forecast, never fitted.
          held_out: the runs to forecast instead.

        Raises:
          ValueError: the table cannot be fitted by any of the laws.
        """
        runs = runs.rename(self.columns)
        grid = runs.grid
        held_out = runs.held_out if held_out is None else held_out.rename(self.columns)
        warnings: list[str] = []
        fits = self._fits(grid, warnings)
        tested = self._backtest(tuple(fits), grid, warnings)
        choice, reason = _choose(tuple(fits), tested)
        told = {name: forecast(fit, held_out, _scatter(fit, tested)) for name, fit in fits.items()}
        return Analysis(
            fits=fits,
            choice=choice,
            choice_reason=reason,
            forecasts=told.pop(choice),
            other_forecasts=[row for rows in told.values() for row in rows],
            backtest=tested,
            isoflop=isoflop_minima(grid.require(("params", "tokens", "loss", "flops"))),
            budgets=[fits[choice].allocation(flops) for flops in self.budgets],
            warnings=warnings,
            columns=self.columns,
        )

    def _fits(self, grid: Runs, warnings: list[str]) -> dict[str, Fit]:
        def fitted(law: str) -> Fit | ValueError:
            try:
                return fit_law(law, grid, "huber", self.delta, self.starts, self.resamples, self.seed)
            except ValueError as error:
                return error

        # Compiling and linear algebra leave the interpreter free: two cores fit two laws at once.
        with ThreadPoolExecutor(min(len(self.laws), os.cpu_count() or 1)) as pool:
            found = dict(zip(self.laws, pool.map(fitted, self.laws), strict=True))
        fits = {law: fit for law, fit in found.items() if isinstance(fit, Fit)}
        problems = [str(error) for error in found.values() if isinstance(error, ValueError)]
        if not fits:
            raise ValueError(problems[0])
        warnings.extend(problems)
        return fits

    def _backtest(self, laws: tuple[str, ...], grid: Runs, warnings: list[str]) -> Backtest | None:
        try:
            return backtest(laws, grid, self.delta, seed=self.seed)
        except ValueError as error:
            warnings.append(str(error))
            return None


def _choose(laws: tuple[str, ...], tested: Backtest | None) -> tuple[str, str]:
    if len(laws) == 1:
        return laws[0], "the only law"
    if tested is None:
        return laws[0], "the first of the laws: the table is too small for a backtest"
    scores = ", ".join(f"{law} {100 * score:.2f} %" for law, score in tested.scores.items())
    return tested.choice, f"{tested.rule}: {scores}"


def _scatter(fit: Fit, tested: Backtest | None) -> float:
    """A new run errs by the residual scatter, or by as much as the law's own backtest has erred."""
    score = tested.scores.get(fit.law.name, 0.0) if tested else 0.0
    return float(np.maximum(fit.residual_scatter, score))

"""The analysis of a table of runs: which law holds, what it foretells, and which size is best for a compute."""

import dataclasses
import difflib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from genlab.scaling.analysis import Analysis
from genlab.scaling.approaches.compare import compare_approaches
from genlab.scaling.approaches.comparison import Comparison
from genlab.scaling.approaches.isoflop import METHODS, IsoFlop, isoflop_minima, isoflop_warnings
from genlab.scaling.checklist import reporting_checklist
from genlab.scaling.fitting.chord import LARGE
from genlab.scaling.fitting.fit_law import HUBER_DELTA, fit_law
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.fitting.influence import influence, with_and_without
from genlab.scaling.forecasts.backtest import STARTS, Backtest, backtest
from genlab.scaling.forecasts.chain import fit_chain
from genlab.scaling.forecasts.forecast import combined_forecast, forecast
from genlab.scaling.law import Law, parse_numbers
from genlab.scaling.laws import candidates, get_law
from genlab.scaling.runs import Runs

_COMPARED = 200  # bootstrap refits of a side-by-side comparison
_SCREENED = 100  # bootstrap refits of the laws of a large table that are not chosen


@dataclasses.dataclass(frozen=True)
class ComputeOptimal:
    """Fits laws to the runs that are not held out, chooses one, and asks it about the rest.

    The law that counts is chosen by rolling backtest among the fitted runs
    (`genlab.scaling.forecasts.backtest` states the rule), before any held-out run is looked at; where the
    table is too small for a backtest it is the first in `laws`. Where the laws are left open ("auto"), held-out
    runs are forecast by all of them together, weighted by their errors in the backtest. Isoflop minima and
    budgets need a law of params and tokens; the rest serves any law.

    Attributes:
      laws: names of laws in order of preference; "auto" for all that the table has the columns of
        (`genlab.scaling.laws.candidates`).
      params: the column that is N: "params", or "params_non_embedding" (Kaplan et al. 2020).
      tokens: the column that is D; "examples" for images.
      loss: the column that is L.
      budgets: training FLOPs at which to state the compute-optimal run.
      robust: the loss of the residuals, a name of `genlab.scaling.fitting.robust.LOSSES`.
      delta: its threshold, on log residuals.
      weights: of the rows: a column or an expression; "" for equal ones.
      groups: columns whose values make the groups that the bootstrap resamples; "" for single rows.
      fixed: parameters that are held at given values, "E=1.69,alpha=0.34", in every law that has them.
      accuracy: columns of accuracies (0 to 1) to foretell by way of the loss, each "COLUMN=CHANCE" with the
        accuracy of guessing, or "COLUMN" to have that fitted as well.
      profile: whether the chosen fit gets profile-likelihood intervals as well.
      sensitivity: whether to look for influential rows, and to fit with the rows that were left out.
      starts: starting points of each fit.
      resamples: bootstrap refits of each law; of a table of 5,000 rows and more, of the chosen law, and 100 of
        the others.
      seed: of starting points and resamples.
    """

    laws: tuple[str, ...] = ("chinchilla", "kaplan")
    params: str = "params"
    tokens: str = "tokens"
    loss: str = "loss"
    budgets: tuple[float, ...] = ()
    robust: str = "huber"
    delta: float = HUBER_DELTA
    weights: str = ""
    groups: str = ""
    fixed: str = ""
    accuracy: tuple[str, ...] = ()
    profile: bool = False
    sensitivity: bool = True
    starts: int = 64
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self):
        if not self.laws:
            raise ValueError("laws: name at least one law")
        for law in self.laws:
            if law != "auto":
                get_law(law)
        parse_numbers(self.fixed)
        for column in self.accuracy:
            _accuracy_law(column)

    @property
    def columns(self) -> dict[str, str]:
        """Canonical name -> the table's own, where they differ."""
        own = {"params": self.params, "tokens": self.tokens, "loss": self.loss}
        return {canonical: name for canonical, name in own.items() if canonical != name}

    def run(self, runs: Runs, curves: Runs | None = None) -> Analysis:
        """Analyses a table; runs whose role is held_out are only forecast, never fitted.

        Args:
          runs: the table.
          curves: training curves for the first approach to the compute-optimal size, one row a point (see
            `genlab.scaling.approaches.curves`); by default the table's own column `curve`.

        Raises:
          ValueError: the table cannot be fitted by any of the laws.
        """
        runs = runs.rename(self.columns)
        grid, held_out = runs.grid, runs.held_out
        warnings: list[str] = []
        curves = None if curves is None else _without(curves.rename(self.columns), grid, held_out, warnings)
        laws = self.candidates(grid)
        warnings += self._check_budgets(laws)
        for column in self.accuracy:
            _check_accuracy(grid, _accuracy_law(column)[0])
        screening = len(laws) > 1 and len(grid) >= LARGE
        fits = self._fits(laws, grid, warnings, min(self.resamples, _SCREENED) if screening else self.resamples)
        laws = [law for law in laws if law.name in fits]
        tested = self._backtest(laws, grid, warnings)
        choice, reason = _choose(laws, tested)
        if self.profile or screening:
            chosen = next(law for law in laws if law.name == choice)
            fits[choice] = self._fit(chosen, grid, self.resamples, profile=self.profile)
        fit = fits[choice]
        told = {name: forecast(each, held_out, _scatter(each, tested)) for name, each in fits.items()}
        first = self._combined(fits, tested, held_out) or told.pop(choice)
        found, comparisons = self._sensitivity(fit, grid)
        isoflop = _isoflop(grid, fit) if fit.law.allocates else []
        analysis = Analysis(
            fits=fits,
            choice=choice,
            choice_reason=reason,
            forecasts=first,
            other_forecasts=[row for rows in told.values() for row in rows],
            backtest=tested,
            isoflop=isoflop,
            budgets=[fit.allocation(flops) for flops in self.budgets],
            warnings=list(dict.fromkeys([*warnings, *isoflop_warnings(isoflop), *_sensitivity_warnings(found)])),
            columns=dict(runs.columns),
            influence=found,
            comparisons=comparisons,
            approaches=self._approaches(fit, grid, curves) if fit.law.allocates else None,
            accuracy={name.partition("=")[0]: self._accuracy(name, fit, grid, held_out) for name in self.accuracy},
        )
        rows = fit_rows(fit, grid)
        return dataclasses.replace(analysis, checklist=reporting_checklist(rows, fit, _findings(analysis)))

    def candidates(self, runs: Runs) -> list[Law]:
        """The laws to fit, with the parameters held that are to be.

        Raises:
          ValueError: "auto" and a table that has the columns of no law; a parameter to be held that no law has.
        """
        names: list[str] = []
        for name in self.laws:
            names += candidates(runs) if name == "auto" else [name]
        laws = [get_law(name) for name in dict.fromkeys(names)]
        fixed = parse_numbers(self.fixed)
        for name in fixed:
            if not any(name in law.parameter_names for law in laws):
                raise ValueError(f"none of {', '.join(law.name for law in laws)} has a parameter {name!r} to be held")
        return [law.fix(**{k: v for k, v in fixed.items() if k in law.parameter_names}) for law in laws]

    def _check_budgets(self, laws: list[Law]) -> list[str]:
        """What the answer to a budget means, in words; ValueError, before anything is fitted, where there is none."""
        for law in laws if self.budgets else ():
            if not {"params", "tokens"} <= set(law.inputs) or law.response != "loss":
                raise ValueError(
                    f"a budget is shared out by a law of the loss on params and tokens: {law.name} predicts "
                    f"{law.response} from {', '.join(law.inputs)}"
                )
        repeated = self.budgets and any("unique_tokens" in law.inputs for law in laws)
        return ["the budgets are for fresh data, every token seen once"] if repeated else []

    def _fit(self, law: Law, grid: Runs, resamples: int, **settings) -> Fit:
        return fit_law(
            law, grid, self.robust, self.delta, self.starts, resamples, self.seed,
            weights=self.weights or None, groups=self.groups, **settings,
        )  # fmt: skip

    def _fits(self, laws: list[Law], grid: Runs, warnings: list[str], resamples: int) -> dict[str, Fit]:
        def fitted(law: Law) -> Fit | ValueError:
            try:
                return self._fit(law, grid, resamples)
            except ValueError as error:
                return error

        # Compiling and linear algebra leave the interpreter free: two cores fit two laws at once.
        with ThreadPoolExecutor(min(len(laws), os.cpu_count() or 1)) as pool:
            found = {law.name: fit for law, fit in zip(laws, pool.map(fitted, laws), strict=True)}
        fits = {law: fit for law, fit in found.items() if isinstance(fit, Fit)}
        problems = [str(error) for error in found.values() if isinstance(error, ValueError)]
        if not fits:
            raise ValueError(problems[0])
        warnings.extend(problems)
        return fits

    def _backtest(self, laws: list[Law], grid: Runs, warnings: list[str]) -> Backtest | None:
        try:
            tested = backtest(laws, grid, self.robust, self.delta, starts=min(STARTS, self.starts), seed=self.seed,
                              weights=self.weights or None)
        except ValueError as error:
            warnings.append(str(error))
            return None
        warnings.extend(tested.notes)
        return tested

    def _combined(self, fits: dict[str, Fit], tested: Backtest | None, held_out: Runs) -> list[dict[str, Any]]:
        """The forecasts of all laws together, where the laws were left open; else none."""
        if "auto" not in self.laws or tested is None or len(tested.weights) < 2:
            return []
        scatter = {name: _scatter(fits[name], tested) for name in tested.weights}
        return combined_forecast(fits, tested.weights, held_out, scatter)

    def _accuracy(self, column: str, fit: Fit, grid: Runs, held_out: Runs) -> dict[str, Any]:
        name, law = _accuracy_law(column)
        settings = {"starts": self.starts, "resamples": self.resamples, "seed": self.seed, "groups": self.groups}
        try:
            rows = grid.rename({"accuracy": name})
            loss_settings = {"loss": self.robust, "delta": self.delta, "weights": self.weights or None}
            chain = fit_chain(rows, fit.law, law, loss_settings, **settings)
            told = chain.forecast(held_out.rename({"accuracy": name}))
        except ValueError as error:
            return {"error": str(error)}
        return {"fit": chain.accuracy.to_json(), "forecasts": told, "warnings": chain.accuracy.warnings}

    def _approaches(self, fit: Fit, grid: Runs, curves: Runs | None) -> Comparison:
        settings = {"budgets": self.budgets, "resamples": self.resamples, "seed": self.seed}
        return compare_approaches(grid, curves, fit, **settings)

    def _sensitivity(self, fit: Fit, grid: Runs) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """(what `influence` found, the fit with and without those rows, and those that a filter left out)."""
        if not self.sensitivity:
            return {}, []
        rows = fit_rows(fit, grid)
        found = influence(fit, rows, seed=self.seed)
        comparisons = []
        if found.rows:
            comparisons.append(self._compared("influential", fit.law, rows, found.rows))
        everything, kept = grid.unfiltered, set(grid.names)
        dropped = [name for name in everything.names if name not in kept]
        if dropped:
            comparisons.append(self._compared("left out by the filter", fit.law, everything, dropped))
        return found.to_json(), comparisons

    def _compared(self, why: str, law: Law, runs: Runs, names: list) -> dict[str, Any]:
        settings = {"loss": self.robust, "delta": self.delta, "starts": self.starts, "seed": self.seed}
        settings |= {"weights": self.weights or None, "groups": self.groups}
        resamples = min(self.resamples, _COMPARED)
        try:
            sides = with_and_without(law, runs, np.array(names, dtype=object), resamples=resamples, **settings)
        except ValueError as error:
            sides = {"error": str(error)}
        return {"dropped": why, "rows": names, "resamples": resamples, **sides}


def _accuracy_law(column: str) -> tuple[str, Law]:
    """(column, the sigmoid with its chance held) of "COLUMN=CHANCE"; ValueError where chance is no accuracy."""
    name, equals, chance = column.partition("=")
    law = get_law("accuracy_of_loss")
    if not equals:
        return name, law
    try:
        return name, law.fix(**parse_numbers(f"chance={chance}"))
    except ValueError:
        raise ValueError(
            f"accuracy: {column!r} should be COLUMN=CHANCE, the accuracy of guessing as a share: {name}=0.25"
        ) from None


def _without(curves: Runs, grid: Runs, held_out: Runs, warnings: list[str]) -> Runs:
    """Training curves without those of held-out runs: by name, or, where there are none, by size."""
    by = "name" if all("name" in runs.frame for runs in (curves, grid, held_out)) else "params"
    unseen = set(held_out.frame[by]) - set(grid.frame[by]) if len(held_out) else set()
    gone = curves.frame[by].isin(unseen).to_numpy()
    if gone.any():
        warnings.append(f"{gone.sum()} points of training curves are of held-out runs (by {by}): not used")
    return curves.take(~gone)


def _check_accuracy(runs: Runs, column: str) -> None:
    if column not in runs.frame:
        nearest = difflib.get_close_matches(column, map(str, runs.frame.columns), n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "name a column of accuracies"
        raise ValueError(f"accuracy: {runs.source} has no column {column!r}; {hint}")
    runs.rename({"accuracy": column}).require(("accuracy",))


def fit_rows(fit: Fit, runs: Runs) -> Runs:
    """The rows of a table that a fit used."""
    used = set(fit.rows_used)
    return runs.take(np.array([name in used for name in runs.names]))


def _isoflop(grid: Runs, fit: Fit) -> list[IsoFlop]:
    rows = grid.require(("params", "tokens", "loss", "flops"))
    return [curve for method in METHODS for curve in isoflop_minima(rows, method=method, fit=fit)]


def _choose(laws: list[Law], tested: Backtest | None) -> tuple[str, str]:
    if len(laws) == 1:
        return laws[0].name, "the only law"
    if tested is None:
        return laws[0].name, "the first of the laws: the table is too small for a backtest"
    scores = ", ".join(f"{law} {100 * score:.2f} %" for law, score in tested.scores.items())
    return tested.choice, f"{tested.rule}: {scores}"


def _scatter(fit: Fit, tested: Backtest | None) -> float:
    """A new run errs by the residual scatter, or by as much as the law's own backtest has erred."""
    score = tested.scores.get(fit.law.name, 0.0) if tested else 0.0
    return float(np.maximum(fit.residual_scatter, score))


def _sensitivity_warnings(found: dict[str, Any]) -> list[str]:
    if not found or not found["rows"]:
        return []
    rows = ", ".join(map(str, found["rows"][:10])) + (", ..." if len(found["rows"]) > 10 else "")
    moved = ", ".join(f"{name} {old:.4g} to {new:.4g}" for name, (old, new) in found["moved"].items())
    return [f"{len(found['rows'])} influential rows ({rows}): without them {moved}"]


def _findings(analysis: Analysis) -> dict[str, Any]:
    """What the checklist reads."""
    said = []
    for compared in analysis.comparisons:
        if "with" in compared:
            old, new = compared["with"]["parameters"], compared["without"]["parameters"]
            shifts = ", ".join(f"{name} {old[name]:.4g} with, {new[name]:.4g} without" for name in old)
            said.append(f"{len(compared['rows'])} rows {compared['dropped']}: {shifts}")
    quiet = "no row is influential by the rule of fit.json" if analysis.influence else ""
    return {
        "choice_reason": analysis.choice_reason,
        "columns": analysis.columns,
        "forecasts": analysis.forecasts,
        "backtest": None if analysis.backtest is None else {"scores": analysis.backtest.scores},
        "sensitivity": "; ".join(said) or quiet,
    }

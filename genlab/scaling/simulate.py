"""What a planned grid of runs would tell: tables drawn from a known law, fitted as a real one would be.

Before a sweep is paid for: is the law identifiable from it, how wide will the intervals be, and does the
bootstrap's 95 % interval hold the truth 95 % of the time with so few runs?
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genlab.scaling.cost import Cost
from genlab.scaling.fitting.fit_law import fit_law
from genlab.scaling.law import Law
from genlab.scaling.laws import get_law
from genlab.scaling.runs import Runs

MAX_ROWS = 100_000


@dataclasses.dataclass(frozen=True, eq=False)
class Simulation:
    """What `simulate` found.

    Attributes:
      law: the law that the tables were drawn from and fitted with.
      truth: its parameters.
      noise: standard deviation of the log response (of the response itself if its scale is linear).
      rows: of each table.
      estimates: fitted parameters, [tables, P], of the tables that could be fitted.
      intervals: ends of each table's 95 % bootstrap intervals, [tables, P, 2]; [tables, 0, 2] without.
      converged: whether each fit (and all of its refits) converged, [tables].
      failures: (number of the table, reason) of the tables that could not be fitted.
      forecasts: one dict a point asked for: the inputs, truth (the law's response there), interval_95 (of
        the fitted laws' predictions), width (its half width as a share of the truth), covered (the share
        of tables whose own prediction interval held a new run's response; None without bootstrap).
      budgets: one dict a budget: flops, and for params and tokens the truth and interval_95.
    """

    law: Law
    truth: dict[str, float]
    noise: float
    rows: int
    estimates: np.ndarray
    intervals: np.ndarray
    converged: np.ndarray
    failures: list[tuple[int, str]]
    forecasts: list[dict[str, Any]]
    budgets: list[dict[str, Any]]

    def interval(self, name: str) -> tuple[float, float]:
        """Where 95 % of the tables' estimates of a parameter lie: the interval this design gives."""
        return _central(self.estimates[:, self.law.parameter_names.index(name)])

    def coverage(self, name: str) -> float:
        """The share of tables whose bootstrap interval holds the true value; NaN without a bootstrap."""
        if not self.intervals.size:
            return float("nan")
        low, high = self.intervals[:, self.law.parameter_names.index(name)].T
        return float(np.mean((low <= self.truth[name]) & (self.truth[name] <= high)))

    @property
    def verdicts(self) -> list[str]:
        """What is wrong with the design, in words; empty if nothing is."""
        found = [
            f"{name} cannot be told: 95 % of the tables give anything from {low:.3g} to {high:.3g} (truth {true:.3g})"
            for name, true in self.truth.items()
            for low, high in [self.interval(name)]
            if name not in self.law.fixed and _unknowable(self.law, name, true, low, high)
        ]
        tables = len(self.estimates) + len(self.failures)
        if self.failures:
            found.append(f"{len(self.failures)} of {tables} tables could not be fitted: {self.failures[0][1]}")
        if not self.converged.all():
            found.append(f"{np.sum(~self.converged)} of {tables} fits or their refits did not converge")
        return found

    def to_json(self) -> dict[str, Any]:
        """The summary, as JSON: not every table's estimates."""
        parameters = {
            name: {
                "truth": true,
                "median": float(np.median(self.estimates[:, k])),
                "interval_95": list(self.interval(name)),
                "coverage": self.coverage(name) if self.intervals.size else None,
            }
            for k, (name, true) in enumerate(self.truth.items())
        }
        return {
            "law": self.law.name,
            "noise": self.noise,
            "rows": self.rows,
            "tables": len(self.estimates) + len(self.failures),
            "tables_converged": int(self.converged.sum()),
            "failures": [{"table": table, "reason": reason} for table, reason in self.failures],
            "parameters": parameters,
            "forecasts": self.forecasts,
            "budgets": self.budgets,
            "verdicts": self.verdicts,
        }


def simulate(
    law: str | Law,
    plan: Runs,
    truth: Mapping[str, float] | None = None,
    noise: float = 0.01,
    tables: int = 200,
    resamples: int = 200,
    starts: int = 16,
    predict: Runs | None = None,
    budgets: Sequence[float] = (),
    seed: int = 0,
    **settings,
) -> Simulation:
    """Draws tables from a law on a planned grid, and fits every one.

    Args:
      law: the law that is taken to be true, or its name.
      plan: the planned runs: the law's inputs, one row a run (repeated rows are further seeds).
      truth: its parameters; by default the paper's constants.
      noise: standard deviation of a run's log response about the law (of the response, for a law of linear
        response), as between seeds.
      tables: how many tables to draw.
      resamples: bootstrap refits of each table; 0 for the spread of the estimates only.
      starts: starting points of each fit.
      predict: points at which the fitted laws are asked for the response.
      budgets: training FLOPs at which they are asked for the best params and tokens.
      seed: of the noise, starting points and resamples.
      **settings: further arguments of `fit_law`.

    Raises:
      ValueError: a plan without the law's inputs or with too few rows, a noise that is not positive, a law
        without published constants where no truth is given, or a truth that gives no finite response.
    """
    law = get_law(law)
    truth = _truth(law, truth)
    values = law.vector(truth)
    plan = plan.require(law.inputs)
    if not 0 < noise < np.inf:
        raise ValueError(f"noise is {noise:g}; it must be positive: the standard deviation between seeds")
    clean = law.respond(law.predict(values, **{name: plan.column(name) for name in law.inputs}))
    if not np.isfinite(clean).all():
        bad = int(np.argmin(np.isfinite(clean)))
        raise ValueError(f"{law.name} with these parameters gives no finite {law.response} in row {bad} of the plan")
    points = None if predict is None else predict.require(law.inputs)
    for flops in budgets:
        law.allocate(values, flops, Cost())  # what cannot be answered is refused before anything is fitted
    rng = np.random.default_rng(seed)
    fits, failures = [], []
    for table in range(tables):
        drawn = clean + noise * rng.standard_normal(len(clean))
        response = np.exp(drawn) if law.response_scale == "log" else drawn
        runs = dataclasses.replace(plan, frame=plan.frame.assign(**{law.response: response}))
        try:
            fits.append(fit_law(law, runs, starts=starts, resamples=resamples, seed=seed + table, **settings))
        except ValueError as error:
            failures.append((table, str(error)))
    if not fits:
        raise ValueError(f"no table drawn on this plan can be fitted: {failures[0][1]}")
    return Simulation(
        law=law,
        truth=truth,
        noise=noise,
        rows=len(plan),
        estimates=np.array([fit.values for fit in fits]),
        intervals=np.array([list(fit.intervals.values()) for fit in fits] if resamples else []),
        converged=np.array([_converged(fit.certificate) for fit in fits]),
        failures=failures,
        forecasts=[] if points is None else _forecasts(law, values, fits, points, noise, rng),
        budgets=[_budget(law, values, fits, flops) for flops in budgets],
    )


def planned_grid(text: str, seeds: int = 1) -> Runs:
    """A plan from text: every combination of values, e.g. "params=1e6,1e7,1e8; tokens=1e8,1e9".

    Args:
      text: one NAME=VALUE,VALUE,... an input, with semicolons between them.
      seeds: how often each combination is planned.

    Raises:
      ValueError: a piece that cannot be read, a value that is not positive, or too many rows.
    """
    columns: dict[str, np.ndarray] = {}
    for piece in filter(None, (piece.strip() for piece in text.split(";"))):
        name, equals, numbers = (part.strip() for part in piece.partition("="))
        try:
            values = np.array([float(number) for number in numbers.split(",")])
        except ValueError:
            values = np.array([np.nan])
        if not (name and equals) or name in columns or not ((values > 0) & np.isfinite(values)).all():
            example = "params=1e6,1e7,1e8; tokens=1e8,1e9"
            raise ValueError(f"plan: {piece!r} is not NAME=NUMBER,NUMBER,... with positive numbers; e.g. {example}")
        columns[name] = values
    rows = int(np.prod([len(values) for values in columns.values()], dtype=float)) * seeds
    if not columns or not 0 < rows <= MAX_ROWS:
        raise ValueError(f"plan: {rows if columns else 0} runs; from 1 to {MAX_ROWS} can be simulated")
    grid = np.meshgrid(*columns.values(), indexing="ij")
    frame = pd.DataFrame({name: np.tile(axis.ravel(), seeds) for name, axis in zip(columns, grid, strict=True)})
    return Runs(frame, source="the plan", embeddings="included")


def _truth(law: Law, truth: Mapping[str, float] | None) -> dict[str, float]:
    if truth is None and law.published is None:
        wanted = ",".join(f"{name}=NUMBER" for name in law.parameter_names)
        raise ValueError(f"{law.name} has no published constants: give its true parameters, {wanted}")
    given = {**(law.published or {}), **law.fixed, **(truth or {})}
    values = law.vector({name: given[name] for name in given})
    return law.named(values)


def _forecasts(law, values, fits, points: Runs, noise: float, rng) -> list[dict[str, Any]]:
    found = []
    for i in range(len(points)):
        at = {name: points.column(name)[i] for name in law.inputs}
        true = float(law.predict(values, **at))
        told = np.array([float(fit.predict(**at)) for fit in fits])
        low, high = _central(told)
        covered = None
        if len(fits[0].samples):
            ends = np.array([fit.predict_interval(**at) for fit in fits])
            measured = law.respond(true) + noise * rng.standard_normal(len(fits))
            held = (law.respond(ends[:, 0]) <= measured) & (measured <= law.respond(ends[:, 1]))
            covered = float(np.mean(held))
        width = 0.5 * (high - low) / abs(true)
        found.append({**at, "truth": true, "interval_95": [low, high], "width": width, "covered": covered})
    return found


def _budget(law, values, fits, flops: float) -> dict[str, Any]:
    found: dict[str, Any] = {"flops": float(flops)}
    cost = fits[0].cost
    true = dict(zip(("params", "tokens"), law.allocate(values, flops, cost), strict=True))
    told = dict(zip(("params", "tokens"), law.allocate(np.array([f.values for f in fits]), flops, cost), strict=True))
    for name in true:
        found[name] = {"truth": float(true[name]), "interval_95": list(_central(told[name]))}
    return found


def _converged(certificate: dict[str, Any]) -> bool:
    return bool(certificate["converged"]) and certificate["resamples_converged"] == certificate["resamples"]


def _central(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _unknowable(law: Law, name: str, true: float, low: float, high: float) -> bool:
    """A log parameter over a factor of 100, a linear one over more than its own size."""
    if law.parameters[law.parameter_names.index(name)].scale == "log":
        return high > 100 * low
    return high - low > abs(true)

"""A fitted law: parameters with intervals, a certificate, predictions, allocations, JSON."""

import dataclasses
from typing import Any

import numpy as np

from genlab.scaling.cost import Cost
from genlab.scaling.law import Law
from genlab.scaling.laws import get_law
from genlab.scaling.runs import LeftOut, Runs

_ENDLESS = 1e60  # tokens
_DRAWS = 8  # residuals drawn for each refit of the bootstrap


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """A law fitted to a table of runs.

    Attributes:
      law: the functional form.
      parameters: name -> value at the minimum, full precision.
      objective: the sum over rows of weight times the loss of the residual at the minimum.
      delta: the loss's threshold, on log residuals or in the unit of a linear response.
      samples: parameter vectors of the bootstrap refits, [resamples, P]; [0, P] without a bootstrap.
      residuals: log(measured / predicted) of the rows used, or measured - predicted for a law whose
        `response_scale` is linear, [rows].
      rows_used: identities of the rows that were fitted (see `Runs.names`).
      rows_left_out: the rows that were not, with the reason.
      certificate: what shows that this is the minimum: see `genlab.scaling.fitting.fit_law`.
      warnings: why this fit should not be trusted blindly, in words.
      ranges: the smallest and largest value of each input (and of flops) among the rows used.
      cost: what a run costs, for allocations.
      loss: name of the loss of the residuals, see `genlab.scaling.fitting.robust`.
      weights: of the rows used, with mean 1, [rows]; None where all count the same.
      groups: columns whose values make the groups that the bootstrap resampled; "" for single rows.
      profile_95: parameter -> 95 % profile-likelihood interval, where asked for
        (`genlab.scaling.fitting.profile`).
      runs: the rows used, for `plot`; None for a fit that was read from a file.
    """

    law: Law
    parameters: dict[str, float]
    objective: float
    delta: float
    samples: np.ndarray
    residuals: np.ndarray
    rows_used: list[str | int]
    rows_left_out: list[LeftOut]
    certificate: dict[str, Any]
    warnings: list[str]
    ranges: dict[str, tuple[float, float]]
    cost: Cost = dataclasses.field(default_factory=Cost)
    loss: str = "huber"
    weights: np.ndarray | None = None
    groups: str = ""
    profile_95: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    runs: Runs | None = dataclasses.field(default=None, repr=False)

    def __repr__(self) -> str:
        found = ", ".join(f"{name}={value:.4g}" for name, value in self.parameters.items())
        return f"Fit({self.law.name}: {found}; {len(self.rows_used)} rows, {len(self.warnings)} warnings)"

    @property
    def values(self) -> np.ndarray:
        """The parameters as a vector [P], in the order of the law."""
        return self.law.vector(self.parameters)

    @property
    def residual_scatter(self) -> float:
        """Standard deviation of the residuals, corrected for the number of free parameters.

        All rows count the same here, whatever their weights: it is how a run of this table scatters.
        """
        freedom = max(len(self.residuals) - len(self.law.parameters) + len(self.law.fixed), 1)
        return float(np.sqrt(np.sum(self.residuals**2) / freedom))

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % percentile bootstrap interval of every parameter."""
        return {name: self.interval(name) for name in self.law.parameter_names}

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Percentile bootstrap interval of one parameter; (nan, nan) without a bootstrap.

        Raises:
          ValueError: no such parameter.
        """
        if name not in self.parameters:
            there = ", ".join(self.law.parameter_names)
            raise ValueError(f"{self.law.name} has no parameter {name!r}; there are: {there}")
        low, high = _percentiles(self.samples[:, self.law.parameter_names.index(name)], level)
        return float(low), float(high)

    def predict(self, **inputs) -> np.ndarray:
        """The law's response, e.g. `fit.predict(params=1e9, tokens=2e10)`; inputs broadcast."""
        return self.law.predict(self.values, **inputs)

    def confidence_interval(self, level: float = 0.95, **inputs) -> tuple[np.ndarray, np.ndarray]:
        """Interval of the law's curve itself (no residual scatter): the band of a plot."""
        return _percentiles(self.law.predict(self.samples, **inputs), level)

    def predict_interval(
        self, level: float = 0.95, scatter: float | None = None, **inputs
    ) -> tuple[np.ndarray, np.ndarray]:
        """Interval for a new run's measured response: bootstrap and residual scatter together; see `draws`."""
        low, high = _percentiles(self.draws(scatter, **inputs), level)
        return (np.exp(low), np.exp(high)) if self.law.response_scale == "log" else (low, high)

    def draws(self, scatter: float | None = None, **inputs) -> np.ndarray:
        """The predictive distribution of a new run's (log) response: [draws, ...], in the inputs' shape.

        Each refit's prediction is moved by residuals drawn from the fit's own, scaled to a standard
        deviation of `scatter`, by default `residual_scatter`. The noise multiplies the response, or is
        added to one whose scale is linear.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            predicted = self.law.respond(self.law.predict(self.samples, **inputs))
        size = np.sqrt(np.mean(self.residuals**2))
        scatter = self.residual_scatter if scatter is None else scatter
        shape = (_DRAWS, *predicted.shape)
        noise = np.random.default_rng(0).choice(self.residuals, size=shape) * (
            scatter / size if size > 0 else 0.0
        )
        return (predicted + noise).reshape(-1, *predicted.shape[1:])

    def allocate(self, flops) -> tuple[np.ndarray, np.ndarray]:
        """(N_opt, D_opt): the size and tokens of least loss at training compute `flops`.

        A law of repeated data is asked about fresh data; `Law.allocate` takes unique_tokens.

        Raises:
          ValueError: the law is not one of params and tokens.
        """
        return self.law.allocate(self.values, flops, self.cost, **self._fresh)

    def allocation(self, flops: float, level: float = 0.95) -> dict[str, Any]:
        """The compute-optimal run at one budget, with bootstrap intervals.

        Returns:
          flops, params, tokens, tokens_per_param, loss (in expectation, without scatter), and
          "interval_95" with the ends of each; errors as for `allocate`.
        """
        best, spread = (self._optimum(values, flops) for values in (self.values, self.samples))
        ends = {name: [float(e) for e in _percentiles(v, level)] for name, v in spread.items()}
        return {
            "flops": float(flops),
            **{name: float(value) for name, value in best.items()},
            f"interval_{100 * level:g}": ends,
        }

    @property
    def _fresh(self) -> dict[str, float]:
        """More unique tokens than any run sees, for a law that reads them."""
        return {"unique_tokens": _ENDLESS} if "unique_tokens" in self.law.inputs else {}

    def _optimum(self, values: np.ndarray, flops: float) -> dict[str, np.ndarray]:
        params, tokens = self.law.allocate(values, flops, self.cost, **self._fresh)
        loss = self.law.predict_each(values, params=params, tokens=tokens, **self._fresh)
        return {"params": params, "tokens": tokens, "tokens_per_param": tokens / params, "loss": loss}

    def plot(self, runs: Runs | None = None):
        """A figure of the law through its runs with the residuals: `genlab.figures.law_fit` or `response`.

        Args:
          runs: the table to draw, e.g. with held-out runs in it; by default the rows that were fitted.

        Returns:
          a matplotlib Figure.

        Raises:
          ValueError: a fit that was read from a file, and no runs.
        """
        from genlab import figures  # a floor up, and only when somebody looks: a fit needs no matplotlib

        runs = self.runs if runs is None else runs
        if runs is None:
            raise ValueError("this fit was read from a file: give the runs to plot")
        draw = figures.response if len(self.law.inputs) == 1 else figures.law_fit
        return draw(runs, self)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON; `from_json` is its inverse."""
        return {
            "law": self.law.name,
            "formula": self.law.text,
            "citation": self.law.citation,
            "parameters": dict(self.parameters),
            "fixed": self.law.fixed,
            "response_scale": self.law.response_scale,
            "objective": self.objective,
            "loss": self.loss,
            "delta": self.delta,
            "interval_95": {name: list(ends) for name, ends in self.intervals.items()},
            "profile_95": {name: list(ends) for name, ends in self.profile_95.items()},
            "residual_scatter": self.residual_scatter,
            "cost": dataclasses.asdict(self.cost),
            "ranges": {name: list(ends) for name, ends in self.ranges.items()},
            "rows_used": list(self.rows_used),
            "rows_left_out": [row._asdict() for row in self.rows_left_out],
            "certificate": self.certificate,
            "warnings": list(self.warnings),
            "groups": self.groups,
            "weights": None if self.weights is None else self.weights.tolist(),
            "residuals": self.residuals.tolist(),
            "samples": dict(zip(self.law.parameter_names, self.samples.T.tolist(), strict=True)),
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Fit":
        """The fit that `to_json` wrote."""
        law = get_law(saved["law"]).fix(**saved.get("fixed", {}))
        law = dataclasses.replace(law, response_scale=saved.get("response_scale", law.response_scale))
        weights = saved.get("weights")
        return cls(
            law=law,
            parameters=saved["parameters"],
            objective=saved["objective"],
            delta=saved["delta"],
            samples=np.array([saved["samples"][name] for name in law.parameter_names]).T,
            residuals=np.asarray(saved["residuals"], dtype=np.float64),
            rows_used=saved["rows_used"],
            rows_left_out=[LeftOut(**row) for row in saved["rows_left_out"]],
            certificate=saved["certificate"],
            warnings=saved["warnings"],
            ranges={name: tuple(ends) for name, ends in saved["ranges"].items()},
            cost=Cost(**saved["cost"]),
            loss=saved.get("loss", "huber"),
            weights=None if weights is None else np.asarray(weights, dtype=np.float64),
            groups=saved.get("groups", ""),
            profile_95={name: tuple(ends) for name, ends in saved.get("profile_95", {}).items()},
        )


def _percentiles(samples: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The central interval over the first axis."""
    if not len(samples):
        return np.full(samples.shape[1:], np.nan), np.full(samples.shape[1:], np.nan)
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(samples, [tail, 100.0 - tail], axis=0)
    return low, high

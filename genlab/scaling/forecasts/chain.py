"""Size and data to loss to accuracy: two fitted laws, one after the other, with the uncertainty of both.

    chain = fit_chain(runs, "chinchilla", get_law("accuracy_of_loss").fix(chance=0.25))
    chain.predict(params=7e9, tokens=2e12), chain.predict_interval(params=7e9, tokens=2e12)
"""

import dataclasses
from typing import Any

import numpy as np

from genlab.scaling.fitting.fit_law import fit_law
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.law import Law
from genlab.scaling.laws import get_law
from genlab.scaling.runs import Runs

_DRAWS = 8  # pairs of residuals drawn for each pair of refits


@dataclasses.dataclass(frozen=True, eq=False)
class Chain:
    """A fitted law of the loss and a fitted law of something that follows from the loss.

    Attributes:
      loss: a fit whose response is the loss.
      accuracy: a fit whose one input is the loss: an accuracy, an error.

    Raises:
      ValueError: fits that do not follow on one another.
    """

    loss: Fit
    accuracy: Fit

    def __post_init__(self):
        if self.loss.law.response != "loss":
            raise ValueError(f"the first law of a chain predicts the loss; {self.loss.law.name} does not")
        if self.accuracy.law.inputs != ("loss",):
            raise ValueError(f"the second law of a chain reads the loss alone; {self.accuracy.law.name} does not")

    @property
    def name(self) -> str:
        """Both laws, e.g. "chinchilla + accuracy_of_loss"."""
        return f"{self.loss.law.name} + {self.accuracy.law.name}"

    @property
    def warnings(self) -> list[str]:
        """Those of both fits."""
        return [f"{fit.law.name}: {warning}" for fit in (self.loss, self.accuracy) for warning in fit.warnings]

    def predict(self, **inputs) -> np.ndarray:
        """The response at inputs of the loss's law, e.g. `chain.predict(params=1e9, tokens=2e10)`."""
        return self.accuracy.predict(loss=self.loss.predict(**inputs))

    def predict_interval(self, level: float = 0.95, **inputs) -> tuple[np.ndarray, np.ndarray]:
        """Interval for a new run's measured response; (nan, nan) where a fit has no bootstrap.

        The k-th refit of the loss goes with the k-th of the accuracy: the same rows, if both were fitted to
        the same runs with one seed (`fit_chain`). The scatter of a run's loss about its law passes through
        the second law, and the scatter about that is added; ends of an accuracy or an error stay in 0 to 1.
        """
        law, pairs = self.accuracy.law, min(len(self.loss.samples), len(self.accuracy.samples))
        first = self.loss.law
        losses = first.respond(first.predict(self.loss.samples[:pairs], **inputs))
        shape = (_DRAWS, *losses.shape)
        of_loss, of_response = self._scatter(np.random.default_rng(0), shape)
        drawn = np.exp(losses + of_loss) if first.response_scale == "log" else losses + of_loss
        samples = np.broadcast_to(
            self.accuracy.samples[:pairs].reshape(1, pairs, *[1] * (losses.ndim - 1), len(law.parameters)),
            (*shape, len(law.parameters)),
        )
        found = law.respond(law.predict_each(samples, loss=drawn)) + of_response
        found = found.reshape(-1, *losses.shape[1:])
        if not pairs:
            return np.full(found.shape[1:], np.nan), np.full(found.shape[1:], np.nan)
        tail = 50.0 * (1.0 - level)
        low, high = np.percentile(found, [tail, 100.0 - tail], axis=0)
        return (np.exp(low), np.exp(high)) if law.response_scale == "log" else (np.clip(low, 0, 1), np.clip(high, 0, 1))

    def _scatter(self, rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Residuals of the loss's law and of the other; of one row each pair, if the rows are the same."""
        rows = rng.integers(0, len(self.loss.residuals), shape)
        same = self.loss.rows_used == self.accuracy.rows_used
        others = rows if same else rng.integers(0, len(self.accuracy.residuals), shape)
        return _inflated(self.loss)[rows], _inflated(self.accuracy)[others]

    def forecast(self, held_out: Runs) -> list[dict[str, Any]]:
        """What the chain says about held-out runs, in the form of `genlab.scaling.forecast`.

        Beside its entries: error (predicted - measured; the relative error of an accuracy of 0 is NaN) and
        predicted_loss.
        """
        inputs_of, response = self.loss.law.inputs, self.accuracy.law.response
        held_out = held_out.require((*inputs_of, response))
        if not len(held_out):
            return []
        inputs = {name: held_out.column(name) for name in inputs_of}
        losses, measured = self.loss.predict(**inputs), held_out.column(response)
        predicted = self.accuracy.predict(loss=losses)
        low, high = self.predict_interval(**inputs)
        known = bool(np.isfinite(low).all())
        flops = held_out.column("flops") if held_out.has("flops") else np.full(len(held_out), np.nan)
        largest = self.loss.ranges.get("flops", (np.nan, np.nan))[1]
        return [
            {
                "name": name,
                "predicted": float(predicted[i]),
                "measured": float(measured[i]),
                "relative_error": float(predicted[i] / measured[i] - 1.0) if measured[i] else float("nan"),
                "interval_95": [float(low[i]), float(high[i])] if known else None,
                "covered": bool(low[i] <= measured[i] <= high[i]) if known else None,
                "law": self.name,
                **{key: float(values[i]) for key, values in inputs.items()},
                "flops": float(flops[i]),
                "extrapolation": float(flops[i] / largest),
                "error": float(predicted[i] - measured[i]),
                "predicted_loss": float(losses[i]),
            }
            for i, name in enumerate(held_out.names)
        ]

    def to_json(self) -> dict[str, Any]:
        """Both fits, as JSON; `from_json` is its inverse."""
        return {"chain": self.name, "loss": self.loss.to_json(), "accuracy": self.accuracy.to_json()}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Chain":
        """The chain that `to_json` wrote."""
        return cls(Fit.from_json(saved["loss"]), Fit.from_json(saved["accuracy"]))


def _inflated(fit: Fit) -> np.ndarray:
    """A fit's residuals, scaled to the standard deviation that new runs have about its law."""
    size = np.sqrt(np.mean(fit.residuals**2))
    return fit.residuals * (fit.residual_scatter / size if size > 0 else 0.0)


def fit_chain(
    runs: Runs,
    loss_law: str | Law = "chinchilla",
    accuracy_law: str | Law = "accuracy_of_loss",
    loss_settings: dict[str, Any] | None = None,
    **settings,
) -> Chain:
    """Fits both laws to the runs that have all that either reads, with the same resamples.

    Args:
      runs: a table with the inputs of the first law, the loss, and the response of the second.
      loss_law: a law of the loss; `accuracy_law`: a law that reads the loss alone. Either may be a name.
      loss_settings: arguments of `fit_law` for the first law alone.
      **settings: arguments of `fit_law` for both, such as resamples or seed.

    Raises:
      ValueError: as for `fit_law`, or laws that do not follow on one another.
    """
    first, second = get_law(loss_law), get_law(accuracy_law)
    both = runs.require((*first.inputs, first.response, *second.inputs, second.response))
    return Chain(fit_law(first, both, **{**settings, **(loss_settings or {})}), fit_law(second, both, **settings))

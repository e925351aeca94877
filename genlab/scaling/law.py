"""What a scaling law is: a formula with named parameters, their ranges, and where it comes from.

A law is written in one place, as a `Law` in `laws/`. Fitting, bootstrap, forecasts and allocation
need nothing else from it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from genlab.scaling.cost import Cost


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter of a law.

    Attributes:
      name: as in the paper.
      meaning: in words, with the unit.
      start: the range starting points of a fit are drawn from.
      bounds: the fit stays within these; a parameter that ends at one is reported as such.
      scale: "log" parameters are positive and the fit moves their logarithm.
    """

    name: str
    meaning: str
    start: tuple[float, float]
    bounds: tuple[float, float]
    scale: Literal["log", "linear"] = "log"


class Positive:
    """Positive numbers known by their logarithm; `x ** a` is exp(a log x).

    XLA's float64 `pow` on CPU took 21 ns an element where `exp` took 3.6 ns, and a power law needs
    log x for its derivative anyway.
    """

    def __init__(self, logarithm):
        self.log = logarithm

    def __pow__(self, exponent):
        return exp(exponent * self.log)

    @property
    def value(self):
        """The numbers themselves."""
        return exp(self.log)


def exp(x):
    """e**x of a NumPy or a JAX array: formulas run in both."""
    return jnp.exp(x) if isinstance(x, jax.Array) else np.exp(x)


def log(x):
    """The natural logarithm of a NumPy or a JAX array."""
    return jnp.log(x) if isinstance(x, jax.Array) else np.log(x)


def power(base, exponent):
    """base ** exponent for a positive base, by way of its logarithm (see `Positive`)."""
    return exp(exponent * log(base))


@dataclasses.dataclass(frozen=True, eq=False)
class Law:
    """A named functional form: response = formula(parameters, inputs).

    Attributes:
      name: how commands and tables call it.
      text: the formula as a reader would write it.
      citation: paper, equation.
      inputs: canonical columns that the formula reads.
      parameters: in the order of the fit's parameter vector.
      formula: `formula(p, x)`, where `p` has an attribute for each parameter and `x` a `Positive` for
        each input; it must run on NumPy and on JAX arrays (use `exp`, `log`, `power` of this module).
      linear: parameters in which the formula is linear; a fit eliminates them when it looks for
        starting points (variable projection).
      guess: `guess(rng, count, x, response) -> {parameter: [count]}`, starting values for a law whose
        ranges depend on the table; replaces `Parameter.start` for the parameters it returns.
      optimum: `optimum(p, flops, cost) -> params`, in closed form: the number of parameters with the
        least loss at a training compute. None: found numerically.
      inverse: `inverse(p, response, x, wanted) -> wanted`, in closed form: the input `wanted` at
        which the response is reached, the other inputs given; NaN where it never is.
      exchangeable: blocks of parameters that may change places without changing the law, such as the breaks
        of a curve; fits report them in the order of their first parameters.
      response: the canonical column that the law predicts.
      response_scale: "log" responses are positive and residuals are log(predicted / measured); those of
        "linear" ones (an accuracy, which may be 0) are predicted - measured.
      published: the constants of the paper, where it states some.
    """

    name: str
    text: str
    citation: str
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    formula: Callable
    linear: tuple[str, ...] = ()
    guess: Callable | None = None
    optimum: Callable | None = None
    inverse: Callable | None = None
    exchangeable: tuple[tuple[str, ...], ...] = ()
    response: str = "loss"
    response_scale: Literal["log", "linear"] = "log"
    published: Mapping[str, float] | None = None

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names in the order of the parameter vector."""
        return tuple(parameter.name for parameter in self.parameters)

    def in_order(self, coordinates: np.ndarray) -> np.ndarray:
        """Coordinates [..., P] of the same curve with the exchangeable blocks sorted by their first parameters."""
        return np.take_along_axis(coordinates, self.order(coordinates), axis=-1)

    def order(self, coordinates: np.ndarray) -> np.ndarray:
        """The permutation [..., P] by which `in_order` sorts; where a block has a fixed parameter, none."""
        found = np.broadcast_to(np.arange(len(self.parameters)), coordinates.shape)
        if not self.exchangeable or any(name in self.fixed for block in self.exchangeable for name in block):
            return found
        places = np.array([[self.parameter_names.index(name) for name in block] for block in self.exchangeable])
        rank = np.argsort(coordinates[..., places[:, 0]], axis=-1, kind="stable")
        found = found.copy()
        found[..., places] = places[rank]
        return found

    @property
    def is_log(self) -> np.ndarray:
        """Which entries of the parameter vector are logarithms, bool [P]."""
        return np.array([parameter.scale == "log" for parameter in self.parameters])

    @property
    def bounds(self) -> np.ndarray:
        """Lower and upper bounds in the coordinates of the fit (logarithms where log), [2, P]."""
        bounds = np.array([parameter.bounds for parameter in self.parameters]).T
        return np.where(self.is_log, np.log(np.where(self.is_log, bounds, 1.0)), bounds)

    def coordinates(self, values: np.ndarray) -> np.ndarray:
        """Parameter values -> the coordinates a fit moves in, [..., P] -> [..., P]."""
        values = np.asarray(values, dtype=np.float64)
        return np.where(self.is_log, np.log(np.where(self.is_log, values, 1.0)), values)

    def values(self, coordinates: np.ndarray) -> np.ndarray:
        """The inverse of `coordinates`, [..., P] -> [..., P]."""
        return np.where(self.is_log, np.exp(np.where(self.is_log, coordinates, 0.0)), coordinates)

    def fix(self, **values: float) -> "Law":
        """The same law with some parameters held at given values.

        Raises:
          ValueError: no such parameter, or a value outside its bounds.
        """
        for name, value in values.items():
            if name not in self.parameter_names:
                there = ", ".join(self.parameter_names)
                raise ValueError(f"{self.name} has no parameter {name!r}; there are: {there}")
            low, high = self.parameters[self.parameter_names.index(name)].bounds
            if not low <= value <= high:
                raise ValueError(f"{name} = {value:g} is outside its bounds, {low:g} to {high:g}")
        return dataclasses.replace(
            self,
            parameters=tuple(
                dataclasses.replace(parameter, start=(value, value), bounds=(value, value))
                if (value := values.get(parameter.name)) is not None
                else parameter
                for parameter in self.parameters
            ),
        )

    @property
    def fixed(self) -> dict[str, float]:
        """The parameters that `fix` holds, with their values."""
        return {p.name: p.bounds[0] for p in self.parameters if p.bounds[0] == p.bounds[1]}

    def respond(self, response: np.ndarray) -> np.ndarray:
        """A response in the scale in which residuals are differences: its logarithm, or itself."""
        response = np.asarray(response, dtype=np.float64)
        return np.log(response) if self.response_scale == "log" else response

    def named(self, values: np.ndarray) -> dict[str, float]:
        """One parameter vector as a dict."""
        return dict(zip(self.parameter_names, (float(value) for value in values), strict=True))

    def vector(self, named: Mapping[str, float]) -> np.ndarray:
        """A dict of parameters as a vector [P].

        Raises:
          ValueError: a parameter is missing or unknown.
        """
        if set(named) != set(self.parameter_names):
            raise ValueError(
                f"{self.name} has the parameters {', '.join(self.parameter_names)}, "
                f"not {', '.join(named)}"
            )
        return np.array([named[name] for name in self.parameter_names], dtype=np.float64)

    def predict(self, values: np.ndarray, **inputs) -> np.ndarray:
        """The response at given inputs, in float64.

        Args:
          values: parameter values, [..., P].
          **inputs: one array for each of the law's inputs; they broadcast against each other.

        Returns:
          [..., *shape of the inputs].
        """
        if not inputs.keys() >= set(self.inputs):
            given = ", ".join(inputs) or "nothing"
            raise ValueError(f"{self.name} is a law of {', '.join(self.inputs)}, not of {given}")
        logs = [np.log(np.asarray(inputs[name], dtype=np.float64)) for name in self.inputs]
        logs = np.broadcast_arrays(*logs)
        values = np.asarray(values, dtype=np.float64)
        split = np.moveaxis(values, -1, 0)
        split = split.reshape(split.shape + (1,) * logs[0].ndim)
        p = SimpleNamespace(**dict(zip(self.parameter_names, split, strict=True)))
        x = SimpleNamespace(**dict(zip(self.inputs, map(Positive, logs), strict=True)))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            predicted = np.asarray(self.formula(p, x))
        return np.broadcast_to(predicted, values.shape[:-1] + logs[0].shape)

    def predict_each(self, values: np.ndarray, **inputs) -> np.ndarray:
        """The response where every parameter vector has its own inputs, [..., P] and [...] -> [...]."""
        p = SimpleNamespace(**dict(zip(self.parameter_names, np.moveaxis(values, -1, 0), strict=True)))
        x = SimpleNamespace(**{name: Positive(np.log(inputs[name])) for name in self.inputs})
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return np.asarray(self.formula(p, x))

    def solve(self, values: np.ndarray, wanted: str, response, **given) -> np.ndarray:
        """The input at which the law reaches a response, in closed form.

        Args:
          values: parameter values [P].
          wanted: the input to solve for, e.g. "tokens".
          response: the response to reach.
          **given: the other inputs.

        Returns:
          the input; NaN where the response is never reached.

        Raises:
          ValueError: the law has no closed-form inverse, or no such input.
        """
        if self.inverse is None or wanted not in self.inputs:
            raise ValueError(f"{self.name} cannot be solved for {wanted} in closed form")
        p = SimpleNamespace(**self.named(values))
        x = SimpleNamespace(**{name: Positive(np.log(np.asarray(v, float))) for name, v in given.items()})
        return self.inverse(p, np.asarray(response, dtype=np.float64), x, wanted)

    @property
    def allocates(self) -> bool:
        """Whether it is the loss as a law of params and tokens alone: a compute then has a best size."""
        return set(self.inputs) == {"params", "tokens"} and self.response == "loss"

    def allocate(self, values: np.ndarray, flops, cost: Cost, **given: float) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of parameters and tokens with the least loss at a training compute.

        Args:
          values: parameter values, [..., P].
          flops: training FLOPs, any shape.
          cost: what a run of N parameters and D tokens costs.
          **given: the law's further inputs, e.g. unique_tokens=1e9.

        Returns:
          (N_opt, D_opt), each [..., *shape of flops].

        Raises:
          ValueError: the law does not depend on both params and tokens, or a further input is missing.
        """
        if not {"params", "tokens"} <= set(self.inputs):
            raise ValueError(f"{self.name} is no law of params and tokens: it allocates nothing")
        missing = set(self.inputs) - {"params", "tokens"} - set(given)
        if missing:
            raise ValueError(f"{self.name} also needs {', '.join(sorted(missing))} to allocate params and tokens")
        flops = np.asarray(flops, dtype=np.float64)
        values = np.asarray(values, dtype=np.float64)
        if self.optimum is None:
            params = _numeric_optimum(self, values, flops, cost, given)
        else:
            split = np.moveaxis(values, -1, 0)
            split = split.reshape(split.shape + (1,) * flops.ndim)
            p = SimpleNamespace(**dict(zip(self.parameter_names, split, strict=True)))
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                params = self.optimum(p, flops, cost)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return params, cost.tokens(flops, params)


def _numeric_optimum(law: Law, values: np.ndarray, flops: np.ndarray, cost: Cost, given: dict) -> np.ndarray:
    """Minimises the law's response over log N at fixed compute, by a grid that is refined in place.

    The minimum is flat: rounding of the response leaves N_opt uncertain by about 1e-7 of itself.
    """
    shape = values.shape[:-1] + flops.shape
    values = values.reshape(values.shape[:-1] + (1,) * flops.ndim + values.shape[-1:])
    values = np.broadcast_to(values, (*shape, values.shape[-1]))
    centre, half_width = np.full(shape, np.log(1e12)), np.log(1e15)
    for _ in range(15):
        log_params = centre[..., None] + np.linspace(-half_width, half_width, 33)
        params = np.exp(log_params)
        tokens = cost.tokens(flops[..., None], params)
        at = np.stack([values] * 33, axis=-2)
        response = law.predict_each(at, params=params, tokens=tokens, **given)
        best = np.argmin(np.where(np.isfinite(response), response, np.inf), axis=-1)
        centre = np.take_along_axis(log_params, best[..., None], axis=-1)[..., 0]
        half_width /= 10.0
    return np.exp(centre)


def parse_numbers(text: str) -> dict[str, float]:
    """Parameters by name, from "E=1.69,alpha=0.34".

    Raises:
      ValueError: a piece of another form.
    """
    found = {}
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, number = (part.strip() for part in piece.partition("="))
        try:
            found[name] = float(number)
        except ValueError:
            raise ValueError(f"{piece!r} is not NAME=NUMBER; e.g. E=1.69,alpha=0.34") from None
    return found

"""The laws: each one formula, its parameters with their ranges and scales, and its citation.

N is `params`, D is `tokens` (or examples), L the loss. To add a law, write a `Law` here and list it in
`LAWS`.
"""

import difflib

import numpy as np

from genlab.scaling.cost import Cost
from genlab.scaling.law import Law, Parameter, exp, log, power

_EXPONENT_START = (0.05, 1.5)
_EXPONENT_BOUNDS = (0.005, 5.0)
_COEFFICIENT_BOUNDS = (1e-12, 1e60)
_FLOOR = Parameter(
    "E",
    "loss of an infinite model on infinite data: entropy of the data, in the unit of the loss",
    start=(0.0, 1.0),
    bounds=(0.0, np.inf),
    scale="linear",
)


def _coefficient(name: str, meaning: str) -> Parameter:
    return Parameter(name, meaning, start=(1.0, 1e4), bounds=_COEFFICIENT_BOUNDS)


def _exponent(name: str, meaning: str) -> Parameter:
    return Parameter(name, meaning, _EXPONENT_START, _EXPONENT_BOUNDS, scale="linear")


def _additive_optimum(a, alpha, b, beta, flops, cost: Cost):
    """argmin over N of a N^-alpha + b D^-beta at C = k N^q D (Hoffmann et al. 2022, eq. 4, q = 1)."""
    q, k = cost.params_exponent, cost.constant
    ratio = np.log(alpha * a) - np.log(q * beta * b)
    return np.exp((ratio + beta * np.log(flops / k)) / (alpha + q * beta))


def _solve_power(coefficient, exponent, value):
    """x with coefficient x^-exponent = value; NaN where the value is not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(value > 0, (coefficient / np.where(value > 0, value, 1.0)), np.nan) ** (
            1.0 / exponent
        )


def _chinchilla(p, x):
    return p.E + p.A * x.params**-p.alpha + p.B * x.tokens**-p.beta


def _chinchilla_optimum(p, flops, cost: Cost):
    return _additive_optimum(p.A, p.alpha, p.B, p.beta, flops, cost)


def _chinchilla_inverse(p, loss, x, wanted: str):
    if wanted == "params":
        return _solve_power(p.A, p.alpha, loss - p.E - p.B * x.tokens**-p.beta)
    return _solve_power(p.B, p.beta, loss - p.E - p.A * x.params**-p.alpha)


CHINCHILLA = Law(
    name="chinchilla",
    text="L = E + A/N^alpha + B/D^beta",
    citation="Hoffmann et al. 2022 (arXiv 2203.15556), equation 2 and section 3.3",
    inputs=("params", "tokens"),
    parameters=(
        _coefficient("A", "loss x parameters^alpha"),
        _coefficient("B", "loss x tokens^beta"),
        _FLOOR,
        _exponent("alpha", "how fast the loss falls with parameters"),
        _exponent("beta", "how fast the loss falls with tokens"),
    ),
    formula=_chinchilla,
    linear=("A", "B", "E"),
    optimum=_chinchilla_optimum,
    inverse=_chinchilla_inverse,
)


def _kaplan(p, x):
    ratio = p.alpha_N / p.alpha_D
    of_params = exp(ratio * (log(p.N_c) - x.params.log))
    return power(of_params + p.D_c * x.tokens**-1.0, p.alpha_D)


def _kaplan_guess(rng: np.random.Generator, count: int, x, loss: np.ndarray) -> dict:
    """Exponents at random; scales such that N and D share the loss at the table's geometric centre."""
    alpha_N, alpha_D = np.exp(rng.uniform(np.log(0.03), np.log(1.0), (2, count)))
    share = rng.uniform(0.1, 0.9, count)
    log_bracket = np.mean(np.log(loss)) / alpha_D
    log_N_c = x.params.log.mean() + (np.log(share) + log_bracket) * alpha_D / alpha_N
    log_D_c = x.tokens.log.mean() + np.log1p(-share) + log_bracket
    return {"alpha_N": alpha_N, "alpha_D": alpha_D, "N_c": np.exp(log_N_c), "D_c": np.exp(log_D_c)}


def _kaplan_optimum(p, flops, cost: Cost):
    # The bracket is additive with exponents alpha_N/alpha_D and 1; L is increasing in it.
    ratio = p.alpha_N / p.alpha_D
    return _additive_optimum(p.N_c**ratio, ratio, p.D_c, 1.0, flops, cost)


def _kaplan_inverse(p, loss, x, wanted: str):
    ratio, bracket = p.alpha_N / p.alpha_D, loss ** (1.0 / p.alpha_D)
    if wanted == "params":
        return _solve_power(p.N_c**ratio, ratio, bracket - p.D_c / x.tokens.value)
    return _solve_power(p.D_c, 1.0, bracket - (p.N_c / x.params.value) ** ratio)


KAPLAN = Law(
    name="kaplan",
    text="L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D",
    citation="Kaplan et al. 2020 (arXiv 2001.08361), equation 1.5",
    inputs=("params", "tokens"),
    parameters=(
        Parameter("N_c", "parameters at which infinite data give loss 1", (1e3, 1e15), (1e-12, 1e60)),
        Parameter("D_c", "tokens at which an infinite model has loss 1", (1e3, 1e15), (1e-12, 1e60)),
        _exponent("alpha_N", "exponent of the loss in parameters at infinite data"),
        _exponent("alpha_D", "exponent of the loss in tokens for an infinite model"),
    ),
    formula=_kaplan,
    guess=_kaplan_guess,
    optimum=_kaplan_optimum,
    inverse=_kaplan_inverse,
)

LAWS: dict[str, Law] = {law.name: law for law in (CHINCHILLA, KAPLAN)}


def get_law(law: str | Law) -> Law:
    """The law of that name (a `Law` is returned as it is).

    Raises:
      ValueError: no such law; the message gives the nearest name.
    """
    if isinstance(law, Law):
        return law
    if law not in LAWS:
        nearest = difflib.get_close_matches(str(law), LAWS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are: {', '.join(LAWS)}"
        raise ValueError(f"no law is called {law!r}; {hint}")
    return LAWS[law]



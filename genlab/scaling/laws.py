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



def _busbridge(p, x):
    return p.E + power(p.A * x.params**-p.alpha + p.B * x.tokens**-p.beta, p.gamma)


def _busbridge_guess(rng: np.random.Generator, count: int, x, loss: np.ndarray) -> dict:
    """As for Kaplan's law, with a floor at some share of the lowest loss."""
    E = rng.uniform(0.0, 0.9, count) * loss.min()
    alpha, beta = np.exp(rng.uniform(np.log(0.1), np.log(1.5), (2, count)))
    gamma = np.exp(rng.uniform(np.log(0.2), np.log(2.0), count))
    share = rng.uniform(0.1, 0.9, count)
    log_bracket = np.log(np.exp(np.mean(np.log(loss))) - E) / gamma
    log_A = np.log(share) + log_bracket + alpha * x.params.log.mean()
    log_B = np.log1p(-share) + log_bracket + beta * x.tokens.log.mean()
    exponents = {"alpha": alpha, "beta": beta, "gamma": gamma}
    return {"E": E, "A": np.exp(log_A), "B": np.exp(log_B), **exponents}


def _busbridge_inverse(p, loss, x, wanted: str):
    with np.errstate(invalid="ignore"):
        bracket = np.where(loss > p.E, loss - p.E, np.nan) ** (1.0 / p.gamma)
    if wanted == "params":
        return _solve_power(p.A, p.alpha, bracket - p.B * x.tokens**-p.beta)
    return _solve_power(p.B, p.beta, bracket - p.A * x.params**-p.alpha)


BUSBRIDGE = Law(
    name="busbridge",
    text="L = E + (A/N^alpha + B/D^beta)^gamma",
    citation="Busbridge et al. 2025 (arXiv 2502.08606), the supervised law of section 2; gamma = 1 is "
    "Chinchilla's law, E = 0 with beta = 1 Kaplan's",
    inputs=("params", "tokens"),
    parameters=(
        _coefficient("A", "(loss - E)^(1/gamma) x parameters^alpha"),
        _coefficient("B", "(loss - E)^(1/gamma) x tokens^beta"),
        _FLOOR,
        _exponent("alpha", "how fast the bracket falls with parameters"),
        _exponent("beta", "how fast the bracket falls with tokens"),
        Parameter(
            "gamma",
            "power of the bracket; below 1, larger models gain more from further data",
            start=(0.2, 2.0),
            bounds=(0.02, 10.0),
            scale="linear",
        ),
    ),
    formula=_busbridge,
    guess=_busbridge_guess,
    optimum=_chinchilla_optimum,  # the loss is increasing in the bracket
    inverse=_busbridge_inverse,
)

LAWS: dict[str, Law] = {law.name: law for law in (CHINCHILLA, KAPLAN, BUSBRIDGE)}


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



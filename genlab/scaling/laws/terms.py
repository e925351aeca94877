"""The pieces that laws are built of: kinds of parameters, and the algebra of sums of powers."""

import numpy as np

from genlab.scaling.cost import Cost
from genlab.scaling.law import Parameter

_EXPONENT_START = (0.05, 1.5)
_EXPONENT_BOUNDS = (0.005, 5.0)
_COEFFICIENT_BOUNDS = (1e-12, 1e60)
FLOOR = Parameter(
    "E",
    "loss of an infinite model on infinite data: entropy of the data, in the unit of the loss",
    start=(0.0, 1.0),
    bounds=(0.0, np.inf),
    scale="linear",
)


def coefficient(name: str, meaning: str) -> Parameter:
    """A positive factor of any magnitude."""
    return Parameter(name, meaning, start=(1.0, 1e4), bounds=_COEFFICIENT_BOUNDS)


def exponent(name: str, meaning: str) -> Parameter:
    """A positive exponent of a falling power."""
    return Parameter(name, meaning, _EXPONENT_START, _EXPONENT_BOUNDS, scale="linear")


def additive_optimum(log_a, alpha, log_b, beta, flops, cost: Cost):
    """argmin over N of a N^-alpha + b D^-beta at C = k N^q D (Hoffmann et al. 2022, eq. 4, q = 1).

    Coefficients go by their logarithms: Kaplan's N_c^(alpha_N/alpha_D) has more than 300 digits.
    """
    q, k = cost.params_exponent, cost.constant
    ratio = np.log(alpha) + log_a - np.log(q * beta) - log_b
    return np.exp((ratio + beta * np.log(flops / k)) / (alpha + q * beta))


def solve_power(log_a, alpha, value):
    """x with a x^-alpha = value; NaN where the value is not positive."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.exp(np.where(value > 0, log_a - np.log(np.where(value > 0, value, 1.0)), np.nan) / alpha)

"""Over-training (Gadre et al. 2024, arXiv 2403.08540): loss from compute and tokens per parameter, error from loss."""

import numpy as np

from genlab.scaling.cost import Cost
from genlab.scaling.law import Law, Parameter, exp
from genlab.scaling.laws.terms import FLOOR, additive_optimum, coefficient, solve_power
from genlab.scaling.runs import FLOPS_PER_PARAM_TOKEN

_LOG_6 = np.log(FLOPS_PER_PARAM_TOKEN)


def _overtraining(p, x):
    log_C, log_M = _LOG_6 + x.params.log + x.tokens.log, x.tokens.log - x.params.log
    return p.E + p.a * exp(p.eta * (log_M - log_C)) + p.b * exp(-p.eta * (log_M + log_C))


def _terms(p):
    """(A, B) of the same law as L = E + A N^(-2 eta) + B D^(-2 eta): M/C = 1/(6 N^2), 1/(M C) = 1/(6 D^2)."""
    return p.a * FLOPS_PER_PARAM_TOKEN**-p.eta, p.b * FLOPS_PER_PARAM_TOKEN**-p.eta


def _overtraining_optimum(p, flops, cost: Cost):
    A, B = _terms(p)
    return additive_optimum(np.log(A), 2 * p.eta, np.log(B), 2 * p.eta, flops, cost)


def _overtraining_inverse(p, loss, x, wanted: str):
    A, B = _terms(p)
    if wanted == "params":
        return solve_power(np.log(A), 2 * p.eta, loss - p.E - B * x.tokens ** (-2 * p.eta))
    return solve_power(np.log(B), 2 * p.eta, loss - p.E - A * x.params ** (-2 * p.eta))


OVERTRAINING = Law(
    name="overtraining",
    text="L = E + (a M^eta + b M^-eta) C^-eta with C = 6 N D, M = D/N",
    citation="Gadre et al. 2024 (arXiv 2403.08540), section 3; the constants are those of training on RedPajama and "
    "evaluation on C4, N with embeddings, least squares of the loss itself",
    inputs=("params", "tokens"),
    parameters=(
        coefficient("a", "loss x (FLOPs/tokens per parameter)^eta: of too few parameters"),
        coefficient("b", "loss x (FLOPs x tokens per parameter)^eta: of too few tokens"),
        FLOOR,
        Parameter(
            "eta",
            "exponent of the loss in compute at any fixed number of tokens per parameter",
            start=(0.03, 0.6),
            bounds=(0.0025, 2.5),
            scale="linear",
        ),
    ),
    formula=_overtraining,
    linear=("a", "b", "E"),
    optimum=_overtraining_optimum,
    inverse=_overtraining_inverse,
    published={"a": 212.0, "b": 367.0, "E": 1.84, "eta": 0.136},
)


def _error(p, x):
    return p.epsilon - p.k * exp(-p.gamma * x.loss.value)


def _error_inverse(p, error, x, wanted: str):
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN above epsilon: no loss is that bad
        return -np.log((p.epsilon - error) / p.k) / p.gamma


ERROR_OF_LOSS = Law(
    name="error_of_loss",
    text="Err = epsilon - k exp(-gamma L)",
    citation="Gadre et al. 2024 (arXiv 2403.08540), section 3; the constants are those of RedPajama and the mean of "
    "17 tasks",
    inputs=("loss",),
    parameters=(
        Parameter("epsilon", "top-1 error, 0 to 1, of a model of infinite loss", (0.3, 1.0), (0.0, 1.0), "linear"),
        Parameter("k", "by how much the error would fall at loss 0", (0.1, 100.0), (1e-9, 1e9)),
        Parameter("gamma", "how fast the error approaches epsilon, per nat of loss", (0.1, 3.0), (1e-3, 20.0)),
    ),
    formula=_error,
    linear=("epsilon", "k"),
    inverse=_error_inverse,
    response="error",
    response_scale="linear",
    published={"epsilon": 0.857, "k": 2.21, "gamma": 0.715},
)

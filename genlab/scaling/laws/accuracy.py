"""From loss (or compute) to accuracy on a task: sigmoids between chance and a ceiling, 0 to 1.

Chance is known for a multiple-choice task (1 over the number of choices): hold it,
`get_law("accuracy_of_loss").fix(chance=0.25)`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from genlab.scaling.law import Law, Parameter

_CHANCE = Parameter("chance", "accuracy of guessing, 0 to 1", (0.0, 0.5), (0.0, 1.0), "linear")
_CEILING = Parameter("ceiling", "accuracy of an arbitrarily good model, 0 to 1", (0.3, 1.0), (0.0, 1.0), "linear")


def _between(p, logit):
    """chance + (ceiling - chance) sigmoid(logit); by tanh, whose derivatives overflow on neither side."""
    tanh = jnp.tanh if isinstance(logit, jax.Array) else np.tanh
    return p.chance + (p.ceiling - p.chance) * 0.5 * (1.0 + tanh(0.5 * logit))


def _logit(p, accuracy):
    """The logit at which an accuracy is reached; NaN where it never is."""
    share = (accuracy - p.chance) / (p.ceiling - p.chance)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(share / (1.0 - share))


def _of_loss(p, x):
    return _between(p, p.k * (p.L_0 - x.loss.value))


def _of_loss_guess(rng: np.random.Generator, count: int, x, accuracy: np.ndarray) -> dict:
    """Midpoints within and a little beyond the table's losses; slopes that cross them in 1/8 to 8 times that."""
    low, high = x.loss.value.min(), x.loss.value.max()
    width = np.maximum(high - low, 1e-3 * high)
    middle = rng.uniform(low - 0.5 * width, high + 0.25 * width, count)
    return {"L_0": np.maximum(middle, 1e-3 * low), "k": 4.0 / width * 8.0 ** rng.uniform(-1.0, 1.0, count)}


ACCURACY_OF_LOSS = Law(
    name="accuracy_of_loss",
    text="accuracy = chance + (ceiling - chance) / (1 + exp(-k (L_0 - L)))",
    citation="Bhagia et al. 2024 (arXiv 2412.04403), step 2: a sigmoid of the loss",
    inputs=("loss",),
    parameters=(
        _CHANCE,
        _CEILING,
        Parameter("k", "slope of the logit, per nat of loss", (0.5, 20.0), (1e-3, 1e4)),
        Parameter("L_0", "loss half way between chance and ceiling", (0.5, 5.0), (1e-3, 100.0), "linear"),
    ),
    formula=_of_loss,
    linear=("chance", "ceiling"),
    guess=_of_loss_guess,
    inverse=lambda p, accuracy, x, wanted: p.L_0 - _logit(p, accuracy) / p.k,
    response="accuracy",
    response_scale="linear",
)


def _of_flops(p, x):
    return _between(p, p.k * (x.flops.log - p.log_C_0))


def _of_flops_guess(rng: np.random.Generator, count: int, x, accuracy: np.ndarray) -> dict:
    low, high = x.flops.log.min(), x.flops.log.max()
    width = max(high - low, 1e-3)
    middle = rng.uniform(low - 0.25 * width, high + 0.5 * width, count)
    return {"log_C_0": middle, "k": 4.0 / width * 8.0 ** rng.uniform(-1.0, 1.0, count)}


ACCURACY_OF_FLOPS = Law(
    name="accuracy_of_flops",
    text="accuracy = chance + (ceiling - chance) / (1 + exp(-k (ln C - log_C_0)))",
    citation="Owen 2024 (arXiv 2401.04757): a sigmoid of the logarithm of training compute",
    inputs=("flops",),
    parameters=(
        _CHANCE,
        _CEILING,
        Parameter("k", "slope of the logit, per e-fold of compute", (0.05, 5.0), (1e-4, 1e3)),
        Parameter("log_C_0", "natural logarithm of the FLOPs half way up", (30.0, 70.0), (0.0, 150.0), "linear"),
    ),
    formula=_of_flops,
    linear=("chance", "ceiling"),
    guess=_of_flops_guess,
    inverse=lambda p, accuracy, x, wanted: np.exp(p.log_C_0 + _logit(p, accuracy) / p.k),
    response="accuracy",
    response_scale="linear",
)

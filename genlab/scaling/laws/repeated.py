"""Data-constrained scaling (Muennighoff et al. 2023, arXiv 2305.16264): L(N, D, U) where U of D tokens are unique.

Repeated tokens, and parameters beyond what the unique tokens can use, count less and less: with R repetitions
of a quantity U, its effective amount is U (1 + R* (1 - exp(-R/R*))), which ends at U (1 + R*). For data
R_D = D/U - 1. For parameters R_N = N/U_N - 1, where U_N is the compute-optimal size for U tokens under
Chinchilla's law with the same A, B, alpha, beta, and at most N.
"""

import jax
import jax.numpy as jnp
import numpy as np

from genlab.scaling.law import Law, Parameter, exp, log
from genlab.scaling.laws.terms import FLOOR, coefficient, exponent

_MOST_LOG_RATIO = 50.0  # exp(-R/R*) is 0 long before; without a cap derivatives would be infinity times 0


def _maximum(a, b):
    """The larger of each pair, of NumPy or of JAX arrays."""
    return jnp.maximum(a, b) if isinstance(a, jax.Array) or isinstance(b, jax.Array) else np.maximum(a, b)


def _log_effective(log_amount, log_unique, half_life):
    """log(U (1 + R* (1 - exp(-R/R*)))) with R = amount/U - 1; without repetitions where amount < U."""
    log_ratio = _maximum(log_amount - log_unique, 0.0)
    repetitions = exp(-_maximum(-log_ratio, -_MOST_LOG_RATIO)) - 1.0
    return log_amount - log_ratio + log(1.0 + half_life * (1.0 - exp(-repetitions / half_life)))


def _log_params_for(p, log_unique):
    """log U_N, the compute-optimal size for U tokens: alpha A/N^alpha = beta B/U^beta."""
    return (log(p.alpha) + log(p.A) - log(p.beta) - log(p.B) + p.beta * log_unique) / p.alpha


def _repeated(p, x):
    # A run cannot have used more unique tokens than it saw.
    log_unique = x.tokens.log - _maximum(x.tokens.log - x.unique_tokens.log, 0.0)
    log_data = _log_effective(x.tokens.log, log_unique, p.R_D_star)
    log_params = _log_effective(x.params.log, _log_params_for(p, log_unique), p.R_N_star)
    return p.E + exp(log(p.A) - p.alpha * log_params) + exp(log(p.B) - p.beta * log_data)


def _repeated_guess(rng: np.random.Generator, count: int, x, loss: np.ndarray) -> dict:
    """Exponents and half-lives at random; A and B such that N and D share the loss at the table's centre."""
    alpha, beta = np.exp(rng.uniform(np.log(0.15), np.log(0.8), (2, count)))
    share, E = rng.uniform(0.1, 0.9, count), rng.uniform(0.2, 0.9, count) * loss.min()
    reducible = np.log(np.exp(np.mean(np.log(loss))) - E)
    centre = np.minimum(x.tokens.log, x.unique_tokens.log + np.log(5.0)).mean()
    A = np.exp(np.log(share) + reducible + alpha * x.params.log.mean())
    B = np.exp(np.log1p(-share) + reducible + beta * centre)
    return {"E": E, "alpha": alpha, "beta": beta, "A": A, "B": B}


def _half_life(name: str, meaning: str) -> Parameter:
    return Parameter(name, meaning, start=(1.0, 100.0), bounds=(1e-3, 1e6))


REPEATED = Law(
    name="repeated",
    text="L = E + A/N'^alpha + B/D'^beta with D' = U (1 + R_D_star (1 - exp(-(D/U - 1)/R_D_star))), N' alike",
    citation="Muennighoff et al. 2023 (arXiv 2305.16264), section 3.1 and appendix A; the constants are those for C4 "
    "at the precision of the authors' code, which fits them in two steps: A, B, E and alpha = beta to runs of "
    "Hoffmann et al. without repetition, then R_D_star and R_N_star to 182 runs with those held",
    inputs=("params", "tokens", "unique_tokens"),
    parameters=(
        coefficient("A", "loss x parameters^alpha"),
        coefficient("B", "loss x tokens^beta"),
        FLOOR,
        exponent("alpha", "how fast the loss falls with effective parameters"),
        exponent("beta", "how fast the loss falls with effective tokens"),
        _half_life("R_D_star", "repetitions after which 1/e of a repeated token's value is left"),
        _half_life("R_N_star", "multiples of the useful size after which 1/e of an excess parameter's value is left"),
    ),
    formula=_repeated,
    linear=("E",),
    guess=_repeated_guess,
    published={
        "A": float(np.exp(6.255414)),
        "B": float(np.exp(7.3049974)),
        "E": float(np.exp(0.6254804)),
        "alpha": 0.3526596,
        "beta": 0.3526596,
        "R_D_star": 15.387756,
        "R_N_star": 5.309743,
    },
)


def effective_tokens(tokens, unique_tokens, R_D_star: float = 15.387756) -> np.ndarray:
    """D': fresh tokens that are worth as much as `tokens`, of which `unique_tokens` are unique."""
    log_tokens, log_unique = np.log(np.asarray(tokens, float)), np.log(np.asarray(unique_tokens, float))
    return np.exp(_log_effective(log_tokens, np.minimum(log_unique, log_tokens), R_D_star))

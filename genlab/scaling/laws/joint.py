"""Laws of model size and data, L(N, D): N is `params`, D is `tokens` (or examples), L the loss."""

import numpy as np

from genlab.scaling.cost import Cost
from genlab.scaling.law import Law, Parameter, exp, log, power
from genlab.scaling.laws.terms import FLOOR, additive_optimum, coefficient, exponent, solve_power


def _chinchilla(p, x):
    return p.E + p.A * x.params**-p.alpha + p.B * x.tokens**-p.beta


def _chinchilla_optimum(p, flops, cost: Cost):
    return additive_optimum(np.log(p.A), p.alpha, np.log(p.B), p.beta, flops, cost)


def _chinchilla_inverse(p, loss, x, wanted: str):
    if wanted == "params":
        return solve_power(np.log(p.A), p.alpha, loss - p.E - p.B * x.tokens**-p.beta)
    return solve_power(np.log(p.B), p.beta, loss - p.E - p.A * x.params**-p.alpha)


CHINCHILLA = Law(
    name="chinchilla",
    text="L = E + A/N^alpha + B/D^beta",
    citation="Hoffmann et al. 2022 (arXiv 2203.15556), equation 2 and section 3.3",
    inputs=("params", "tokens"),
    parameters=(
        coefficient("A", "loss x parameters^alpha"),
        coefficient("B", "loss x tokens^beta"),
        FLOOR,
        exponent("alpha", "how fast the loss falls with parameters"),
        exponent("beta", "how fast the loss falls with tokens"),
    ),
    formula=_chinchilla,
    linear=("A", "B", "E"),
    optimum=_chinchilla_optimum,
    inverse=_chinchilla_inverse,
    # Besiroglu et al. 2024 (arXiv 2404.10102), from the points of Hoffmann's figure 4. Hoffmann's own, 406.4, 410.7,
    # 1.69, .34 and .28 (section D.2), do not fit those points.
    published={"A": 482.01, "B": 2085.43, "E": 1.8172, "alpha": 0.3478, "beta": 0.3658},
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
    return additive_optimum(ratio * np.log(p.N_c), ratio, np.log(p.D_c), 1.0, flops, cost)


def _kaplan_inverse(p, loss, x, wanted: str):
    ratio, bracket = p.alpha_N / p.alpha_D, loss ** (1.0 / p.alpha_D)
    if wanted == "params":
        return solve_power(ratio * np.log(p.N_c), ratio, bracket - p.D_c / x.tokens.value)
    with np.errstate(over="ignore"):
        of_params = exp(ratio * (np.log(p.N_c) - x.params.log))
    return solve_power(np.log(p.D_c), 1.0, bracket - of_params)


KAPLAN = Law(
    name="kaplan",
    text="L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D",
    citation="Kaplan et al. 2020 (arXiv 2001.08361), equation 1.5",
    inputs=("params", "tokens"),
    parameters=(
        Parameter("N_c", "parameters at which infinite data give loss 1", (1e3, 1e15), (1e-12, 1e60)),
        Parameter("D_c", "tokens at which an infinite model has loss 1", (1e3, 1e15), (1e-12, 1e60)),
        exponent("alpha_N", "exponent of the loss in parameters at infinite data"),
        exponent("alpha_D", "exponent of the loss in tokens for an infinite model"),
    ),
    formula=_kaplan,
    guess=_kaplan_guess,
    optimum=_kaplan_optimum,
    inverse=_kaplan_inverse,
    published={"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},  # Table 2, WebText2
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
        return solve_power(np.log(p.A), p.alpha, bracket - p.B * x.tokens**-p.beta)
    return solve_power(np.log(p.B), p.beta, bracket - p.A * x.params**-p.alpha)


BUSBRIDGE = Law(
    name="busbridge",
    text="L = E + (A/N^alpha + B/D^beta)^gamma",
    citation="Busbridge et al. 2025 (arXiv 2502.08606), the supervised law of section 2; gamma = 1 is "
    "Chinchilla's law, E = 0 with beta = 1 Kaplan's",
    inputs=("params", "tokens"),
    parameters=(
        coefficient("A", "(loss - E)^(1/gamma) x parameters^alpha"),
        coefficient("B", "(loss - E)^(1/gamma) x tokens^beta"),
        FLOOR,
        exponent("alpha", "how fast the bracket falls with parameters"),
        exponent("beta", "how fast the bracket falls with tokens"),
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

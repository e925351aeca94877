"""The laws of Kaplan et al. 2020 (arXiv 2001.08361) beside their joint form, which is in `joint.py`.

L(N), L(D), L(C), L(C_min), L(N, S_min) and the critical batch size B_crit(L). N counts no embeddings, losses
are in nats a token, and the paper's PF-days are FLOPs here. A table of ordinary runs has no C_min and no
S_min: `at_critical_batch` adds them.
"""

import dataclasses

import numpy as np

from genlab.scaling.law import Law, Parameter, exp, log
from genlab.scaling.laws.terms import exponent, solve_power
from genlab.scaling.runs import Runs

PF_DAY = 1e15 * 86_400  # FLOPs
_PAPER = "Kaplan et al. 2020 (arXiv 2001.08361)"
_SCALE_BOUNDS = (1e-12, 1e60)


def _scale(name: str, meaning: str) -> Parameter:
    return Parameter(name, meaning, start=(1e3, 1e15), bounds=_SCALE_BOUNDS)


def _power_law(name: str, column: str, symbol: str, scale: Parameter, power: Parameter, source: str, published) -> Law:
    """L = (X_c / X)^alpha, a straight line in logarithms."""

    def formula(p, x):
        return exp(getattr(p, power.name) * (log(getattr(p, scale.name)) - getattr(x, column).log))

    def guess(rng: np.random.Generator, count: int, x, loss: np.ndarray) -> dict:
        # The line of least squares and lines near it through the table's centre.
        at, log_loss = getattr(x, column).log, np.log(loss)
        slope = np.clip(-np.polyfit(at, log_loss, 1)[0], *power.bounds) if np.ptp(at) > 0 else power.start[0]
        alpha = np.clip(slope * np.exp(rng.normal(0.0, 0.5, count) * (np.arange(count) > 0)), *power.bounds)
        log_scale = np.clip(at.mean() + log_loss.mean() / alpha, *np.log(_SCALE_BOUNDS))
        return {power.name: alpha, scale.name: np.exp(log_scale)}

    def inverse(p, loss, x, wanted: str):
        return getattr(p, scale.name) * loss ** (-1.0 / getattr(p, power.name))

    return Law(
        name=name,
        text=f"L = ({scale.name}/{symbol})^{power.name}",
        citation=f"{_PAPER}, {source}",
        inputs=(column,),
        parameters=(scale, power),
        formula=formula,
        guess=guess,
        inverse=inverse,
        published=dict(zip((scale.name, power.name), published, strict=True)),
    )


KAPLAN_PARAMS = _power_law(
    "kaplan_params", "params", "N",
    _scale("N_c", "parameters (no embeddings) at which the loss of a converged model on ample data is 1"),
    exponent("alpha_N", "exponent of the loss in parameters"),
    "equation 1.1", (8.8e13, 0.076),
)  # fmt: skip
KAPLAN_TOKENS = _power_law(
    "kaplan_tokens", "tokens", "D",
    _scale("D_c", "tokens at which a large model, stopped early, has loss 1"),
    exponent("alpha_D", "exponent of the loss in tokens"),
    "equation 1.2", (5.4e13, 0.095),
)  # fmt: skip
KAPLAN_COMPUTE = _power_law(
    "kaplan_compute", "flops", "C",
    _scale("C_c", "FLOPs at which the best run with a fixed batch size has loss 1"),
    exponent("alpha_C", "exponent of the loss in compute, batch size fixed"),
    "section 3.3; C_c = 1.6e7 PF-days", (1.6e7 * PF_DAY, 0.057),
)  # fmt: skip
KAPLAN_COMPUTE_MIN = _power_law(
    "kaplan_compute_min", "flops_min", "C_min",
    _scale("C_c_min", "FLOPs, at batches far below the critical, at which the best run has loss 1"),
    exponent("alpha_C_min", "exponent of the loss in the least compute"),
    "equation 1.3; C_c_min = 3.1e8 PF-days", (3.1e8 * PF_DAY, 0.050),
)  # fmt: skip


def _steps(p, x):
    of_params = exp(p.alpha_N * (log(p.N_c) - x.params.log))
    return of_params + exp(p.alpha_S * (log(p.S_c) - x.steps_min.log))


def _steps_guess(rng: np.random.Generator, count: int, x, loss: np.ndarray) -> dict:
    """Exponents at random; scales such that N and S share the loss at the table's geometric centre."""
    alpha_N = np.exp(rng.uniform(np.log(0.03), np.log(0.5), count))
    alpha_S = np.exp(rng.uniform(np.log(0.1), np.log(2.0), count))
    share, centre = rng.uniform(0.02, 0.98, count), np.mean(np.log(loss))
    log_N_c = x.params.log.mean() + (np.log(share) + centre) / alpha_N
    log_S_c = x.steps_min.log.mean() + (np.log1p(-share) + centre) / alpha_S
    return {"alpha_N": alpha_N, "alpha_S": alpha_S, "N_c": np.exp(log_N_c), "S_c": np.exp(log_S_c)}


def _steps_inverse(p, loss, x, wanted: str):
    if wanted == "params":
        return solve_power(p.alpha_N * np.log(p.N_c), p.alpha_N, loss - (p.S_c / x.steps_min.value) ** p.alpha_S)
    return solve_power(p.alpha_S * np.log(p.S_c), p.alpha_S, loss - (p.N_c / x.params.value) ** p.alpha_N)


KAPLAN_STEPS = Law(
    name="kaplan_steps",
    text="L = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S",
    citation=f"{_PAPER}, equations 1.6 and 5.6, table 3",
    inputs=("params", "steps_min"),
    parameters=(
        _scale("N_c", "parameters (no embeddings) at which the loss after endless training is 1"),
        _scale("S_c", "steps, at batches far above the critical, at which the other term is 1"),
        exponent("alpha_N", "exponent of the loss in parameters"),
        exponent("alpha_S", "exponent of the loss in steps"),
    ),
    formula=_steps,
    guess=_steps_guess,
    inverse=_steps_inverse,
    published={"N_c": 6.5e13, "S_c": 2.1e3, "alpha_N": 0.077, "alpha_S": 0.76},
)


def _critical(p, x):
    return p.B_star * exp(-x.loss.log / p.alpha_B)


def _critical_guess(rng: np.random.Generator, count: int, x, batch: np.ndarray) -> dict:
    slope = np.polyfit(x.loss.log, np.log(batch), 1)[0] if np.ptp(x.loss.log) > 0 else -5.0
    spread = np.exp(rng.normal(0.0, 0.3, count) * (np.arange(count) > 0))
    alpha_B = np.clip(-1.0 / min(slope, -0.3) * spread, 0.02, 4.0)
    return {"alpha_B": alpha_B, "B_star": np.exp(np.mean(np.log(batch)) + x.loss.log.mean() / alpha_B)}


CRITICAL_BATCH = Law(
    name="critical_batch",
    text="B_crit = B_star / L^(1/alpha_B)",
    citation=f"{_PAPER}, equation 1.4",
    inputs=("loss",),
    parameters=(
        Parameter("B_star", "critical batch size, in tokens, at loss 1", (1e3, 1e12), _SCALE_BOUNDS),
        Parameter("alpha_B", "inverse of the batch size's exponent in 1/L", (0.05, 1.0), (0.01, 5.0), "linear"),
    ),
    formula=_critical,
    linear=("B_star",),
    guess=_critical_guess,
    inverse=lambda p, batch, x, wanted: (p.B_star / batch) ** p.alpha_B,
    response="critical_batch_tokens",
    published={"B_star": 2e8, "alpha_B": 0.21},
)

KAPLAN_SET = (KAPLAN_PARAMS, KAPLAN_TOKENS, KAPLAN_COMPUTE, KAPLAN_COMPUTE_MIN, KAPLAN_STEPS, CRITICAL_BATCH)


def minimal_steps(steps, batch_tokens, critical_tokens):
    """S_min = S / (1 + B_crit/B): steps to the same loss at batches far above the critical (equation 5.4)."""
    return steps / (1.0 + critical_tokens / batch_tokens)


def minimal_flops(flops, batch_tokens, critical_tokens):
    """C_min = C / (1 + B/B_crit): FLOPs to the same loss at batches far below the critical (equation 5.5)."""
    return flops / (1.0 + batch_tokens / critical_tokens)


def at_critical_batch(runs: Runs, B_star: float | None = None, alpha_B: float | None = None) -> Runs:
    """Adds the columns critical_batch_tokens, steps_min and flops_min, as far as a table allows.

    Args:
      runs: a table with loss (nats a token) and batch_size (tokens a step), and steps or flops or both.
      B_star, alpha_B: of the law `critical_batch`; the paper's by default.

    Raises:
      ValueError: a missing column, or a batch size that is not positive.
    """
    published = CRITICAL_BATCH.published
    values = [published["B_star"] if B_star is None else B_star, published["alpha_B"] if alpha_B is None else alpha_B]
    batch = runs.column("batch_size")
    if (batch <= 0).any():
        raise ValueError(f"{runs.source}: batch_size is {batch.min():g}; it must be positive: tokens a step")
    critical = CRITICAL_BATCH.predict(values, loss=runs.column("loss"))
    found = {"critical_batch_tokens": critical}
    if runs.has("steps"):
        found["steps_min"] = minimal_steps(runs.column("steps"), batch, critical)
    if runs.has("flops"):
        found["flops_min"] = minimal_flops(runs.column("flops"), batch, critical)
    return dataclasses.replace(runs, frame=runs.frame.assign(**found))

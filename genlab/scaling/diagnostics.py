"""Warnings in words: what a table cannot support, and where a fit should not be trusted blindly."""

import numpy as np

from genlab.scaling.fitted import Fit
from genlab.scaling.runs import FLOPS_PER_PARAM_TOKEN, Runs

_FEW_ROWS_PER_PARAMETER = 4
_NARROW = {"params": 5.0, "tokens": 4.0, "flops": 10.0}
_ILL_CONDITIONED = 1e10
_VAGUE_FACTOR = 100.0
_MOVE_TOGETHER = 0.98
_FAR_FROM_6ND = 4.0
_WORTH_OF_REPEATS = 4.0  # epochs up to which repeats are worth almost fresh data (Muennighoff 2023)


def fit_warnings(fit: Fit, runs: Runs) -> list[str]:
    """Every warning about one fit, most basic first."""
    return [*_solver_warnings(fit), *_parameter_warnings(fit), *table_warnings(fit.law.inputs, runs)]


def table_warnings(inputs: tuple[str, ...], runs: Runs) -> list[str]:
    """Warnings about the rows that were fitted, whatever the law."""
    return [
        *_range_warnings(inputs, runs),
        *_collinearity_warnings(inputs, runs),
        *_cost_warnings(runs),
        *_row_warnings(inputs, runs),
    ]


def _solver_warnings(fit: Fit) -> list[str]:
    found, certificate = [], fit.certificate
    rows, count = len(fit.rows_used), len(fit.law.parameters)
    if rows < _FEW_ROWS_PER_PARAMETER * count:
        found.append(f"few rows: {rows} for the {count} parameters of {fit.law.name}")
    if not certificate["converged"]:
        found.append("the fit did not converge: its parameters are not those of a minimum")
    if certificate["share_of_starts"] < 0.1:
        share = 100 * certificate["share_of_starts"]
        found.append(f"only {share:.0f} % of the starts reached the best minimum: there may be a better")
    if certificate["condition_number"] > _ILL_CONDITIONED:
        number = certificate["condition_number"]
        found.append(f"ill-conditioned (condition number {number:.1e}): parameters trade off")
    failed = certificate["resamples"] - certificate["resamples_converged"]
    if failed:
        found.append(f"{failed} of {certificate['resamples']} bootstrap refits did not converge")
    return found


def _parameter_warnings(fit: Fit) -> list[str]:
    found = [
        f"{name} is at its bound ({fit.parameters[name]:.3g}): the table does not determine it"
        for name in fit.certificate["at_bound"]
    ]
    if not len(fit.samples):
        return found
    for parameter in fit.law.parameters:
        low, high = fit.interval(parameter.name)
        if parameter.name in fit.certificate["at_bound"]:
            continue
        if parameter.scale == "log" and high > _VAGUE_FACTOR * low:
            span = f"95 % interval {low:.3g} to {high:.3g}"
            found.append(f"{parameter.name} is poorly determined ({span})")
        if parameter.name == "E" and high - low > fit.parameters["E"]:
            found.append(f"E is not identifiable: its 95 % interval is {low:.3g} to {high:.3g}")
    return found


def _range_warnings(inputs: tuple[str, ...], runs: Runs) -> list[str]:
    found = []
    for name in dict.fromkeys((*inputs, "flops")):
        if name not in _NARROW or not runs.has(name):
            continue
        values = runs.column(name)
        factor = np.nanmax(values) / np.nanmin(values)
        if factor < _NARROW[name]:
            found.append(f"small range of {name}: a factor {factor:.1f}, less than {_NARROW[name]:g}")
    for name in inputs:
        distinct = len(np.unique(runs.column(name)))
        if distinct < 3:
            found.append(f"only {distinct} different values of {name}: its exponent rests on them")
    return found


def _collinearity_warnings(inputs: tuple[str, ...], runs: Runs) -> list[str]:
    if not {"params", "tokens"} <= set(inputs) or len(runs) < 3:
        return []
    log_params, log_tokens = np.log(runs.column("params")), np.log(runs.column("tokens"))
    if np.std(log_tokens - log_params) < 0.05 * np.std(log_params):
        ratio = np.exp(np.mean(log_tokens - log_params))
        return [
            f"tokens per parameter is constant ({ratio:.3g}): the effects of params and tokens cannot "
            "be told apart"
        ]
    if np.std(log_params) > 0 and np.std(log_tokens) > 0:
        correlation = np.corrcoef(log_params, log_tokens)[0, 1]
        if abs(correlation) > _MOVE_TOGETHER:
            return [
                f"params and tokens move together (correlation of logarithms {correlation:.3f}): their "
                "effects can hardly be told apart"
            ]
    return []


def _cost_warnings(runs: Runs) -> list[str]:
    if "flops" not in runs.frame or not {"params", "tokens"} <= set(runs.frame):
        return []
    rule = FLOPS_PER_PARAM_TOKEN * runs.column("params") * runs.column("tokens")
    ratio = runs.column("flops") / rule
    ratio = np.median(ratio[np.isfinite(ratio)]) if np.isfinite(ratio).any() else 1.0
    if 1 / _FAR_FROM_6ND < ratio < _FAR_FROM_6ND:
        return []
    return [f"flops are {ratio:.3g} times 6 params tokens: are the units the same everywhere?"]


def _row_warnings(inputs: tuple[str, ...], runs: Runs) -> list[str]:
    found = []
    columns = [name for name in (*inputs, "loss") if name in runs.frame]
    copies = int(runs.frame.duplicated(columns).sum())
    if copies:
        found.append(f"{copies} rows repeat another row's {', '.join(columns)}: counted as often")
    if runs.has("epochs") and "unique_tokens" not in inputs:
        epochs = runs.column("epochs")
        repeated = int(np.sum(epochs > _WORTH_OF_REPEATS))
        if repeated:
            most = np.nanmax(epochs)
            found.append(f"{repeated} rows repeat their data (up to {most:.3g} epochs) as if it were new")
    return found

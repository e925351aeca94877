"""Warnings in words: what a table cannot support, and where a fit should not be trusted blindly."""

import numpy as np

from genlab.scaling.fitting.chance import chance_warnings
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.runs import FLOPS_PER_PARAM_TOKEN, Runs

_FEW_ROWS_PER_PARAMETER = 4
_NARROW = {"params": 5.0, "tokens": 4.0, "flops": 10.0, "x": 10.0}
_ILL_CONDITIONED = 1e10
_VAGUE_FACTOR = 100.0
_MOVE_TOGETHER = 0.98
_FAR_FROM_6ND = 4.0
_OTHER_UNITS = 30.0  # a row whose FLOPs / 6ND differ this much from the others' was written in another unit
_WORTH_OF_REPEATS = 4.0  # epochs up to which repeats are worth almost fresh data (Muennighoff 2023)


def fit_warnings(fit: Fit, runs: Runs) -> list[str]:
    """Every warning about one fit, most basic first."""
    of_table = table_warnings(fit.law.inputs, runs)
    return [*chance_warnings(fit, runs), *_solver_warnings(fit), *_parameter_warnings(fit), *of_table]


def table_warnings(inputs: tuple[str, ...], runs: Runs) -> list[str]:
    """Warnings about the rows that were fitted, whatever the law."""
    return [
        *_range_warnings(inputs, runs),
        *_collinearity_warnings(inputs, runs),
        *_cost_warnings(runs),
        *_row_warnings(inputs, runs),
        *_schedule_warnings(runs),
        *_repeat_warnings(inputs, runs),
        *_embedding_warnings(inputs, runs),
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
    known = np.isfinite(ratio)
    if not known.any():
        return []
    median, found = np.median(ratio[known]), []
    if not 1 / _FAR_FROM_6ND < median < _FAR_FROM_6ND:
        found.append(f"flops are {median:.3g} times 6 params tokens: are the units the same everywhere?")
    strange = known & (np.abs(np.log(ratio / median)) > np.log(_OTHER_UNITS))
    if strange.any():
        names = named_rows(runs, strange)
        found.append(
            f"{names}: flops / (6 params tokens) differs from the other rows' by more than a factor of "
            f"{_OTHER_UNITS:g}; are the units the same everywhere?"
        )
    return found


def _row_warnings(inputs: tuple[str, ...], runs: Runs) -> list[str]:
    found = []
    columns = [name for name in (*inputs, "loss") if name in runs.frame]
    copies = int(runs.frame.duplicated(columns).sum())
    if copies:
        found.append(f"{copies} rows repeat another row's {', '.join(columns)}: counted as often")
    return found


def _schedule_warnings(runs: Runs) -> list[str]:
    """Points before the end of a learning-rate schedule lie above what a run of that length reaches
    (Hoffmann et al. 2022, section 3.1; Porian et al. 2024 on the decay)."""
    found = []
    if runs.has("steps") and runs.has("steps_planned"):
        early = runs.column("steps") < runs.column("steps_planned")
        if early.any():
            names = named_rows(runs, early)
            found.append(f"{names} stopped before the end of their schedule: their losses are too high")
    for name in ("name", "run"):
        progress = next((c for c in ("tokens", "steps", "x") if c in runs.frame), None)
        if name not in runs.frame or progress is None or not runs.frame[name].duplicated().any():
            continue
        different = runs.frame.groupby(name)[progress].nunique()
        several = different[different > 1]
        if len(several):
            found.append(
                f"{int(several.sum())} rows are points along {len(several)} runs (same {name}, several "
                f"{progress}): only the last of each is at the end of its schedule"
            )
        break
    return found


def _repeat_warnings(inputs: tuple[str, ...], runs: Runs) -> list[str]:
    if "unique_tokens" in inputs:
        return []
    if runs.has("epochs"):
        epochs = runs.column("epochs")
    elif runs.has("unique_tokens") and runs.has("tokens"):
        epochs = runs.column("tokens") / runs.column("unique_tokens")
    else:
        return []
    repeated = int(np.sum(epochs > _WORTH_OF_REPEATS))
    if not repeated:
        return []
    most = np.nanmax(epochs)
    return [f"{repeated} rows repeat their data (up to {most:.3g} epochs) as if it were new"]


def _embedding_warnings(inputs: tuple[str, ...], runs: Runs) -> list[str]:
    """Counting embeddings or not moves the exponents of small models (Pearce and Song 2024,
    arXiv 2406.12907)."""
    known = runs.embeddings or {"params_non_embedding", "params_embedding"} & set(runs.frame)
    if "params" not in inputs or known:
        return []
    return ["nobody said whether params counts the embeddings (say it with embeddings=included or excluded)"]


def named_rows(runs: Runs, which: np.ndarray) -> str:
    """Up to five rows by name, e.g. "3 rows (17, 20, 31)"."""
    names = [str(name) for name, picked in zip(runs.names, which, strict=True) if picked]
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} row{'s' * (len(names) > 1)} ({shown})"

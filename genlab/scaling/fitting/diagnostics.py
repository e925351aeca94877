"""Warnings in words: what a table cannot support, and where a fit should not be trusted blindly."""

import numpy as np

from genlab.scaling.fitting.chance import chance_warnings
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.runs import FLOPS_PER_PARAM_TOKEN, Runs

_FEW_ROWS_PER_PARAMETER = 4
_TOO_FEW_TO_RESAMPLE = 3  # rows a parameter: below this a resample has hardly more different rows than parameters
_UNEXPLAINED = 0.5  # of the variance of the response: what noise about a constant would leave
_SURELY = 4.0  # standard errors
_LEAST = {"params": 1e3, "tokens": 1e4}  # fewer were written in millions or billions
_NARROW = {"params": 5.0, "tokens": 4.0, "flops": 10.0, "x": 10.0}
_ILL_CONDITIONED = 1e10
_VAGUE_FACTOR = 100.0
_MOVE_TOGETHER = 0.98
_FAR_FROM_6ND = 4.0
_OTHER_UNITS = 30.0  # a row whose FLOPs / 6ND differ this much from the others' was written in another unit
_WORTH_OF_REPEATS = 4.0  # epochs up to which repeats are worth almost fresh data (Muennighoff 2023)


def fit_warnings(fit: Fit, runs: Runs) -> list[str]:
    """Every warning about one fit, most basic first."""
    of_table = table_warnings(fit.law.inputs, runs, fit.law.response)
    of_fit = [*chance_warnings(fit, runs), *_sense_warnings(fit, runs), *_solver_warnings(fit)]
    return [*of_fit, *_parameter_warnings(fit), *of_table]


def table_warnings(inputs: tuple[str, ...], runs: Runs, response: str = "loss") -> list[str]:
    """Warnings about the rows that were fitted, whatever the law."""
    return [
        *_range_warnings(inputs, runs),
        *_collinearity_warnings(inputs, runs),
        *_unit_warnings(inputs, runs),
        *_cost_warnings(runs),
        *_row_warnings((*inputs, response), runs),
        *_schedule_warnings(runs),
        *_repeat_warnings(inputs, runs),
        *_embedding_warnings(inputs, runs),
    ]


def _sense_warnings(fit: Fit, runs: Runs) -> list[str]:
    """Whether the response behaves like a loss at all."""
    response = fit.law.respond(runs.column(fit.law.response))
    if fit.law.response != "loss" or len(response) < 3:
        return []
    found = [
        f"the loss rises with {name}, other things equal: a loss should fall; is it the right column (no accuracy or "
        "score), and are params and tokens not confused?"
        for name in _rising(fit.law.inputs, runs, response)
    ]
    left = np.mean(fit.residuals**2) / max(np.var(response), 1e-300)
    if left > _UNEXPLAINED:
        found.append(
            f"{fit.law.name} leaves {min(left, 1.0):.0%} of the variance of the log losses unexplained: "
            "the table does not show this law"
        )
    floor = fit.law.fixed.get("E", 0.0)
    below = runs.column("loss") <= floor
    if below.any():
        found.append(f"{named_rows(runs, below)} have a loss below the E = {floor:g} that is held")
    return found


def _rising(inputs: tuple[str, ...], runs: Runs, response: np.ndarray) -> list[str]:
    """The sizes and data with which the log loss surely rises, by linear regression on the inputs' logarithms."""
    names = [name for name in inputs if name in ("params", "tokens", "flops")]
    if not names or len(response) < len(names) + 3:
        return []
    columns = np.stack([np.log(runs.column(name)) for name in names], axis=1)
    columns = columns - columns.mean(axis=0)
    inverse = np.linalg.pinv(columns.T @ columns)
    slopes = inverse @ (columns.T @ response)
    left = response - response.mean() - columns @ slopes
    errors = np.sqrt(np.diag(inverse) * np.sum(left**2) / (len(response) - len(names) - 1))
    return [name for name, slope, error in zip(names, slopes, errors, strict=True) if slope > _SURELY * error]


def _solver_warnings(fit: Fit) -> list[str]:
    found, certificate = [], fit.certificate
    rows, count = len(fit.rows_used), len(fit.law.parameters) - len(fit.law.fixed)
    if rows < _FEW_ROWS_PER_PARAMETER * count:
        narrow = (
            ": the percentile intervals are too narrow, as the resamples of so few rows nearly pass through them all"
            if rows < _TOO_FEW_TO_RESAMPLE * count and len(fit.samples)
            else ""
        )
        found.append(f"few rows: {rows} for the {count} parameters of {fit.law.name}{narrow}")
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
    data = _data(runs)
    if np.std(log_tokens - log_params) < 0.05 * np.std(log_params):
        ratio = np.exp(np.mean(log_tokens - log_params))
        return [
            f"{data} per parameter is constant ({ratio:.3g}): the effects of params and {data} cannot "
            "be told apart; train some sizes for longer, or fit a law of one (--law=power_floor --x=params)"
        ]
    if np.std(log_params) > 0 and np.std(log_tokens) > 0:
        correlation = np.corrcoef(log_params, log_tokens)[0, 1]
        if abs(correlation) > _MOVE_TOGETHER:
            return [
                f"params and {data} move together (correlation of logarithms {correlation:.3f}): their "
                "effects can hardly be told apart"
            ]
    return []


def _data(runs: Runs) -> str:
    """What the column `tokens` counts: "tokens", or "examples" where it was read from the column of that name."""
    return "examples" if runs.columns.get("tokens") == "examples" else "tokens"


def _unit_warnings(inputs: tuple[str, ...], runs: Runs) -> list[str]:
    found = []
    for name, least in _LEAST.items():
        if name == "tokens" and _data(runs) == "examples":
            continue  # 1,000 images are a data set
        if name in inputs and (low := float(np.min(runs.column(name)))) < least:
            found.append(
                f"{name} of {low:.3g}: are they in millions or billions? They should be plain counts (7e9 of a 7B "
                "model), or FLOPs and budgets are wrong by as much"
            )
    return found


def _cost_warnings(runs: Runs) -> list[str]:
    if "flops" not in runs.frame or not {"params", "tokens"} <= set(runs.frame):
        return []
    rule = FLOPS_PER_PARAM_TOKEN * runs.column("params") * runs.column("tokens")
    ratio = runs.column("flops") / rule
    known = np.isfinite(ratio)
    if not known.any():
        return []
    median, found = np.median(ratio[known]), []
    # An example is many tokens (patches): no rule says what it costs.
    if _data(runs) == "tokens" and not 1 / _FAR_FROM_6ND < median < _FAR_FROM_6ND:
        found.append(
            f"flops are {median:.3g} times 6 params tokens: are the units the same everywhere? All three should be "
            "plain counts (params 7e9, tokens 1.4e11, flops 5.9e21)"
        )
    strange = known & (np.abs(np.log(ratio / median)) > np.log(_OTHER_UNITS))
    if strange.any():
        names = named_rows(runs, strange)
        found.append(
            f"{names}: flops / (6 params tokens) differs from the other rows' by more than a factor of "
            f"{_OTHER_UNITS:g}; are the units the same everywhere?"
        )
    return found


def _row_warnings(read: tuple[str, ...], runs: Runs) -> list[str]:
    found = []
    columns = [name for name in read if name in runs.frame]
    copies = int(runs.frame.duplicated(columns).sum())
    if copies:
        found.append(
            f"{copies} rows repeat another row's {', '.join(columns)}: counted as often, so intervals are too narrow "
            "if they are copies and not runs of their own; drop copies"
        )
    return found


def _schedule_warnings(runs: Runs) -> list[str]:
    """Points before the end of a learning-rate schedule lie above what a run of that length reaches
    (Hoffmann et al. 2022, section 3.1; Porian et al. 2024 on the decay)."""
    found = []
    if runs.has("steps") and runs.has("steps_planned"):
        early = runs.column("steps") < runs.column("steps_planned")
        if early.any():
            names = named_rows(runs, early)
            found.append(f"{names} stopped before the end of their schedule: their losses are too high "
                         'for their tokens; leave them out with --where="steps >= steps_planned"')
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
    law = " fit --law=repeated (with a column unique_tokens), or" if _data(runs) == "tokens" else ""
    return [
        f"{repeated} rows repeat their data (up to {most:.3g} epochs) as if it were new:{law} leave them out"
    ]


def _embedding_warnings(inputs: tuple[str, ...], runs: Runs) -> list[str]:
    """Counting embeddings or not moves the exponents of small models (Pearce and Song 2024,
    arXiv 2406.12907)."""
    known = runs.embeddings or {"params_non_embedding", "params_embedding"} & set(runs.frame)
    if "params" not in inputs or known:
        return []
    return ["nobody said whether params counts the embeddings (say it: --embeddings=included, or excluded)"]


def named_rows(runs: Runs, which: np.ndarray) -> str:
    """Up to five rows by name, e.g. "3 rows (17, 20, 31)"."""
    names = [str(name) for name, picked in zip(runs.names, which, strict=True) if picked]
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} row{'s' * (len(names) > 1)} ({shown})"

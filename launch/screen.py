"""What `launch.fit` prints: one screen."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from genlab.scaling import Analysis, Fit, Runs
from genlab.scaling.approaches.comparison import Comparison
from genlab.scaling.forecasts.backtest import Backtest
from genlab.scaling.forecasts.forecast import COMBINED
from genlab.scaling.forecasts.groups import GroupFits

_REACHES = (1.0, 1.5, 2.0, 4.0, 8.0, 32.0, math.inf)
_RUNS_SHOWN = 8  # of the held-out ones
_GROUPS_SHOWN = 12


def show(analysis: Analysis, runs: Runs, console: Console) -> None:
    """The law, its certificate, the comparison, forecasts, budgets, warnings."""
    fit = analysis.fit
    left_out = len(fit.rows_left_out)
    console.print(f"table      {runs.source}: {len(fit.rows_used)} rows fitted"
                  + (f", {left_out} left out ({reasons(fit)})" if left_out else ""), soft_wrap=True)
    console.print(f"law        {fit.law.name}: {fit.law.text}")
    console.print(f"           {fit.law.citation}", soft_wrap=True)
    if len(analysis.fits) > 1:
        console.print(f"chosen by  {analysis.choice_reason}", soft_wrap=True)
    console.print(parameter_table(fit))
    console.print(objective(fit))
    console.print(f"certified  {certificate(fit)}", soft_wrap=True)
    if fit.law.allocates:
        console.print(f"cost       {fit.cost}")
    if analysis.approaches is not None:
        console.print(approaches_table(analysis.approaches))
        if analysis.approaches.agreement:
            console.print(f"           {analysis.approaches.agreement}", soft_wrap=True)
        for line in analysis.approaches.disagreements:
            console.print(f"[bold]disagree[/bold]   {line}", soft_wrap=True)
    for compared in analysis.comparisons:
        names = [str(name) for name in compared["rows"]]
        which = f"{', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
        console.print(f"compared   {len(names)} rows {compared['dropped']}: {which}", soft_wrap=True)
        console.print(compared["error"] if "error" in compared else comparison_table(compared))
    if analysis.backtest is not None:
        combined = bool(analysis.forecasts) and analysis.forecasts[0]["law"] == COMBINED
        console.print(reach_table(analysis.backtest, combined))
    if analysis.forecasts:
        console.print(forecast_table(analysis.forecasts))
        if analysis.other_forecasts or len(analysis.forecasts) > _RUNS_SHOWN:
            console.print(forecast_summary([*analysis.forecasts, *analysis.other_forecasts]))
    if analysis.accuracy:
        console.print(accuracy_table(analysis.accuracy))
    if analysis.budgets:
        data = "examples" if analysis.columns.get("tokens") == "examples" else "tokens"
        console.print(budget_table(analysis.budgets, fit.ranges.get("flops", (math.nan, math.nan))[1], data))
    accuracy = (f"{column}: {text}" for column, each in analysis.accuracy.items()
                for text in each.get("warnings", [each.get("error", "")]))  # fmt: skip
    for warning in (*analysis.warnings, *fit.warnings, *accuracy):
        console.print(f"[bold]warning[/bold]    {warning}", soft_wrap=True)


def reasons(fit: Fit) -> str:
    """Why rows were left out, each reason once with its count."""
    counts: dict[str, int] = {}
    for _, reason in fit.rows_left_out:
        counts[reason] = counts.get(reason, 0) + 1
    return "; ".join(f"{count} {reason}" for reason, count in counts.items())


def objective(fit: Fit) -> str:
    """The objective at the minimum, what it is a sum of, and the scatter that it leaves."""
    logarithmic = fit.law.response_scale == "log"
    of = f"log {fit.law.response}" if logarithmic else fit.law.response
    scatter = f"{fit.residual_scatter:.2%}" if logarithmic else f"{fit.residual_scatter:.4g}"
    delta = "" if fit.loss == "squared" else f", delta {fit.delta:g}"
    return f"objective  {fit.objective:.9e} (sum of {fit.loss} loss{delta}, on {of}); residual scatter {scatter}"


def certificate(fit: Fit) -> str:
    """The certificate of convergence in one line."""
    found = fit.certificate
    text = (f"gradient {found['gradient_norm']:.1e}, {found['share_of_starts']:.0%} of {found['starts']} starts "
            f"reached this minimum, condition number {found['condition_number']:.1e}")
    if found["resamples"]:
        text += f", {found['resamples_converged']} of {found['resamples']} bootstrap refits converged"
    return text if found["converged"] else f"NOT CONVERGED: {text}"


def parameter_table(fit: Fit) -> Table:
    """Parameters with their intervals and meanings."""
    rows = table("parameter", "value", "95 % interval", "meaning")
    for parameter in fit.law.parameters:
        name = parameter.name
        ends = "held fixed" if name in fit.law.fixed else interval(fit.interval(name))
        rows.add_row(name, f"{fit.parameters[name]:.6g}", ends, parameter.meaning)
    return rows


def approaches_table(found: Comparison) -> Table:
    """N_opt = k C^a by each approach, and the best number of parameters at each budget."""
    spoken = [estimate for estimate in found.estimates if not estimate.unavailable]
    budgets = [f"N_opt at {row['flops']:.3g} FLOPs" for row in (spoken[0].budgets if spoken else ())]
    rows = table("approach", "exponent of N_opt", *budgets)
    for estimate in found.estimates:
        name = f"{estimate.approach} {estimate.name}"
        if estimate.unavailable:
            rows.add_row(name, estimate.unavailable)
            continue
        cells = (f"{row['params']:.3g} ({interval(row['interval_95']['params'])})" for row in estimate.budgets)
        rows.add_row(name, f"{estimate.exponent:.3f} ({interval(estimate.exponent_interval_95)})", *cells)
    return rows


def comparison_table(compared: dict[str, Any]) -> Table:
    """The law fitted with and without some rows, side by side."""
    sides = [compared["without"], compared["with"]]
    rows = table("", *(f"fit {side} them ({each['rows']} rows, {compared['resamples']} refits)"
                       for side, each in zip(("without", "with"), sides, strict=True)))  # fmt: skip
    for name in sides[0]["parameters"]:
        cells = (f"{each['parameters'][name]:.5g} ({interval(each['interval_95'][name])})" for each in sides)
        rows.add_row(name, *cells)
    return rows


def reach_table(tested: Backtest, combined: bool) -> Table:
    """The root mean square error of the backtest's forecasts, by how far they reached beyond the fit.

    With the laws' shares in the combined forecast, where there is one.
    """
    told = tested.table
    spans = [(low, high) for low, high in itertools.pairwise(_REACHES)
             if ((told["extrapolation"] > low) & (told["extrapolation"] <= high)).any()]
    names = [f"x{low:g} to {high:g}" if math.isfinite(high) else f"over x{low:g}" for low, high in spans]
    rows = table("backtest: error beyond the fit", *names, "all", *["share in combined"] * combined)
    for law, of_law in sorted(told.groupby("law", sort=False), key=lambda pair: tested.scores[pair[0]]):
        cells = []
        for low, high in spans:
            errors = of_law["log_error"][(of_law["extrapolation"] > low) & (of_law["extrapolation"] <= high)]
            cells.append(f"{_root_mean_square(errors):.2%}" if len(errors) else "")
        chosen = " (chosen)" if law == tested.choice else ""
        rows.add_row(f"{law}{chosen}", *cells, f"{tested.scores[law]:.2%}",
                     *[f"{tested.weights[law]:.0%}"] * combined)
    return rows


def _root_mean_square(errors: pd.Series) -> float:
    return math.sqrt((errors**2).mean())


def forecast_table(forecasts: Sequence[dict[str, Any]]) -> Table:
    """Forecasts beside what was measured; of many, those that reach farthest."""
    rows = table("forecast of", "by", "predicted", "95 % interval", "measured", "error", "covered", "reach")
    for row in sorted(forecasts, key=lambda row: -row["extrapolation"])[:_RUNS_SHOWN]:
        covered = {True: "yes", False: "no", None: ""}[row["covered"]]
        reach = "" if math.isnan(row["extrapolation"]) else f"x{row['extrapolation']:.3g}"
        rows.add_row(str(row["name"]), row["law"], f"{row['predicted']:.4f}", interval(row["interval_95"]),
                     f"{row['measured']:.4f}", f"{row['relative_error']:+.2%}", covered, reach)
    return rows


def forecast_summary(forecasts: Sequence[dict[str, Any]]) -> Table:
    """Each law's forecasts of all held-out runs together, in the order of the laws given."""
    rows = table("all held-out runs", "runs", "error (root mean square)", "mean error", "covered")
    for law, of_law in pd.DataFrame(forecasts).groupby("law", sort=False):
        error = of_law["relative_error"]
        known = of_law["covered"].dropna()
        covered = f"{known.sum()} of {len(known)}" if len(known) else ""
        rows.add_row(law, f"{len(of_law)}", f"{_root_mean_square(error):.2%}", f"{error.mean():+.2%}", covered)
    return rows


def accuracy_table(found: dict[str, dict[str, Any]]) -> Table:
    """Each accuracy's dependence on the loss, and the first held-out runs' forecasts."""
    rows = table("accuracy", "chance to ceiling", "scatter", "forecast of", "predicted", "95 % interval", "measured",
                 "covered")  # fmt: skip
    for column, each in found.items():
        if "error" in each:
            continue
        parameters = each["fit"]["parameters"]
        span = f"{parameters['chance']:.3g} to {parameters['ceiling']:.3g}"
        head = (column, span, f"{each['fit']['residual_scatter']:.3g}")
        for row in each["forecasts"][:5]:
            ends = interval(row["interval_95"])
            covered = {True: "yes", False: "no", None: ""}[row["covered"]]
            rows.add_row(*head, str(row["name"]), f"{row['predicted']:.4f}", ends, f"{row['measured']:.4f}", covered)
            head = ("", "", "")
        known = [row["covered"] for row in each["forecasts"] if row["covered"] is not None]
        if len(known) > 5:
            rows.add_row("", "", "", f"all {len(known)}", "", "", "", f"{sum(known)} of {len(known)}")
        if not each["forecasts"]:
            rows.add_row(*head)
    return rows


def budget_table(budgets: Sequence[dict[str, Any]], largest: float, data: str = "tokens") -> Table:
    """The compute-optimal run at each budget, and how far beyond the largest fitted compute it reaches."""
    rows = table("FLOPs", "reach", "params", data, f"{data} per param", "loss")
    for row in budgets:
        cells = (f"{row[name]:.4g} ({interval(row['interval_95'][name])})"
                 for name in ("params", "tokens", "tokens_per_param", "loss"))
        rows.add_row(f"{row['flops']:.3g}", f"x{row['flops'] / largest:.3g}", *cells)
    return rows


def show_groups(found: GroupFits, source: str, robust: str, console: Console) -> None:
    """One fit a group: held-out errors by the first key, then the groups themselves, or their parameters."""
    refused = found.table[found.table["status"] != "fitted"]
    console.print(f"table      {source}: {len(found.table)} groups by {', '.join(found.by)}, {len(refused)} refused; "
                  f"by {robust} loss, errors of the log response", soft_wrap=True)
    if len(found.forecasts):
        console.print(group_summary(found))
    console.print(group_table(found) if len(found.laws) > 1 else group_parameters(found))
    if len(found.table) > _GROUPS_SHOWN:
        console.print(f"           ... and {len(found.table) - _GROUPS_SHOWN} more in fits.json")
    for _, row in refused.head(_GROUPS_SHOWN).iterrows():
        console.print(f"[bold]refused[/bold]    {_keys(found, row)}: {row['reason']}", soft_wrap=True)


def group_summary(found: GroupFits) -> Table:
    """Mean over groups of the held-out error (root mean square): automatic, chosen law alone, every law."""
    summary = found.summary(found.by[0] if len(found.by) > 1 else "")
    several = len(found.laws) > 1
    laws = [f"error_{law}" for law in found.laws]
    rows = table(f"mean held-out error by {summary.index.name}" if len(found.by) > 1 else "mean held-out error",
                 "groups", *(["combined", "chosen"] if several else []), *found.laws)  # fmt: skip
    for key, row in summary.iterrows():
        cells = row[[*(["error", "error_chosen"] if several else []), *laws]]
        rows.add_row(str(key), f"{row['groups'] - row['refused']:.0f}", *(f"{cell:.4f}" for cell in cells))
    return rows


def group_table(found: GroupFits) -> Table:
    """The groups: the law chosen in each, how many rows it had, its error on those that were held out."""
    rows = table("group", "law chosen", "rows", "held out", "error, combined", "error, chosen")
    for _, row in found.table[found.table["status"] == "fitted"].head(_GROUPS_SHOWN).iterrows():
        errors = ("" if math.isnan(row[name]) else f"{row[name]:.4f}" for name in ("error", "error_chosen"))
        rows.add_row(_keys(found, row), row["law"], f"{row['rows_fitted']}", f"{row['rows_held_out']}", *errors)
    return rows


def group_parameters(found: GroupFits) -> Table:
    """The parameters of a single law in each group."""
    names = list(dict.fromkeys(found.parameters.get("parameter", ())))
    rows = table("group", "rows", *names)
    for _, row in found.table[found.table["status"] == "fitted"].head(_GROUPS_SHOWN).iterrows():
        here = found.parameters
        for key in found.by:
            here = here[here[key].astype(str) == str(row[key])]
        values = dict(zip(here["parameter"], here["value"], strict=True))
        rows.add_row(_keys(found, row), f"{row['rows_fitted']}", *(f"{values[name]:.5g}" for name in names))
    return rows


def _keys(found: GroupFits, row: pd.Series) -> str:
    return ", ".join(str(row[key]) for key in found.by)


def interval(ends: Sequence[float] | None) -> str:
    """The ends of an interval; nothing where there is none."""
    return "" if ends is None or any(map(math.isnan, ends)) else f"{ends[0]:.4g} to {ends[1]:.4g}"


def table(*columns: str) -> Table:
    """A table without lines."""
    return Table(*columns, box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")

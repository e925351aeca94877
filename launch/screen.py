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

_REACHES = (1.0, 1.5, 2.0, 4.0, 8.0, 32.0, math.inf)


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
        for line in analysis.approaches.disagreements:
            console.print(f"[bold]disagree[/bold]   {line}", soft_wrap=True)
    for compared in analysis.comparisons:
        names = [str(name) for name in compared["rows"]]
        which = f"{', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
        console.print(f"compared   {len(names)} rows {compared['dropped']}: {which}", soft_wrap=True)
        console.print(compared["error"] if "error" in compared else comparison_table(compared))
    if analysis.backtest is not None:
        console.print(reach_table(analysis.backtest))
    if analysis.forecasts:
        console.print(forecast_table([*analysis.forecasts, *analysis.other_forecasts]))
    if analysis.accuracy:
        console.print(accuracy_table(analysis.accuracy))
    if analysis.budgets:
        console.print(budget_table(analysis.budgets))
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
    rows = table("", *(f"fit {side} them ({each['rows']} rows)"
                       for side, each in zip(("without", "with"), sides, strict=True)))  # fmt: skip
    for name in sides[0]["parameters"]:
        cells = (f"{each['parameters'][name]:.5g} ({interval(each['interval_95'][name])})" for each in sides)
        rows.add_row(name, *cells)
    return rows


def reach_table(tested: Backtest) -> Table:
    """The root mean square error of the backtest's forecasts, by how far they reached beyond the fit."""
    told = tested.table
    spans = [(low, high) for low, high in itertools.pairwise(_REACHES)
             if ((told["extrapolation"] > low) & (told["extrapolation"] <= high)).any()]
    names = [f"x{low:g} to {high:g}" if math.isfinite(high) else f"over x{low:g}" for low, high in spans]
    rows = table("backtest: error beyond the fit", *names, "all")
    for law, of_law in sorted(told.groupby("law", sort=False), key=lambda pair: tested.scores[pair[0]]):
        cells = []
        for low, high in spans:
            errors = of_law["log_error"][(of_law["extrapolation"] > low) & (of_law["extrapolation"] <= high)]
            cells.append(f"{_root_mean_square(errors):.2%}" if len(errors) else "")
        chosen = " (chosen)" if law == tested.choice else ""
        rows.add_row(f"{law}{chosen}", *cells, f"{tested.scores[law]:.2%}")
    return rows


def _root_mean_square(errors: pd.Series) -> float:
    return math.sqrt((errors**2).mean())


def forecast_table(forecasts: Sequence[dict[str, Any]]) -> Table:
    """Forecasts beside what was measured."""
    rows = table("forecast of", "by", "predicted", "95 % interval", "measured", "error", "covered", "reach")
    for row in forecasts:
        covered = {True: "yes", False: "no", None: ""}[row["covered"]]
        reach = "" if math.isnan(row["extrapolation"]) else f"x{row['extrapolation']:.3g}"
        rows.add_row(str(row["name"]), row["law"], f"{row['predicted']:.4f}", interval(row["interval_95"]),
                     f"{row['measured']:.4f}", f"{row['relative_error']:+.2%}", covered, reach)
    return rows


def accuracy_table(found: dict[str, dict[str, Any]]) -> Table:
    """Each accuracy's dependence on the loss, and the first held-out runs' forecasts."""
    rows = table("accuracy", "chance to ceiling", "scatter", "forecast of", "predicted", "95 % interval", "measured")
    for column, each in found.items():
        if "error" in each:
            continue
        parameters = each["fit"]["parameters"]
        span = f"{parameters['chance']:.3g} to {parameters['ceiling']:.3g}"
        head = (column, span, f"{each['fit']['residual_scatter']:.3g}")
        for row in each["forecasts"][:5]:
            ends = interval(row["interval_95"])
            rows.add_row(*head, str(row["name"]), f"{row['predicted']:.4f}", ends, f"{row['measured']:.4f}")
            head = ("", "", "")
        if not each["forecasts"]:
            rows.add_row(*head)
    return rows


def budget_table(budgets: Sequence[dict[str, Any]]) -> Table:
    """The compute-optimal run at each budget."""
    rows = table("FLOPs", "params", "tokens", "tokens per param", "loss")
    for row in budgets:
        cells = (f"{row[name]:.4g} ({interval(row['interval_95'][name])})"
                 for name in ("params", "tokens", "tokens_per_param", "loss"))
        rows.add_row(f"{row['flops']:.3g}", *cells)
    return rows


def interval(ends: Sequence[float] | None) -> str:
    """The ends of an interval; nothing where there is none."""
    return "" if ends is None or any(map(math.isnan, ends)) else f"{ends[0]:.4g} to {ends[1]:.4g}"


def table(*columns: str) -> Table:
    """A table without lines."""
    return Table(*columns, box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")

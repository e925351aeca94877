"""Fits scaling laws to any table of runs, your own or somebody else's; nothing is trained.

    python -m launch.fit --runs=runs/quickstart/runs.csv --output=runs/quickstart/fit
    python -m launch.fit --runs=TABLE.csv --law=chinchilla --columns=params=N,tokens=D,loss=loss \\
        --where="in_240 == 1" --budgets=1e21,3.8e25 --output=fits/chinchilla

The table needs columns params, tokens and loss (name yours with --columns); flops are 6 N D where it has
none. Runs whose column `role` is held_out, or those that --holdout selects, are forecast and never fitted.
Prints one screen; with --output also writes fit.json (every number at full precision) and the figures.
Exit codes: 0 done, 2 bad input.
"""

import math
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console
from rich.table import Table

from genlab.scaling import LAWS, Analysis, ComputeOptimal, Fit, Runs, optimal_exponent, read_runs
from launch import flags as command

_RUNS = flags.DEFINE_string("runs", None, "CSV table, one row a run.", required=True)
_LAW = flags.DEFINE_string(
    "law", "auto", f"Law to fit: {', '.join(LAWS)}; several with commas in between, or auto for all. Of several "
    "the one counts that foretells dearer runs best (rolling backtest).")
_OUTPUT = flags.DEFINE_string("output", None, "Folder for fit.json and the figures; none are written without.")
_COLUMNS = flags.DEFINE_string(
    "columns", "", "What the table calls its columns: params=N,tokens=D,loss=loss,flops=C.")
_WHERE = flags.DEFINE_string("where", "", "Use only the rows for which this pandas expression holds.")
_HOLDOUT = flags.DEFINE_string("holdout", "", "Forecast the rows for which this holds, fit the others.")
_BUDGETS = flags.DEFINE_list("budgets", [], "Training FLOPs to state the compute-optimal run for: 1e21,3.8e25.")
_RESAMPLES = flags.DEFINE_integer("resamples", 1000, "Bootstrap refits; 0 for no intervals.", lower_bound=0)
_STARTS = flags.DEFINE_integer("starts", 64, "Starting points, each followed to a minimum.", lower_bound=1)
_DELTA = flags.DEFINE_float("delta", 1e-3, "Huber threshold on the log residual.", lower_bound=1e-9)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of starting points and resamples.")
_FIGURES = flags.DEFINE_bool("figures", True, "Draw figures into --output.")


def main() -> int:
    """Fits, prints and writes."""
    config = ComputeOptimal(
        laws=tuple(LAWS) if _LAW.value == "auto" else tuple(_LAW.value.split(",")),
        budgets=budgets(_BUDGETS.value),
        delta=_DELTA.value,
        starts=_STARTS.value,
        resamples=_RESAMPLES.value,
        seed=_SEED.value,
    )
    runs = read_runs(_RUNS.value, _COLUMNS.value, _WHERE.value)
    fitted, held_out = runs.split(_HOLDOUT.value) if _HOLDOUT.value else (runs, None)
    analysis = config.run(fitted, held_out)
    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    show(analysis, fitted, console)
    if _OUTPUT.value:
        write(analysis, runs, Path(_OUTPUT.value), console)
    return 0


def budgets(texts: list[str]) -> tuple[float, ...]:
    """Training FLOPs as written on the command line.

    Raises:
      ValueError: not a positive number.
    """
    found = []
    for text in texts:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise ValueError(f"--budgets: {text!r} is not a number of FLOPs; e.g. --budgets=1e21,3.8e25")
        found.append(value)
    return tuple(found)


def write(analysis: Analysis, runs: Runs, folder: Path, console: Console) -> None:
    """Writes fit.json and the figures, and says where."""
    folder.mkdir(parents=True, exist_ok=True)
    analysis.save(folder / "fit.json")
    paths = [folder / "fit.json"]
    if _FIGURES.value:
        from genlab.figures import write_figures  # matplotlib takes as long to import as a law to fit

        paths += write_figures(runs, analysis, folder).values()
    console.print(f"written    {', '.join(path.name for path in paths)} in {folder}", soft_wrap=True)


def show(analysis: Analysis, runs: Runs, console: Console) -> None:
    """One screen: the law, its certificate, the comparison, forecasts, budgets, warnings."""
    fit = analysis.fit
    left_out = len(fit.rows_left_out)
    console.print(f"table      {runs.source}: {len(fit.rows_used)} rows fitted"
                  + (f", {left_out} left out ({reasons(fit)})" if left_out else ""), soft_wrap=True)
    console.print(f"law        {fit.law.name}: {fit.law.text}")
    console.print(f"           {fit.law.citation}")
    if len(analysis.fits) > 1:
        console.print(f"chosen by  {analysis.choice_reason}", soft_wrap=True)
    console.print(parameter_table(fit))
    console.print(f"objective  {fit.objective:.9e} (sum of Huber, delta {fit.delta:g}, on log loss); residual "
                  f"scatter {fit.residual_scatter:.2%}")
    console.print(f"certified  {certificate(fit)}", soft_wrap=True)
    console.print(f"cost       {fit.cost}")
    exponent = optimal_exponent(analysis.isoflop)
    if exponent:
        minima = sum(not curve.refused for curve in analysis.isoflop)
        console.print(f"isoFLOP    {minima} minima: N_opt = {exponent[1]:.3g} C^{exponent[0]:.3f}")
    if analysis.forecasts:
        console.print(forecast_table([*analysis.forecasts, *analysis.other_forecasts]))
    if analysis.budgets:
        console.print(budget_table(analysis.budgets))
    for warning in (*analysis.warnings, *fit.warnings):
        console.print(f"[bold]warning[/bold]    {warning}", soft_wrap=True)


def reasons(fit: Fit) -> str:
    """Why rows were left out, each reason once with its count."""
    counts: dict[str, int] = {}
    for _, reason in fit.rows_left_out:
        counts[reason] = counts.get(reason, 0) + 1
    return "; ".join(f"{count} {reason}" for reason, count in counts.items())


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
    table = _table("parameter", "value", "95 % interval", "meaning")
    for parameter in fit.law.parameters:
        name = parameter.name
        table.add_row(name, f"{fit.parameters[name]:.6g}", _interval(fit.interval(name)), parameter.meaning)
    return table


def forecast_table(forecasts: list[dict[str, Any]]) -> Table:
    """Forecasts beside what was measured."""
    table = _table("forecast of", "by", "predicted", "95 % interval", "measured", "error", "covered", "compute")
    for row in forecasts:
        covered = {True: "yes", False: "no", None: ""}[row["covered"]]
        table.add_row(str(row["name"]), row["law"], f"{row['predicted']:.4f}", _interval(row["interval_95"]),
                      f"{row['measured']:.4f}", f"{row['relative_error']:+.2%}", covered,
                      f"x{row['extrapolation']:.3g}")
    return table


def budget_table(rows: list[dict[str, Any]]) -> Table:
    """The compute-optimal run at each budget."""
    table = _table("FLOPs", "params", "tokens", "tokens per param", "loss")
    for row in rows:
        cells = (f"{row[name]:.4g} ({_interval(row['interval_95'][name])})"
                 for name in ("params", "tokens", "tokens_per_param", "loss"))
        table.add_row(f"{row['flops']:.3g}", *cells)
    return table


def _interval(ends) -> str:
    return "" if ends is None or any(map(math.isnan, ends)) else f"{ends[0]:.4g} to {ends[1]:.4g}"


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")


if __name__ == "__main__":
    command.run(main)

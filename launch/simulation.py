"""What `launch.fit --simulate` reads and prints: a plan, the true parameters, and what the design would tell."""

import json
from pathlib import Path

from rich.console import Console

from genlab.scaling import Fit, Law, Runs, read_runs
from genlab.scaling.law import parse_numbers
from genlab.scaling.simulate import Simulation, planned_grid
from launch.screen import interval, table


def read_plan(text: str, law: Law, columns: str, seeds: int) -> Runs:
    """The planned runs: a CSV file with the law's inputs, or NAME=VALUE,VALUE,...; NAME=...

    Raises:
      FileNotFoundError, ValueError: a file or text that is no plan.
    """
    if text.endswith(".csv"):
        return read_runs(text, columns, needed=law.inputs)
    return planned_grid(text, seeds)


def read_truth(text: str, law: Law) -> dict[str, float] | None:
    """True parameters: NAME=NUMBER,..., or the fit.json of an earlier fit; None for the published ones.

    Raises:
      FileNotFoundError, ValueError: a file or text without parameters of this law.
    """
    if not text:
        return None
    if text.endswith(".json"):
        try:
            saved = json.loads(Path(text).read_text(encoding="utf-8"))
            return Fit.from_json(saved["fits"][law.name]).parameters
        except (KeyError, TypeError, json.JSONDecodeError):
            raise ValueError(f"{text} holds no fit of {law.name}") from None
    return parse_numbers(text)


def show(found: Simulation, console: Console) -> None:
    """One screen: each parameter's spread over the tables, forecasts, budgets, verdict."""
    tables = len(found.estimates) + len(found.failures)
    console.print(f"simulated  {tables} tables of {found.rows} runs with {found.noise:.2%} noise"
                  if found.law.response_scale == "log" else
                  f"simulated  {tables} tables of {found.rows} runs with noise {found.noise:g}")
    console.print(f"law        {found.law.name}: {found.law.text}")
    parameters = table("parameter", "truth", "95 % of fits give", "bootstrap intervals that hold the truth")
    for name, true in found.truth.items():
        covered = f"{found.coverage(name):.0%}" if found.intervals.size else ""
        parameters.add_row(name, f"{true:.6g}", interval(found.interval(name)), covered)
    console.print(parameters)
    if found.forecasts:
        points = table("forecast at", "truth", "95 % of fits give", "half width", "new runs inside their interval")
        for row in found.forecasts:
            at = ", ".join(f"{name} {row[name]:.3g}" for name in found.law.inputs)
            covered = "" if row["covered"] is None else f"{row['covered']:.0%}"
            points.add_row(at, f"{row['truth']:.4f}", interval(row["interval_95"]), f"{row['width']:.2%}", covered)
        console.print(points)
    if found.budgets:
        best = table("FLOPs", "best params", "95 % of fits give", "best tokens", "95 % of fits give")
        for row in found.budgets:
            cells = [cell for name in ("params", "tokens")
                     for cell in (f"{row[name]['truth']:.4g}", interval(row[name]["interval_95"]))]
            best.add_row(f"{row['flops']:.3g}", *cells)
        console.print(best)
    for verdict in found.verdicts:
        console.print(f"[bold]verdict[/bold]    {verdict}", soft_wrap=True)
    if not found.verdicts:
        console.print("verdict    every parameter can be told from this design")

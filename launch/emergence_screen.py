"""What `launch.emergence` prints: one screen."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from genlab.scaling.emergence.abilities import Abilities
from genlab.scaling.emergence.analysis import Verdicts
from genlab.scaling.emergence.simulate import PLANTED, Simulated
from genlab.scaling.emergence.verdict import FLAT, KINDS, Verdict, counted
from launch.screen import table

_TASKS_SHOWN = 24
_TOLD = 12  # tasks in words
_NOTES = 6


def show(found: Verdicts, abilities: Abilities, console: Console) -> None:
    """A line a task, the forecasts, then in words what verdicts rest on: of tasks that are not flat first."""
    flops = abilities.grid.frame["flops"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in counted(found.verdicts).items() if count)
    runs, span = abilities.grid.frame["run"].nunique(), f"{flops.min():.3g} to {flops.max():.3g} FLOPs"
    console.print(f"table      {abilities.source}: {len(found.verdicts)} tasks, {runs} runs, {span}", soft_wrap=True)
    console.print(f"verdicts   {kinds}", soft_wrap=True)
    shown = sorted(found.verdicts.values(), key=lambda verdict: verdict.kind == FLAT and not verdict.rising)
    console.print(verdict_table(shown[:_TASKS_SHOWN], found))
    if found.forecasts:
        console.print(forecast_table(found))
    for verdict in shown[:_TOLD]:
        console.print(f"[bold]{verdict.task}[/bold]: {verdict.words}", soft_wrap=True)
        if verdict.needed:
            console.print(f"           would decide: {verdict.needed}", soft_wrap=True)
        for metric, laws in found.shapes.get(verdict.task, {}).items():
            console.print(f"           {metric}: {laws['words']}", soft_wrap=True)
    if len(shown) > _TOLD:
        console.print(f"           ... and {len(shown) - _TOLD} tasks more in emergence.json (--output)")
    notes = [*found.notes, *found.left_out]
    for note in notes[:_NOTES]:
        console.print(f"noted      {note}", soft_wrap=True)
    if len(notes) > _NOTES:
        console.print(f"noted      ... and {len(notes) - _NOTES} more in emergence.json")


def verdict_table(verdicts: Sequence[Verdict], found: Verdicts) -> Table:
    """A line a task: the verdict, where it leaves chance, how sharp either metric is, where it was foretold."""
    rows = table("task", "verdict", "best", "leaves at", "sharp x2", "smooth x2", "smooth from", "foretold from")
    for verdict in verdicts:
        numbers = verdict.numbers
        rows.add_row(
            verdict.task,
            verdict.kind + (" (rising)" if verdict.rising else ""),
            f"{max(numbers['departure']['share']):.1%}",
            _flops(numbers["departure"]["leaves_at"]),
            *(f"{numbers[name]['index']:.0%}" if numbers[name] else "" for name in ("sharpness", "smooth_sharpness")),
            _flops(numbers["rises_from"]),
            _flops(found.foretold_from(verdict.task)) or "not before" * bool(verdict.emergent and verdict.smooth),
        )
    return rows


def forecast_table(found: Verdicts) -> Table:
    """Each forecast's root mean square error on the rows that it did not see, beside the guess that nothing changes."""
    rows = table("forecast", "metric", "rows", "FLOPs up to", "asked", "error", "unchanged", "covered")
    for task, metrics in list(found.forecasts.items())[:_TASKS_SHOWN]:
        for metric, told in metrics.items():
            inside = [low <= row["measured"] <= high for row in told["forecasts"] for low, high in [row["interval_95"]]]
            rows.add_row(task, metric, str(told["rows_fitted"]), _flops(told["cut_flops"]), str(len(inside)),
                         f"{told['error']:.3f}", f"{told['stays_error']:.3f}", f"{sum(inside)} of {len(inside)}")
    return rows


def show_simulation(found: Simulated, console: Console) -> None:
    """What was planted and what was found, and how often something is seen where nothing is."""
    plan = found.plan
    drawn = f"{plan.tables} tables of {plan.tasks} tasks at chance, {plan.tables} tasks of each other kind"
    each = f"{plan.scales} scales x{plan.factor:g} apart, {plan.seeds} seeds, {plan.questions} questions"
    console.print(f"simulated  {drawn}; {each}", soft_wrap=True)
    console.print(f"at chance  some departure in {found.tables_departing:.1%} of the tables, some task emergent in "
                  f"{found.tables_emergent:.1%}, some rising underneath in {found.tables_rising:.1%}", soft_wrap=True)
    seen = [kind for kind in KINDS if any(found.verdicts[planted][kind] for planted in PLANTED)]
    rows = table("planted", "judged right", *seen)
    for planted in PLANTED:
        rows.add_row(planted, f"{found.right(planted):.1%}", *(str(found.verdicts[planted][kind]) for kind in seen))
    console.print(rows)


def _flops(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"

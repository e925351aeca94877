"""Abilities against scale: sharp and smooth metric side by side, and what explains the sharp one.

After the figures of Wei et al. 2022 (arXiv 2206.07682, figures 2 and 11: ability against compute, loss and parameters,
chance dashed) and Schaeffer et al. 2023 (arXiv 2304.15004, figures 3 and 4: the same outputs under two metrics).
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.figures.panel import Panel
from genlab.scaling.emergence.abilities import Abilities
from genlab.scaling.emergence.analysis import Verdicts
from genlab.scaling.emergence.metrics import METRICS
from genlab.scaling.emergence.scales import HISTORY
from genlab.scaling.emergence.shapes import BROKEN, SIGMOID
from genlab.scaling.emergence.verdict import FLAT, Verdict

_ROWS, _LOW_ROWS = 5, 7  # tasks of a figure
_MOST = 20  # tasks that are drawn
_ROW = 1.75  # inches
_BAND = 0.15
_LAWS = {SIGMOID: ("sigmoid", style.INK, "-"), BROKEN: ("one break", style.ACCENT, (0, (4, 1.6)))}


def emergence_gallery(abilities: Abilities, found: Verdicts) -> list[Panel]:
    """Every figure of a table of abilities, those of tasks at chance last."""
    ordered = sorted(found.verdicts.values(), key=lambda verdict: verdict.kind == FLAT and not verdict.rising)[:_MOST]
    both, alone = ([verdict for verdict in ordered if bool(verdict.smooth) == has] for has in (True, False))
    pages = [both[i : i + _ROWS] for i in range(0, len(both), _ROWS)]
    pages += [alone[i : i + 2 * _ROWS] for i in range(0, len(alone), 2 * _ROWS)]
    panels = [
        Panel(_numbered("emergence", number), sharp_and_smooth(abilities, found, page), _SIDES)
        for number, page in enumerate(pages, start=1)
    ]
    explained = [verdict for verdict in ordered if _has_parts(abilities, verdict)]
    if explained:
        panels.append(Panel("emergence_explained", exact_match_explained(abilities, explained), _EXPLAINED))
    if inputs := [name for name in ("loss", "params") if abilities.frame[name].nunique() > 2]:
        for number, first in enumerate(range(0, len(ordered), _LOW_ROWS), start=1):
            figure = against(abilities, ordered[first : first + _LOW_ROWS], inputs)
            panels.append(Panel(_numbered("emergence_against", number), figure, _AGAINST))
    return panels


def write_emergence_figures(abilities: Abilities, found: Verdicts, folder: Path) -> dict[str, Path]:
    """Writes every figure of `emergence_gallery` as PNG and SVG; returns file name -> path."""
    paths: dict[str, Path] = {}
    for panel in emergence_gallery(abilities, found):
        paths |= style.save(panel.figure, Path(folder), panel.name)
    return paths


@style.paper_style()
def sharp_and_smooth(abilities: Abilities, found: Verdicts, verdicts: Sequence[Verdict]) -> Figure:
    """Draws a row a task, its sharp metric and its smooth one against training compute; without smooth ones, two a row.

    Every dot is a run, or an evaluation of one, whose line joins them. Dashed is chance, the curves are the fitted laws
    with 95 % bands, the upright line is where the metric leaves chance, stars are runs held out and hollow diamonds
    their forecasts.

    Args:
      abilities: the table.
      found: what was found in it.
      verdicts: of the tasks to draw: all with a smooth metric, or all without.
    """
    cells = [(verdict, metric, onset) for verdict in verdicts
             for metric, onset in zip((verdict.sharp, verdict.smooth), _onsets(verdict), strict=True) if metric]
    rows = math.ceil(len(cells) / 2)
    figure = Figure(figsize=(style.PAGE, _ROW * rows + 0.7))
    grid = figure.subplots(rows, 2, squeeze=False, sharex=True)
    colours = _sizes(abilities.frame)
    for axes, (verdict, metric, onset) in zip(grid.ravel(), cells, strict=False):
        _draw_metric(axes, abilities.of(verdict.task, metric), found, onset, colours)
        if metric == verdict.sharp:
            axes.set_title(f"{verdict.task}: {verdict.kind}{', rising underneath' if verdict.rising else ''}")
    for axes in grid.ravel()[len(cells) :]:
        axes.set_visible(False)
    _compute_axes([column[column.size - 1 - (len(cells) < grid.size and place)] for place, column in enumerate(grid.T)],
                  abilities.frame["flops"])  # fmt: skip
    _close(figure, grid.ravel(), colours)
    return figure


@style.paper_style()
def exact_match_explained(abilities: Abilities, verdicts: Sequence[Verdict]) -> Figure:
    """Draws exact match beside token accuracy to the power of the answer's length, and the log-probability.

    Args:
      abilities: the table.
      verdicts: of the tasks to draw, which have token accuracy.
    """
    columns = min(3, len(verdicts))
    rows = math.ceil(len(verdicts) / columns)
    figure = Figure(figsize=(style.PAGE, 1.9 * rows + 0.6))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes in grid.ravel()[len(verdicts) :]:
        axes.set_axis_off()
    for axes, verdict in zip(grid.ravel(), verdicts, strict=False):
        _draw_explained(axes, abilities, verdict)
    for axes in grid[:, 0]:
        axes.set_ylabel("share right")
    for axes in grid[-1]:
        _compute_axes([axes], abilities.frame["flops"])
    _close(figure, [*grid.ravel(), *(child for child in figure.axes if child not in grid)])
    return figure


@style.paper_style()
def against(abilities: Abilities, verdicts: Sequence[Verdict], inputs: Sequence[str]) -> Figure:
    """Draws the sharp metrics against the loss and the number of parameters, a row a task.

    Args:
      abilities: the table.
      verdicts: of the tasks to draw.
      inputs: "loss", "params", or both.
    """
    figure = Figure(figsize=(style.PAGE, 1.3 * len(verdicts) + 0.7))
    grid = figure.subplots(len(verdicts), len(inputs), squeeze=False, sharex="col")
    colours = _sizes(abilities.frame)
    for axes, verdict in zip(grid, verdicts, strict=True):
        rows = abilities.of(verdict.task, verdict.sharp)
        for side, name in zip(axes, inputs, strict=True):
            shown = rows if name == "loss" else rows.loc[rows.groupby(["run", "seed"], dropna=False)["flops"].idxmax()]
            _dots(side, shown[name], shown, colours)
            side.axhline(rows["chance"].iloc[0], color=style.MUTED, linestyle="--", linewidth=0.8, label="chance")
        axes[0].set_ylabel(_label(verdict.sharp))
        axes[0].set_title(verdict.task)
    for side, name in zip(grid[-1], inputs, strict=True):
        values = abilities.frame[name].dropna()
        low, high = values.min(), values.max()
        if name == "loss":
            style.loss_axis(side.xaxis, low / 1.03, high * 1.03)
            side.invert_xaxis()
            side.set_xlabel("loss (better to the right)")
        else:
            style.quantity_axis(side.xaxis, low / 1.3, high * 1.3, style.count)
            side.set_xlabel("parameters")
    _close(figure, grid.ravel(), colours)
    return figure


def _draw_metric(axes: Axes, rows: pd.DataFrame, found: Verdicts, onset: float | None, colours) -> None:
    task, metric = rows["task"].iloc[0], METRICS[rows["metric"].iloc[0]]
    chance = float(rows["chance"].iloc[0])
    axes.axhline(chance, color=style.MUTED, linestyle="--", linewidth=0.8, label="chance", zorder=1)
    _dots(axes, rows["flops"], rows, colours)
    if laws := found.shapes.get(task, {}).get(metric.name):
        _draw_laws(axes, laws, chance, metric.perfect)
    if onset is not None:
        axes.axvline(onset, color=style.ACCENT, linewidth=0.8, label="leaves chance", zorder=1)
    shown = [*rows["value"], chance]
    told = found.forecasts.get(task, {}).get(metric.name)
    if told and (rows["role"] == "held_out").any():
        flops, share = np.array([(row["flops"], row["predicted"]) for row in told["forecasts"]]).T
        value = share if metric.counts else chance + share * (metric.perfect - chance)
        marks = {"markerfacecolor": "none", "markeredgecolor": style.ACCENT, "markeredgewidth": 0.8, "markersize": 4}
        axes.plot(flops, value, "D", linestyle="none", label="forecast", zorder=6, **marks)
        shown += list(value)
    axes.set_ylabel(_label(metric.name))
    margin = 0.06 * max(max(shown) - min(shown), 1e-9)
    axes.set_ylim(min(shown) - margin, max(shown) + margin)


def _draw_laws(axes: Axes, laws: dict[str, Any], chance: float, perfect: float) -> None:
    """The sigmoid, and the law with a break where one is supported, with their bands."""
    for law, (name, colour, line) in _LAWS.items():
        if law == SIGMOID or laws["break_supported"]:
            curve = {key: np.array(values) for key, values in laws["laws"][law]["curve"].items()}
            value, low, high = (chance + curve[key] * (perfect - chance) for key in ("share", "low", "high"))
            axes.plot(curve["flops"], value, color=colour, linestyle=line, label=name, zorder=5)
            axes.fill_between(curve["flops"], low, high, color=colour, alpha=_BAND, linewidth=0, zorder=2)


def _dots(axes: Axes, x: pd.Series, rows: pd.DataFrame, colours) -> None:
    """Every value as a dot; lines join the evaluations of one run."""
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.3}
    size = 0.8 * style.marker_size(len(rows))
    held = (rows["role"] == "held_out").to_numpy()
    for number, (_, run) in enumerate(rows.assign(x=x).groupby(["run", "seed"], dropna=False, sort=False)):
        params = run["params"].iloc[0]
        colour = style.CATEGORIES[0] if colours is None or not params > 0 else colours(params)
        label = "run" if number == 0 else None
        if run["role"].iloc[0] == "held_out":
            axes.plot(run["x"], run["value"], "*", color=colour, markersize=size + 2.5, zorder=4, **edge)
            continue
        if len(run) >= HISTORY:
            run = run.sort_values("flops")
            axes.plot(run["x"], run["value"], color=colour, linewidth=0.5, alpha=0.7, zorder=3)
        axes.plot(run["x"], run["value"], "o", color=colour, markersize=size, zorder=4, label=label, **edge)
    if held.any():
        axes.plot([], [], "*", color=style.MUTED, markersize=size + 2.5, linestyle="none", label="held out")


def _draw_explained(axes: Axes, abilities: Abilities, verdict: Verdict) -> None:
    exact, tokens = (abilities.of(verdict.task, name) for name in ("exact_match", "token_accuracy"))
    length = float(tokens["answer_length"].iloc[0])
    other = axes.twinx()
    log_p = abilities.of(verdict.task, "log_probability")
    small = {"markersize": 0.7 * style.marker_size(len(exact)), "linestyle": "none"}
    other.plot(log_p["flops"], log_p["value"], ".", color=style.MUTED, alpha=0.45, markersize=3, zorder=1,
               label="log-probability (nats, right)")  # fmt: skip
    axes.plot(exact["flops"], exact["value"], "o", color=style.CATEGORIES[0], label="exact match", zorder=4, **small)
    axes.plot(tokens["flops"], tokens["value"] ** length, "o", markerfacecolor="none", zorder=5, markeredgewidth=0.7,
              markeredgecolor=style.ACCENT, label="token accuracy to the power of the length", **small)  # fmt: skip
    axes.set_zorder(other.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.set_ylim(-0.04, 1.04)
    other.spines["right"].set_visible(True)
    other.tick_params(labelcolor=style.MUTED)
    axes.set_title(f"{verdict.task}, {length:.3g} token{'s' * (length != 1)}")


def _has_parts(abilities: Abilities, verdict: Verdict) -> bool:
    there = abilities.metrics(verdict.task)
    if verdict.sharp != "exact_match" or not {"token_accuracy", "log_probability"} <= set(there):
        return False
    return bool(abilities.of(verdict.task, "token_accuracy")["answer_length"].notna().all()) and verdict.kind != FLAT


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"


def _onsets(verdict: Verdict) -> tuple[float | None, float | None]:
    return verdict.numbers["departure"]["leaves_at"], verdict.numbers["rises_from"]


def _sizes(frame: pd.DataFrame) -> style.SizeColours | None:
    sizes = frame["params"].dropna().unique()
    return style.SizeColours(sizes) if len(sizes) > 1 else None


def _compute_axes(row: Sequence[Axes], flops: pd.Series) -> None:
    low, high = flops.min(), flops.max()
    span = max(high / low, 2.0) ** 0.04
    for axes in row:
        style.quantity_axis(axes.xaxis, low / span, high * span, most=5)
        axes.set_xlabel("training compute (FLOPs)")
        axes.tick_params(labelbottom=True)


def _close(figure: Figure, axes: Sequence[Axes], colours: style.SizeColours | None = None) -> None:
    """The legend above, and what the colours mean below."""
    handles, labels = _legend(axes)
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), columnspacing=1.4)
    if colours is not None:
        smallest, largest = style.count(colours.norm.vmin), style.count(colours.norm.vmax)
        style.note(figure, f"colour: parameters, {smallest} (dark) to {largest} (bright)")


def _legend(axes: Sequence[Axes]) -> tuple[list, list[str]]:
    """Every label once, over all panels."""
    found = {}
    for one in axes:
        found = {**dict(zip(*reversed(one.get_legend_handles_labels()), strict=True)), **found}
    return list(found.values()), list(found)


def _label(metric: str) -> str:
    return metric.replace("_", " ").replace("log probability", "log-probability")


_SIDES = (
    "Each task's sharp metric (left) and smooth metric (right) against training compute; tasks without a smooth one "
    "stand two a row. A dot is a run, or an evaluation of one, whose thin line joins them. Dashed: the chance level. "
    "The curves are laws fitted to all dots, with 95 % bands, of tasks that leave chance; a break is drawn where "
    "held-out error supports it. The upright line is where the metric leaves chance for certain, corrected for every "
    "task and scale that was looked at. Stars are runs held out, hollow diamonds their forecasts."
)
_EXPLAINED = (
    "Exact match, and what it would be if an answer's tokens were right independently of each other: token accuracy to "
    "the power of the answer's length. In grey, by the right scale, the log-probability of the answer."
)
_AGAINST = (
    "The sharp metric against the loss, at every evaluation, and against the number of parameters, at the end of each "
    "run. Dashed: the chance level."
)

"""All figures of an analysis, with the captions they have in the report."""

import os
import re
from pathlib import Path

import pandas as pd

from genlab.figures import style
from genlab.figures.approaches import approaches
from genlab.figures.backtest import backtest
from genlab.figures.emergence import emergence_gallery
from genlab.figures.families import families
from genlab.figures.isoflop import isoflop
from genlab.figures.law_fit import law_fit, shows_lines
from genlab.figures.loss_vs_compute import loss_vs_compute
from genlab.figures.panel import Panel
from genlab.figures.response import response
from genlab.figures.table import loss_unit, run_table, table_columns
from genlab.scaling.analysis import Analysis
from genlab.scaling.emergence.analysis import Verdicts
from genlab.scaling.families import Families
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.runs import Runs


def gallery(
    runs: Runs | pd.DataFrame, analysis: Analysis | Families | Verdicts | None, unit: str | None = None
) -> list[Panel]:
    """Draws every figure that the table and the analysis allow; without an analysis, the runs alone.

    Of several families, the first figure has them all, and each then has its own, named by `prefix_of`.

    Args:
      runs: the whole run table (a DataFrame), or the rows of it that a fit may use.
      analysis: what was found in it; None where nothing could be fitted.
      unit: of the loss; by default nats per token where the runs count tokens, nats per example where they classify.
    """
    columns = table_columns(runs, {} if analysis is None else analysis.columns)
    table = run_table(runs, columns)
    unit = loss_unit(table, columns) if unit is None else unit
    if analysis is None:
        return [Panel("loss_vs_compute", loss_vs_compute(table, unit=unit), _RUNS_ONLY)]
    if isinstance(analysis, Verdicts):
        abilities = analysis.abilities(runs.frame if isinstance(runs, Runs) else runs)
        return [Panel("loss_vs_compute", loss_vs_compute(table, unit=unit), _RUNS_ONLY),
                *emergence_gallery(abilities, analysis)]  # fmt: skip
    if isinstance(analysis, Families):
        panels = [Panel("loss_vs_compute", families(table, analysis, unit), _FAMILIES)]
        for name, family in analysis.families.items():
            part = table[table[analysis.by].astype(str) == name]
            own = gallery(part, family.analysis, unit)
            panels += [panel._replace(name=prefix_of(name) + panel.name) for panel in own]
        return panels
    fit, forecasts = analysis.fit, analysis.forecasts
    told = _LAW.format(law=style.title(fit.law.name)) + _FORECAST * bool(forecasts)
    data = columns.get("tokens", "tokens")
    if len(fit.law.inputs) == 1:
        panels = [Panel("law_fit", response(table, fit, columns), _RESPONSE + _RESIDUALS)]
    else:
        panels = [
            Panel("loss_vs_compute", loss_vs_compute(table, fit, forecasts, unit), _RUNS_ONLY + told),
            Panel("law_fit", law_fit(table, fit, unit, data), _law_fit_caption(table, fit, data)),
        ]
    if fit.law.allocates:
        panels.append(Panel("isoflop", isoflop(analysis.isoflop, fit, unit), _ISOFLOP))
        if analysis.approaches is not None:
            panels.append(Panel("approaches", approaches(analysis.approaches), _APPROACHES))
    return [*panels, Panel("backtest", backtest(analysis.backtest), _BACKTEST)]


def prefix_of(family: str) -> str:
    """What the names of a family's figures begin with."""
    return re.sub(r"[^\w.-]", "_", family) + "_" if family else ""


def _law_fit_caption(table: pd.DataFrame, fit: Fit, data: str) -> str:
    lines = shows_lines(table) and fit.law.allocates
    return (_LINES.format(data=data) if lines else _AGREEMENT) + _RESIDUALS


def write_figures(
    runs: Runs | pd.DataFrame,
    analysis: Analysis | Families | Verdicts | None,
    directory: str | os.PathLike,
    unit: str | None = None,
) -> dict[str, Path]:
    """Writes every figure of `gallery` as PNG and SVG; returns file name -> path. Arguments as there."""
    paths: dict[str, Path] = {}
    for panel in gallery(runs, analysis, unit):
        paths |= style.save(panel.figure, Path(directory), panel.name)
    return paths


_FAMILIES = (
    "Every family's runs against training compute, darker for more parameters. A thin line joins the runs that no "
    "cheaper run of the family outdoes. The thick line is the law of this frontier with its 95 % band, dashed beyond "
    "the runs it was fitted to. Stars are runs that no fit saw. A hollow diamond is the forecast that counts: of a "
    "loss by the law of size and data, of anything else by the law of its frontier."
)
_RUNS_ONLY = (
    "Loss against training compute. A thin line is a run's training loss as it went, a dot its final loss "
    "on held-out data, both coloured by the number of parameters. The black line is the compute-efficient "
    "frontier, the lower convex envelope of the final losses."
)
_LAW = (
    " The orange line is the {law} law at the size it holds best for each compute, dashed beyond the runs "
    "it was fitted to; the inner band is the 95 % interval of the law, the outer one that of a new run."
)
_FORECAST = " The star is the run that the fit never saw; the panel on the right compares it with its forecast."
_RESPONSE = (
    "(a) The runs and the law's curve, dashed beyond the runs it was fitted to; the inner band is the 95 % "
    "interval of the law, the outer one that of a new run. "
)
_LINES = "(a) Final losses against training {data}, and what the law says of each size. "
_AGREEMENT = "(a) What the law says of each run against its final loss, by the number of parameters. "
_RESIDUALS = (
    "(b) How far the law is above the measured losses; the band is two standard deviations of the fitted "
    "runs' residuals. Stars are held-out runs."
)
_ISOFLOP = (
    "(a) Loss against size at fixed training compute, with a parabola in the logarithms and its minimum "
    "(black). A budget whose minimum is at the edge of the sizes tried has none and is grey. (b) The "
    "minima and the power law through them, beside the size that the fitted law holds best."
)
_APPROACHES = (
    "The compute-optimal size by the three approaches of Hoffmann et al. 2022: the envelope of training curves, "
    "the minima of isoFLOP curves (by parabola and by Akima's spline) and the fitted law, with 95 % bands, and the "
    "exponents with their intervals. All rest on the same runs: bands that overlap are no proof of agreement."
)
_BACKTEST = (
    "Each law was fitted to the runs below a compute cut and asked about the runs above it, at several "
    "cuts. A point is one forecast; the band is plus and minus the law's root mean square error."
)

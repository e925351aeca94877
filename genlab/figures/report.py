"""The report: one self-contained HTML page with figures, law, forecasts, runs, config and versions."""

import base64
import json
import math
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from genlab.figures import markup, style
from genlab.figures.gallery import gallery, prefix_of
from genlab.figures.runs_table import run_columns
from genlab.figures.table import loss_unit, run_table, table_columns
from genlab.scaling.analysis import Analysis
from genlab.scaling.emergence.analysis import Verdicts
from genlab.scaling.families import Families, Family
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.runs import Runs

_TEMPLATE = Path(__file__).parent / "report.html.jinja"
_PACKAGES = ("genlab", "jax", "jaxlib", "flax", "optax", "numpy", "pandas", "scipy", "matplotlib")


def write_report(
    runs: Runs | pd.DataFrame,
    analysis: Analysis | Families | Verdicts | None,
    directory: str | os.PathLike,
    config: Any = None,
    versions: Mapping[str, str] | None = None,
    unit: str | None = None,
    title: str = "",
) -> dict[str, Path]:
    """Writes every figure and `report.html`, a page that needs no other file and no network.

    Args:
      runs: the whole run table (a DataFrame: failed runs are shown as what they are), or `Runs`.
      analysis: what was found in it; None where nothing could be fitted.
      directory: where the files go; it is made where missing.
      config: anything that JSON can say, e.g. the sweep's config.
      versions: name -> version of what made the runs; by default what is installed here.
      unit: of the loss; by default nats per token where the runs count tokens, nats per example where they classify.
      title: of the page; by default the name of the sweep.

    Returns:
      File name -> path, "report.html" among them.
    """
    directory = Path(directory)
    columns = table_columns(runs, {} if analysis is None else analysis.columns)
    table = run_table(runs, columns)
    unit = loss_unit(table, columns) if unit is None else unit
    paths: dict[str, Path] = {}
    figures = {}
    for panel in gallery(runs, analysis, unit):
        paths |= style.save(panel.figure, directory, panel.name)
        svg = base64.b64encode(paths[f"{panel.name}.svg"].read_bytes()).decode()
        figures[panel.name] = {"svg": svg, "caption": panel.caption}
    families = _families(analysis)
    of_family = {name: _rows_of(table, analysis, name) for name in families}
    data = columns.get("tokens", "tokens")
    page = (
        _environment()
        .get_template(_TEMPLATE.name)
        .render(
            title=title or _title(table),
            unit=unit,
            figures=figures,
            summary=_summary(table),
            parts=[_part(name, family) for name, family in families.items()],
            refused=[f"{k}: {v}" for k, v in analysis.refused.items()] if isinstance(analysis, Families) else [],
            data=data,
            columns=run_columns(table, [(of_family[k], v.analysis.fit) for k, v in families.items()], data),
            emergence=analysis if isinstance(analysis, Verdicts) else None,
            left_out=_left_out(runs, families),
            config=None if config is None else json.dumps(config, indent=2, default=str, ensure_ascii=False),
            versions=dict(versions) if versions is not None else installed_versions(),
        )
    )
    paths["report.html"] = directory / "report.html"
    part = directory / "report.html.part"
    part.write_text(page, encoding="utf-8")
    part.replace(paths["report.html"])
    return paths


def installed_versions() -> dict[str, str]:
    """Python's and the relevant packages' versions; packages that are not installed are left out."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(_TEMPLATE.parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    for filter_ in (markup.number, markup.quantity, markup.percent, markup.interval, markup.duration):
        environment.filters[filter_.__name__] = filter_
    environment.filters |= {"symbol": markup.symbol, "title_of": style.title}
    environment.globals["quantity"] = markup.quantity
    return environment


def _title(table: pd.DataFrame) -> str:
    names = table["sweep"].dropna().astype(str).unique() if "sweep" in table else []
    return names[0] if len(names) == 1 and names[0] else "Scaling report"


def _summary(table: pd.DataFrame) -> dict[str, Any]:
    """What the page says of the runs at its head."""
    finished = table[table["status"] == "finished"]
    seconds = pd.to_numeric(table["seconds"], errors="coerce").sum() if "seconds" in table else float("nan")
    devices = table["device_kind"].dropna().unique() if "device_kind" in table else []
    return {
        "runs": len(table),
        "roles": table["role"].tolist(),
        "statuses": table["status"].value_counts().to_dict(),
        "sizes": finished["params"].nunique(),
        "smallest": finished["params"].min(),
        "largest": finished["params"].max(),
        "flops": table["flops"].sum(),
        "seconds": seconds or float("nan"),
        "devices": [str(device) for device in devices],
    }


def _families(analysis: Analysis | Families | Verdicts | None) -> dict[str, Family]:
    """Name -> what was found; an analysis of all runs is one family without a name. Verdicts are no laws."""
    if isinstance(analysis, Families):
        return analysis.families
    return {"": Family(analysis)} if isinstance(analysis, Analysis) else {}


def _rows_of(table: pd.DataFrame, analysis: Analysis | Families, name: str) -> np.ndarray:
    """Which rows are of a family, bool [rows]."""
    if isinstance(analysis, Families):
        return (table[analysis.by].astype(str) == name).to_numpy()
    return np.ones(len(table), dtype=bool)


def _part(name: str, family: Family) -> dict[str, Any]:
    """What the page says of one family."""
    analysis = family.analysis
    return {
        "name": name,
        "prefix": prefix_of(name),
        "analysis": analysis,
        "laws": [_law(fit, analysis) for fit in _chosen_first(analysis)],
        "budgets": _budgets(analysis),
        "frontiers": [
            {"column": column, "law": _law(found.fit, found), "forecasts": found.forecasts}
            for column, found in family.frontiers.items()
        ],
        "frontier_warnings": family.warnings,
    }


def _budgets(analysis: Analysis) -> list[dict[str, Any]]:
    """The budgets that the analysis was asked for; else three powers of ten from the largest fitted run."""
    if analysis.budgets or not analysis.fit.law.allocates:
        return analysis.budgets
    first = math.ceil(math.log10(analysis.fit.ranges["flops"][1]))
    return [analysis.fit.allocation(10.0**exponent) for exponent in range(first, first + 3)]


def _chosen_first(analysis: Analysis) -> list[Fit]:
    return sorted(analysis.fits.values(), key=lambda fit: fit.law.name != analysis.choice)


def _law(fit: Fit, analysis: Analysis) -> dict[str, Any]:
    """What the page says of one fitted law."""
    intervals = fit.intervals
    scores = {} if analysis.backtest is None else analysis.backtest.scores
    data = "examples" if analysis.columns.get("tokens") == "examples" else "tokens"
    return {
        "name": fit.law.name,
        "chosen": fit.law.name == analysis.choice,
        "formula": markup.formula(fit.law.text),
        "with_numbers": markup.formula(fit.law.text, fit.parameters),
        "citation": fit.law.citation,
        "parameters": [
            {
                "name": parameter.name,
                "value": fit.parameters[parameter.name],
                "interval": intervals[parameter.name],
                "meaning": parameter.meaning.replace("tokens", data),
            }
            for parameter in fit.law.parameters
        ],
        "objective": fit.objective,
        "delta": fit.delta,
        "scatter": fit.residual_scatter,
        "backtest": scores.get(fit.law.name),
        "cost": markup.formula(str(fit.cost)),
        "resamples": len(fit.samples),
        "rows": len(fit.rows_used),
        "certificate": {key.replace("_", " "): _plain(value) for key, value in fit.certificate.items()},
        "warnings": fit.warnings,
    }


def _plain(value: Any) -> Any:
    """A certificate's entry for reading."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return markup.number(value, 3) if isinstance(value, float) else str(value)
    return ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)


def _left_out(runs: Runs | pd.DataFrame, families: dict[str, Family]) -> list[tuple[str, str]]:
    """Rows that the fits did not use and why, each once."""
    rows = list(runs.left_out) if isinstance(runs, Runs) else []
    rows += [row for family in families.values() for row in family.analysis.fit.rows_left_out]
    return list(dict.fromkeys((str(row), str(reason)) for row, reason in rows))

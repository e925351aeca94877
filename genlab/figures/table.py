"""The table of runs as figures and the report need it: every run, typed, in canonical columns."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from genlab.scaling.metrics_column import parse_metrics, with_metrics
from genlab.scaling.runs import FLOPS_PER_PARAM_TOKEN, Runs

_NUMBERS = ("params", "tokens", "flops", "loss", "loss_se")


class Curve(NamedTuple):
    """A run's learning curve: training FLOPs spent and the loss there, [points] each, finite."""

    flops: np.ndarray
    loss: np.ndarray


def run_table(runs: Runs | pd.DataFrame, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Every run, whatever became of it, with name, role, status and numeric canonical columns.

    Args:
      runs: the whole run table as a DataFrame, so that failed runs are seen too; or `Runs`, which
        have only what a fit may use.
      columns: canonical name -> the table's own where they differ, as in `Analysis.columns`.

    Returns:
      A copy; names default to row numbers, roles to "grid", statuses to "finished"; `flops` to
      6 N D; numbers that are not there are NaN.
    """
    frame = (runs.frame if isinstance(runs, Runs) else runs).copy()
    named = with_metrics(frame)
    frame = frame.assign(**{canonical: named[name] for canonical, name in (columns or {}).items() if name in named})
    for name, default in (("role", "grid"), ("status", "finished")):
        column = frame[name] if name in frame else pd.Series(pd.NA, index=frame.index)
        frame[name] = column.fillna(default).astype(str)
    numbered = pd.Series([f"run {row}" for row in frame.index], index=frame.index)
    frame["name"] = frame["name"].fillna(numbered).astype(str) if "name" in frame else numbered
    for name in _NUMBERS:
        column = frame[name] if name in frame else pd.Series(np.nan, index=frame.index)
        frame[name] = pd.to_numeric(column, errors="coerce").astype(float)
    six_n_d = FLOPS_PER_PARAM_TOKEN * frame["params"] * frame["tokens"]
    frame["flops"] = frame["flops"].fillna(six_n_d)
    return frame


def table_columns(runs: Runs | pd.DataFrame, columns: Mapping[str, str]) -> dict[str, str]:
    """The columns of an analysis (`Analysis.columns`), with examples for tokens where the table counts no tokens."""
    frame = runs.frame if isinstance(runs, Runs) else runs
    counted = [name for name in ("tokens", "examples") if name in frame and frame[name].notna().any()]
    return {**({"tokens": "examples"} if counted == ["examples"] else {}), **columns}


def loss_unit(table: pd.DataFrame, columns: Mapping[str, str] | None = None) -> str:
    """The unit of the loss in the run record, "" where it is not known.

    Nats per token where runs count tokens; nats per example where they count examples and classify them, which
    shows in their accuracy.
    """
    data = (columns or {}).get("tokens", "tokens")
    if "loss" in (columns or {}) or not (table["tokens"] > 0).any():
        return ""
    classify = "metrics" in table and any("accuracy" in parse_metrics(cell) for cell in table["metrics"])
    return {"tokens": "nats per token", "examples": "nats per example" if classify else ""}.get(data, "")


def loss_label(unit: str) -> str:
    """The label of a loss axis."""
    return f"loss ({unit})" if unit else "loss"


def measured(table: pd.DataFrame) -> pd.DataFrame:
    """The runs that ended well and have a size, a compute and a loss: what a figure can show."""
    positive = (table[["params", "flops", "loss"]] > 0).all(axis=1)
    return table[(table["status"] == "finished") & positive & np.isfinite(table["loss"])]


def learning_curve(run: pd.Series) -> Curve:
    """The learning curve of one row; empty where the table has none."""
    text = run.get("curve", "")
    pairs = [point.split(":") for point in text.split()] if isinstance(text, str) else []
    steps, losses = np.array([[float(x) for x in pair] for pair in pairs]).reshape(-1, 2).T
    total = run.get("steps", np.nan)
    total = float(total) if pd.notna(total) else (steps[-1] if len(steps) else np.nan)
    flops = run["flops"] * steps / total
    good = np.isfinite(flops) & np.isfinite(losses) & (flops > 0) & (losses > 0)
    return Curve(flops[good], losses[good])


def not_shown(table: pd.DataFrame, shown: pd.DataFrame) -> str:
    """How many runs a figure leaves out and why: "2 of 22 runs not shown: 1 diverged, 1 failed"."""
    missing = table.loc[table.index.difference(shown.index), "status"]
    if missing.empty:
        return ""
    reasons = missing.replace("finished", "without numbers").value_counts()
    parts = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    return f"{len(missing)} of {len(table)} runs not shown: {parts}"

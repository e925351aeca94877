"""The run record's column `metrics`, JSON objects such as {"error": 0.31, "error_se": 0.005}, as columns by name."""

import json
from typing import Any

import pandas as pd


def with_metrics(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with a column for each number in its column `metrics`; NaN where a run does not have it.

    A column that holds numbers already is left as it is. In a run record `error` says in words why a run failed;
    where the metrics have an error rate of that name, the column is that.
    """
    if "metrics" not in frame:
        return frame
    found = pd.DataFrame([parse_metrics(cell) for cell in frame["metrics"]], index=frame.index)
    found = found.apply(pd.to_numeric, errors="coerce").dropna(axis="columns", how="all")
    taken = [name for name in found if name in frame and pd.to_numeric(frame[name], errors="coerce").notna().any()]
    kept = found.drop(columns=taken)
    frame = frame.assign(**{name: kept[name] for name in kept if name in frame})
    return pd.concat([frame, kept[[name for name in kept if name not in frame]]], axis="columns")


def parse_metrics(cell: Any) -> dict[str, Any]:
    """The metrics in a cell; empty for what is no JSON object: another table's column may hold anything."""
    try:
        found = json.loads(cell) if isinstance(cell, str) else {}
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}

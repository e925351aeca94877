"""From tables of three kinds to one long table of abilities, without a judgement on any number in it.

  run records   genlab's own runs.csv: every evaluation of every run, from the columns `evaluations` and `metrics`
  wide          somebody's table with a column a task, one row a model
  long          somebody's table with one row a model, task and metric: columns `task`, `value`, and perhaps `metric`
"""

import difflib
import fnmatch
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from genlab.scaling.emergence.metrics import METRICS, canonical, task_and_metric
from genlab.scaling.metrics_column import parse_metrics

OF_RUN = ("run", "seed", "step", "flops", "params", "tokens", "loss", "family", "role")
OF_VALUE = ("task", "metric", "value", "standard_error", "examples", "chance", "answer_length")
_COMPANIONS = ("chance", "examples", "answer_length")
_NUMBERS = ("seed", "step", "flops", "params", "tokens", "loss", "value", "standard_error", *_COMPANIONS)


def long_table(frame: pd.DataFrame, tasks: str, source: str) -> pd.DataFrame:
    """One row an ability measured: the columns `OF_RUN` and `OF_VALUE`; NaN where the table does not say.

    Args:
      frame: a table with canonical names where it has them.
      tasks: of a wide table, its columns, with commas in between: COLUMN, a pattern (`acc_*`), or TASK/METRIC=COLUMN,
        which may end in *NUMBER, a factor (percent: MMLU*0.01). Of other tables patterns of tasks; empty for all.
      source: what to call the table in messages.

    Raises:
      ValueError: no task, or a name that the table does not have (the message says the nearest one).
    """
    if {"task", "value"} <= set(frame):
        rows, kept = _long(frame), tasks
    elif "/" in "".join(map(str, frame.get("metrics", ()))) or "evaluations" in frame:
        # Records keep their metrics by the alphabet, where 10shot comes before 2shot.
        named = pd.DataFrame(_of_records(frame), columns=[*OF_VALUE, *OF_RUN])
        rows, kept = named.sort_values("task", key=_natural, kind="stable"), tasks
    else:
        rows, kept = _wide(frame, tasks, source), ""
    if not len(rows):
        raise ValueError(f"{source} holds no evaluation of a task: no TASK/METRIC among its metrics")
    rows = rows.reindex(columns=[*OF_VALUE, *OF_RUN])
    for _, values in rows.groupby("task", sort=False)["value"]:
        _numbers(values, f"{source}: the values of {rows.loc[values.index[0], 'task']}")
    for name in _NUMBERS:
        rows[name] = _numbers(rows[name], f"{source}: {name}")
    rows["role"] = rows["role"].fillna("grid").astype(str)
    rows = _named_apart(rows[np.isfinite(rows["value"])])
    return _only(rows, kept, source) if kept else rows


def _natural(names: pd.Series) -> pd.Series:
    """What orders names by the numbers in them."""
    return names.str.replace(r"\d+", lambda number: number[0].zfill(9), regex=True)


def _named_apart(rows: pd.DataFrame) -> pd.DataFrame:
    """Runs of one name and several seeds are several runs: "small, seed 0" and so on."""
    several = rows["seed"].notna() & (rows.groupby("run")["seed"].transform("nunique") > 1)
    apart = rows["run"].astype(str) + ", seed " + rows["seed"].map("{:g}".format)
    return rows.assign(run=rows["run"].where(~several, apart))


def nearest(name: str, there: list[str]) -> str:
    """What to say of a name that is not there: the nearest right one, else all."""
    near = difflib.get_close_matches(name, there, n=1, cutoff=0.5)
    near = near or [one for one in there if name and name.lower() in one.lower()][:1]
    shown = ", ".join(there[:12]) + (", ..." if len(there) > 12 else "")
    return f"did you mean {near[0]!r}?" if near else f"there are: {shown}"


def rename(frame: pd.DataFrame, columns: Mapping[str, str], source: str) -> pd.DataFrame:
    """The table with canonical columns (the keys); a value is a column, or COLUMN*NUMBER, that many times it.

    Raises:
      ValueError: no such column.
    """
    return frame.assign(**{canonical: _column(frame, own, source) for canonical, own in columns.items()})


def _column(frame: pd.DataFrame, own: str, source: str) -> pd.Series:
    name, star, factor = own.rpartition("*")
    if own in frame or not star:
        if own not in frame:
            raise ValueError(f"{source} has no column {own!r}; {nearest(own, [str(name) for name in frame])}")
        return frame[own]
    if name not in frame:
        raise ValueError(f"{source} has no column {name!r}; {nearest(name, [str(name) for name in frame])}")
    numbers = _numbers(frame[name], f"{source}: {name!r}")
    try:
        return numbers * float(factor)
    except ValueError:
        raise ValueError(f"{own!r}: {factor!r} is not a number; a column and a factor are NAME*1e21") from None


def _numbers(values: pd.Series, what: str) -> pd.Series:
    """Values as numbers, NaN for what is none.

    Raises:
      ValueError: none of them is one, though they are not empty.
    """
    found = pd.to_numeric(values, errors="coerce").astype(float)
    if found.isna().all() and (text := values.dropna()).size:
        raise ValueError(f"{what}: {text.iloc[0]!r} is not a number; write it without a unit or a sign of percent")
    return found


def _long(frame: pd.DataFrame) -> pd.DataFrame:
    if "metric" not in frame:
        split = [task_and_metric(str(name)) for name in frame["task"]]
        frame = frame.assign(task=[task for task, _ in split], metric=[metric for _, metric in split])
    return _with_run(frame.assign(metric=[canonical(str(name)) for name in frame["metric"]]))


def _with_run(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs by name; where the table has no names, every row is a run."""
    if "run" in frame:
        return frame
    named = "name" in frame and frame["name"].notna().all()
    return frame.assign(run=frame["name"].astype(str) if named else [f"row {row}" for row in frame.index])


def _wide(frame: pd.DataFrame, tasks: str, source: str) -> pd.DataFrame:
    there = [str(name) for name in frame]
    pieces = [piece.strip() for piece in tasks.split(",") if piece.strip()]
    if not pieces:
        raise ValueError(
            f"{source} is a table with a column a task: name them, --tasks=COLUMN,COLUMN or a pattern such as acc_*; "
            f"{nearest('', there)}"
        )
    parts = []
    runs = _with_run(frame).reindex(columns=[*OF_RUN])
    for piece in pieces:
        name, equals, own = (part.strip() for part in piece.partition("="))
        columns = [own or name] if equals or name in there else fnmatch.filter(there, name) or [name]
        for column in columns:
            task, metric = task_and_metric(name if equals else column)
            parts.append(runs.assign(task=task, metric=metric, value=_column(frame, column, source)))
    return pd.concat(parts, ignore_index=True)


def _only(rows: pd.DataFrame, tasks: str, source: str) -> pd.DataFrame:
    there = list(dict.fromkeys(rows["task"]))
    kept: set[str] = set()
    for pattern in filter(None, (piece.strip() for piece in tasks.split(","))):
        found = fnmatch.filter(there, pattern)
        if not found:
            raise ValueError(f"{source} has no task {pattern!r}; {nearest(pattern, there)}")
        kept |= set(found)
    return rows[rows["task"].isin(kept)]


def _of_records(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Every number of every evaluation of every run; a run without a history has its final metrics."""
    frame = _with_run(frame)
    shared = frame.reindex(columns=[*OF_RUN]).to_dict("records")
    for run, final, history in zip(shared, *(_cells(frame, name) for name in ("metrics", "evaluations")), strict=True):
        points = _history(history) or [{"metrics": parse_metrics(final)}]
        for point in points:
            at = {name: point[name] for name in ("step", "flops", "tokens", "loss") if point.get(name) is not None}
            yield from ({**run, **at, **value} for value in _values(point.get("metrics") or {}))


def _cells(frame: pd.DataFrame, name: str) -> list[Any]:
    return list(frame[name]) if name in frame else [None] * len(frame)


def _history(cell: Any) -> list[dict[str, Any]]:
    try:
        found = json.loads(cell) if isinstance(cell, str) else cell
    except json.JSONDecodeError:
        return []
    return [point for point in found if isinstance(point, dict)] if isinstance(found, list | tuple) else []


def _values(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The abilities among an evaluation's metrics, each with its standard error and its companions."""
    for name, value in metrics.items():
        task, slash, metric = name.rpartition("/")
        if not slash or metric not in METRICS or value is None:
            continue
        companions = {one: metrics.get(f"{name}/{one}", metrics.get(f"{task}/{one}")) for one in _COMPANIONS}
        error = metrics.get(f"{name}_se")
        yield {"task": task, "metric": metric, "value": value, "standard_error": error, **companions}


def parse_levels(text: str, what: str) -> Callable[[str, str], float]:
    """Numbers by task: "0.25", or "mmlu=0.25,parsinlu*=0.25,*=0": patterns of a task or TASK/METRIC, first match wins.

    Returns:
      `level(task, metric)`, NaN where nothing matches.

    Raises:
      ValueError: a piece of another form.
    """
    levels: list[tuple[str, float]] = []
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        pattern, equals, number = (part.strip() for part in piece.rpartition("="))
        try:
            levels.append((pattern if equals else "*", float(number)))
        except ValueError:
            raise ValueError(f"{what}: {piece!r} is not TASK=NUMBER or a number; e.g. {what}=mmlu=0.25,*=0") from None

    def level(task: str, metric: str) -> float:
        names = (f"{task}/{metric}", task)
        found = (number for pattern, number in levels
                 if pattern in names or any(fnmatch.fnmatchcase(name, pattern) for name in names))  # fmt: skip
        return next(found, float("nan"))

    return level


def decimals(values: np.ndarray) -> int:
    """The most digits after the point that a column's numbers were written with."""
    texts = (np.format_float_positional(value, trim="-") for value in values)
    return max((len(re.sub(r"^[^.]*\.?", "", text)) for text in texts), default=0)

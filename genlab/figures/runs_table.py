"""The report's table of runs: which columns it has, how cells read, and by what they sort."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from genlab.figures import markup
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.metrics_column import parse_metrics


class Cell(NamedTuple):
    """What a cell shows and the value it sorts by; None sorts last."""

    html: Markup
    key: Any


class Column(NamedTuple):
    """A column: its title, what it means, its cells, one a run, and the CSS classes of these.

    "n" holds numbers, "long" text that may wrap, and "extra" is left out on paper.
    """

    title: str
    meaning: str
    cells: list[Cell]
    classes: str


def run_columns(table: pd.DataFrame, fits: Sequence[tuple[np.ndarray, Fit]] = (), data: str = "tokens") -> list[Column]:
    """The columns that have anything to say of these runs, for the report.

    Args:
      table: from `run_table`.
      fits: (which runs, bool [rows]; the law that speaks of them): adds what it says of each run.
      data: what the column `tokens` counts.
    """
    table = table.assign(**_of_laws(table, fits))
    if "family" in table and table["family"].nunique() < 2:
        table = table.drop(columns="family")
    results, extras = (
        [_column(table, *_counting(column, data)) for column in columns if _says_anything(table, column[0])]
        for columns in (_RESULTS, _EXTRAS)
    )
    extras = [*_metric_columns(table), *extras]
    return results + [extra._replace(classes=f"{extra.classes} extra".strip()) for extra in extras]


def _says_anything(table: pd.DataFrame, name: str) -> bool:
    return name in table and any(markup.is_known(value) for value in table[name])


def _of_laws(table: pd.DataFrame, fits: Sequence[tuple[np.ndarray, Fit]]) -> dict[str, np.ndarray]:
    predicted = np.full(len(table), np.nan)
    for rows, fit in fits:
        if set(fit.law.inputs) <= set(table):
            part = table[rows]
            inputs = {name: pd.to_numeric(part[name], errors="coerce").to_numpy(float) for name in fit.law.inputs}
            predicted[rows] = fit.predict(**inputs)
    if np.isnan(predicted).all():
        return {}
    return {"predicted": predicted, "relative_error": predicted / table["loss"].to_numpy() - 1}


def _counting(column: tuple, data: str) -> tuple:
    """The column with what the runs were trained on in place of tokens."""
    name, title, meaning, form = column
    return name, title.replace("tokens", data), meaning.replace("tokens", data), form


def _column(table: pd.DataFrame, name: str, title: str, meaning: str, form) -> Column:
    numeric = form not in (_text, _role, _status, _error_message)
    values = table[name].tolist()
    if numeric:
        values = pd.to_numeric(table[name], errors="coerce").tolist()
    known = [value if markup.is_known(value) else None for value in values]
    cells = [Cell(markup.NOT_KNOWN if value is None else form(value), value) for value in known]
    if name == "loss" and "loss_se" in table:
        cells = [_with_error(*pair) for pair in zip(cells, table["loss_se"], strict=True)]
    classes = "n" if numeric else "long" if form is _error_message else ""
    return Column(title, meaning, cells, classes)


def _with_error(cell: Cell, error: float | None) -> Cell:
    if cell.key is None or not markup.is_known(error):
        return cell
    return Cell(cell.html + Markup(f'<span class="se">±{error:.4f}</span>'), cell.key)


def _metric_columns(table: pd.DataFrame, most: int = 6) -> list[Column]:
    """A column for each further final metric of the record's JSON cell, with its standard error."""
    if "metrics" not in table:
        return []
    rows = [parse_metrics(cell) for cell in table["metrics"]]
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if name.removesuffix("_se") == name or name.removesuffix("_se") not in names]
    names = [name for name in names if "/" not in name]  # abilities have figures of their own
    found = []
    for name in names[:most]:
        # `error` is the record's word for why a run failed.
        title = "error rate" if name == "error" else name.replace("_", " ")
        column = _column(pd.DataFrame({name: [row.get(name) for row in rows]}), name, title, "final metric", _number)
        errors = [row.get(f"{name}_se") for row in rows]
        cells = [_with_error(*pair) for pair in zip(column.cells, errors, strict=True)]
        found.append(column._replace(cells=cells))
    return found


def _text(value: Any) -> Markup:
    return escape(value)


def _error_message(value: Any) -> Markup:
    return escape(value)


def _status(value: Any) -> Markup:
    return Markup('<span class="status {0}">{0}</span>').format(value)


def _role(value: Any) -> Markup:
    return escape(str(value).replace("_", " "))


def _short(value: float) -> Markup:
    return markup.number(value, 3)


def _number(value: float) -> Markup:
    return markup.number(value, 4)


def _loss(value: float) -> Markup:
    return markup.number(value, 5)


def _error(value: float) -> Markup:
    return markup.percent(value, 2)


def _share(value: float) -> Markup:
    return Markup(f"{100 * value:.1f}&thinsp;%")


def _whole(value: float) -> Markup:
    return Markup(f"{value:,.0f}")


_RESULTS = (
    ("name", "run", "name of the run", _text),
    ("family", "family", "what was trained", _text),
    ("status", "status", "what became of the run", _status),
    ("params", "parameters", "trained parameters that the law counts", markup.quantity),
    ("tokens", "tokens", "training tokens seen, repeats counted", markup.quantity),
    ("flops", "FLOPs", "training compute", _short),
    ("loss", "loss", "final loss on held-out data, with its standard error", _loss),
    ("predicted", "law", "what the fitted law says of this run", _loss),
    ("relative_error", "law's error", "law over measured, minus one", _error),
    ("role", "role", "grid: the fit may use it; held out: only to check forecasts", _role),
)
_EXTRAS = (
    ("train_loss", "training loss", "over the end of training", _loss),
    ("params_non_embedding", "non-embedding", "parameters without embeddings", markup.quantity),
    ("epochs", "epochs", "passes over the training data", _short),
    ("batch_size", "batch", "examples of one update", _whole),
    ("steps", "steps", "updates made", _whole),
    ("seed", "seed", "of initialisation and data order", _whole),
    ("seconds", "time", "wall time, compilation and evaluations included", markup.duration),
    ("compile_seconds", "compilation", "wall time of tracing and compilation", markup.duration),
    ("input_seconds", "input wait", "wall time of waits for training batches", markup.duration),
    ("evaluation_seconds", "evaluation", "wall time of evaluations", markup.duration),
    ("tokens_per_second", "tokens/s", "training throughput", _short),
    ("mfu", "MFU", "share of the device's peak FLOP/s", _share),
    ("device_count", "devices", "devices that the run used", _whole),
    ("device_kind", "device", "their own name", _text),
    ("attempts", "attempts", "times the run was tried", _whole),
    ("error", "error", "why it failed or diverged", _error_message),
)

"""A table of training runs with canonical columns: `params`, `tokens`, `flops`, `loss`.

Any CSV will do: genlab's own run table, a table read off a published figure, somebody else's sweep.
Rows that cannot be used are left out by name, with the reason; a table that cannot be used is an
error of one line.
"""

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from genlab.scaling.metrics_column import with_metrics

FLOPS_PER_PARAM_TOKEN = 6.0  # C = 6 N D: forward 2, backward 4 (Kaplan et al. 2020, section 2.1).
_POSITIVE = (
    *("params", "tokens", "unique_tokens", "flops", "loss", "x"),
    *("flops_min", "steps_min", "critical_batch_tokens", "learning_rate", "batch_size"),
)
_SHARES = ("accuracy", "error")  # of 1, with some noise; beyond this they are percent
_NOT_A_SHARE = 1.5
_EXPRESSION_ERRORS = (
    *(SyntaxError, NameError, TypeError, ValueError, KeyError, AttributeError, NotImplementedError),
    *(IndexError, ArithmeticError, RecursionError),
)


class LeftOut(NamedTuple):
    """A row that was not used, and why.

    Attributes:
      row: the run's name where the table has unique names, else its row number counted from 0.
      reason: in words.
    """

    row: str | int
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """A table of runs: canonical columns beside whatever else the file had.

    Attributes:
      frame: one row a run; the index is the row's number in the file, counted from 0.
      left_out: the rows that are no longer in `frame`, with the reason.
      source: where the table came from, for messages.
      filtered: of those, the rows that only the reader's own expression left out: `unfiltered` has them.
      columns: canonical name -> the column of the table it was read from, where they differ.
      embeddings: whether `params` counts the embeddings: "included", "excluded", or "" if nobody said.
    """

    frame: pd.DataFrame
    left_out: tuple[LeftOut, ...] = ()
    source: str = "the table"
    filtered: pd.DataFrame | None = None
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    embeddings: Literal["included", "excluded", ""] = ""
    by_name: bool | None = None

    def __len__(self) -> int:
        return len(self.frame)

    @functools.cached_property
    def names(self) -> list[str | int]:
        """One identity a row: its name where the table has unique names, else its row number."""
        by_name = _has_names(self.frame) if self.by_name is None else self.by_name
        return [str(name) for name in self.frame["name"]] if by_name else [int(row) for row in self.frame.index]

    @property
    def grid(self) -> "Runs":
        """The runs a law may be fitted to: all but those whose `role` is held_out."""
        return self._with(self._role != "held_out", "held out")

    @property
    def held_out(self) -> "Runs":
        """The runs kept from every fit (`role` held_out), to check forecasts against."""
        return self._with(self._role == "held_out")

    @property
    def unfiltered(self) -> "Runs":
        """These rows and those that the expression of `read_runs` left out: what a fit could have used."""
        if self.filtered is None or not len(self.filtered):
            return self
        frame = pd.concat([self.frame, self.filtered]).sort_index()
        return dataclasses.replace(self, frame=frame, left_out=(), filtered=None)

    @property
    def _role(self) -> pd.Series:
        return self.frame.get("role", pd.Series("grid", index=self.frame.index))

    def has(self, name: str) -> bool:
        """Whether `column(name)` has something to return."""
        if name in self.frame and self.frame[name].notna().any():
            return True
        return name == "flops" and {"params", "tokens"} <= set(self.frame)

    def column(self, name: str) -> np.ndarray:
        """A column as float64, [rows]; `flops` is 6 params tokens in a table that does not have it.

        Raises:
          ValueError: there is no such column.
        """
        by_rule = name == "flops" and {"params", "tokens"} <= set(self.frame)
        if name in self.frame and not (by_rule and self.frame[name].isna().all()):
            return pd.to_numeric(self.frame[name], errors="coerce").to_numpy(dtype=np.float64)
        if by_rule:
            return FLOPS_PER_PARAM_TOKEN * self.column("params") * self.column("tokens")
        raise ValueError(f"{self.source} has no column {name!r}; {_there_are(self.frame)}")

    def where(self, expression: str, reason: str = "") -> "Runs":
        """The rows for which a pandas expression holds, e.g. `"width >= 32 and seed == 0"`.

        Args:
          expression: as for `pandas.DataFrame.query`.
          reason: noted for the rows that go; by default the expression itself.

        Raises:
          ValueError: the expression cannot be evaluated, or is not true or false for each row.
        """
        keep = self.matches(expression)
        return self._with(keep, reason or f"not ({expression})")

    def matches(self, expression: str) -> np.ndarray:
        """Whether a pandas expression holds, bool [rows]; errors as for `where`."""
        try:
            found = self.frame.eval(expression, local_dict={}, global_dict={}, engine="python")
        except _EXPRESSION_ERRORS as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            problem = f"cannot evaluate the expression {expression!r}: {why}"
            raise ValueError(f"{problem}; {_there_are(self.frame)}") from None
        if isinstance(found, bool | np.bool_):
            return np.full(len(self.frame), bool(found))
        if np.shape(found) != (len(self.frame),) or not pd.api.types.is_bool_dtype(found):
            raise ValueError(f"the expression {expression!r} is not true or false for each row")
        return np.asarray(found)

    def hold_out(self, expression: str) -> "Runs":
        """The same rows, those that an expression matches with the role held_out and no others.

        Raises:
          ValueError: a bad expression, or one that matches no row or every row.
        """
        held = self.matches(expression)
        if not held.any() or held.all():
            which = "every row" if held.all() else "no row"
            raise ValueError(f"the expression {expression!r} matches {which} of {self.source}")
        kept = self.filtered
        if kept is not None and len(kept):
            kept = kept[~Runs(kept).matches(expression)]
        roles = np.where(held, "held_out", "grid")
        return dataclasses.replace(self, frame=self.frame.assign(role=roles), filtered=kept)

    def require(self, names: tuple[str, ...]) -> "Runs":
        """The rows with a finite value in each of these columns; the others are left out.

        Raises:
          ValueError: a missing column, a value that is not a number, or one that is not positive
            where only positive ones have a meaning.
        """
        frame = self.frame.copy()
        for name in names:
            frame[name] = numbers = self.column(name)
            given = self.frame[name].notna() if name in self.frame else False
            wrong = np.isnan(numbers) & given
            if np.any(wrong):
                row = wrong.idxmax()
                what = f"{name} is {self.frame[name][row]!r}, which is not a number"
                raise ValueError(f"{self.source}, row {row}: {what}")
        runs = dataclasses.replace(self, frame=frame)
        for name in names:
            runs = runs._with(np.isfinite(runs.column(name)), f"no finite value of {name}")
            values = runs.frame[name]
            if name in _POSITIVE and (values <= 0).any():
                row = (values <= 0).idxmax()
                what = f"{name} is {values[row]:g}; it must be positive"
                raise ValueError(f"{self.source}, row {row}: {what}")
            if name in _SHARES and (values > _NOT_A_SHARE).any():
                row = values.idxmax()
                own = f" (column {self.columns[name]!r})" if name in self.columns else ""
                what = f"{name}{own} is {values[row]:g}; it must be a share between 0 and 1 (percent / 100)"
                raise ValueError(f"{self.source}, row {row}: {what}")
        return runs

    def rename(self, columns: Mapping[str, str]) -> "Runs":
        """Reads canonical columns (the keys) from other columns of the table (the values).

        Raises:
          ValueError: the table has no such column.
        """
        kept = self.filtered
        return dataclasses.replace(
            self,
            frame=_rename(self.frame, dict(columns), self.source),
            columns={**self.columns, **columns},
            filtered=kept if kept is None else _rename(kept, dict(columns), self.source),
        )

    def by(self, column: str) -> "dict[str, Runs]":
        """The rows of each value of a column, in the order of the table; rows without a value are in none.

        Raises:
          ValueError: there is no such column, or no value in it.
        """
        if column not in self.frame or self.frame[column].isna().all():
            raise ValueError(f"{self.source} has no column {column!r} to group by; {_there_are(self.frame)}")
        values = self.frame[column]
        return {str(value): self.take((values == value).to_numpy()) for value in values.dropna().unique()}

    def take(self, positions: np.ndarray) -> "Runs":
        """The rows at these positions (a bool mask or integers), with nothing noted as left out."""
        frame = self.frame[positions] if positions.dtype == bool else self.frame.iloc[positions]
        return dataclasses.replace(self, frame=frame, left_out=(), filtered=None)

    def _with(self, keep, reason: str = "") -> "Runs":
        keep = np.asarray(keep, dtype=bool)
        gone = [LeftOut(name, reason) for name, kept in zip(self.names, keep, strict=True) if not kept]
        left_out = self.left_out + (tuple(gone) if reason else ())
        return dataclasses.replace(self, frame=self.frame[keep], left_out=left_out)


def read_runs(
    table: str | os.PathLike | pd.DataFrame,
    columns: str | Mapping[str, str] | None = None,
    where: str = "",
    needed: tuple[str, ...] | None = None,
    embeddings: Literal["included", "excluded", ""] = "",
) -> Runs:
    """Reads a table of runs from a CSV file or a DataFrame, and checks what a fit relies on.

    Rows that are not `finished` (where the table has a `status`) and rows without a value in a needed
    column are left out, with the reason. The entries of a column `metrics` become columns, see `with_metrics`.

    Args:
      table: path of a CSV file, or a DataFrame.
      columns: canonical name -> the table's own name, as a mapping or as "params=N,tokens=D,loss=loss".
        Both names can be used in expressions.
      where: a pandas expression; the rows that do not match are left out.
      needed: canonical columns that must be there; by default params, tokens and loss, or x and loss where
        `columns` says which column is x.
      embeddings: whether `params` counts the embeddings, if that is known.

    Raises:
      FileNotFoundError: no such file.
      ValueError: an empty file, a needed column that is missing or not numeric, a loss (or a number of
        parameters, tokens or FLOPs) that is not positive, or no row left; one line each.
    """
    source = "the table" if isinstance(table, pd.DataFrame) else os.path.basename(os.fspath(table))
    frame = with_metrics(read_frame(table, source))
    columns = parse_columns(columns)
    frame = _rename(frame, columns, source)
    if needed is None:
        needed = ("x", "loss") if "x" in columns else ("params", "tokens", "loss")
    missing = [name for name in needed if name not in frame]
    if missing:
        hint = f"name it with columns, e.g. {missing[0]}=NAME; {_there_are(frame)}"
        raise ValueError(f"{source} has no column {missing[0]!r}; {hint}")
    runs = Runs(frame, source=source, columns=columns, embeddings=embeddings, by_name=_has_names(frame))
    dropped = None
    if where:
        every, runs = runs, runs.where(where)
        dropped = _finished_only(every.take(~every.matches(where))).grid.frame
    runs = dataclasses.replace(_finished_only(runs).require(needed), filtered=dropped)
    if "flops" in runs.frame and (wrong := runs.column("flops") <= 0).any():
        row, value = runs.frame.index[wrong][0], runs.column("flops")[wrong][0]
        hint = " (an integer that overflowed?)" if value < -1e15 else ""
        raise ValueError(f"{source}, row {row}: flops is {value:g}; it must be positive{hint}")
    if not len(runs):
        why = f" (first reason: {runs.left_out[0].reason})" if runs.left_out else ""
        raise ValueError(f"{source} has no usable row{why}")
    return runs


def parse_columns(columns: str | Mapping[str, str] | None) -> dict[str, str]:
    """Canonical name -> the table's own name, from "params=N,tokens=D" or from a mapping.

    Raises:
      ValueError: a piece that is not of the form CANONICAL=NAME, or a name given twice.
    """
    if columns is None or not isinstance(columns, str):
        return dict(columns or {})
    parsed: dict[str, str] = {}
    for piece in filter(None, (piece.strip() for piece in columns.split(","))):
        canonical, equals, own = (part.strip() for part in piece.partition("="))
        if not (canonical and equals and own) or canonical in parsed:
            raise ValueError(
                f"columns: {piece!r} is not of the form CANONICAL=NAME, each once; "
                "e.g. params=N,tokens=D,loss=loss"
            )
        parsed[canonical] = own
    return parsed


def read_frame(table: str | os.PathLike | pd.DataFrame, source: str) -> pd.DataFrame:
    """A CSV file (or a DataFrame) as it is, rows numbered from 0; `source` names it in errors, those of `read_runs`."""
    if isinstance(table, pd.DataFrame):
        return table.reset_index(drop=True)
    if os.path.isdir(table):
        raise ValueError(f"{os.fspath(table)} is a folder: name a CSV table in it")
    if not os.path.exists(table):
        raise FileNotFoundError(f"there is no table {os.fspath(table)}")
    try:
        return pd.read_csv(table)
    except pd.errors.EmptyDataError:
        raise ValueError(f"{source} is empty: a header line and one row a run are needed") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"{source} is not a CSV table: {str(error).splitlines()[0]}") from None


def _rename(frame: pd.DataFrame, columns: dict[str, str], source: str) -> pd.DataFrame:
    for own in columns.values():
        if own not in frame:
            raise ValueError(f"{source} has no column {own!r}; {_there_are(frame)}")
    return frame.assign(**{canonical: frame[own] for canonical, own in columns.items()})


def _finished_only(runs: Runs) -> Runs:
    if "status" not in runs.frame:
        return runs
    statuses = runs.frame["status"].fillna("missing")
    for status in statuses.unique():
        if status != "finished":
            keep = statuses[runs.frame.index] != status
            runs = runs._with(keep, f"status is {status}, not finished")
    return runs


def _has_names(frame: pd.DataFrame) -> bool:
    return "name" in frame and frame["name"].notna().all() and frame["name"].is_unique


def _there_are(frame: pd.DataFrame) -> str:
    names = [str(name) for name in frame.columns]
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"there are: {shown}"

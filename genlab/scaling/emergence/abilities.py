"""Abilities of many models on many tasks: one long table, checked, whatever kind of table it came from.

Everything here asks the same of every metric: its chance level, the value of one who has learnt nothing but the format.
With it every metric becomes a share: 0 at chance, 1 for one who is always right, whichever way is better. What lies
below chance is the format still being learnt, or noise.
"""

import dataclasses
import os
from collections.abc import Mapping

import numpy as np
import pandas as pd

from genlab.scaling.emergence.metrics import METRICS, SHARP, SMOOTH
from genlab.scaling.emergence.tables import decimals, long_table, nearest, parse_levels, rename
from genlab.scaling.runs import FLOPS_PER_PARAM_TOKEN, LeftOut, Runs, parse_columns, read_frame

FEWEST_SCALES = 3
UNKNOWN_EXAMPLES = 100
_MOST_EXAMPLES = 50_000
_SAME_SCALE = 1e-3  # of the logarithm of the compute
_SHARES = ("exact_match", "multiple_choice_grade", "accuracy", "token_accuracy")


@dataclasses.dataclass(frozen=True, eq=False)
class Abilities:
    """A long table of abilities.

    Attributes:
      frame: one row a value, sorted by compute: task, metric, run, seed, step, flops, params, tokens, loss, family,
        role (grid or held_out), value, standard_error, examples, chance, answer_length, and share (see above).
      source: where it came from, for messages.
      left_out: rows and tasks that are not in it, with the reason.
      notes: what was taken to be so, in words.
    """

    frame: pd.DataFrame
    source: str = "the table"
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def tasks(self) -> list[str]:
        """In the order of the table."""
        return list(dict.fromkeys(self.frame["task"]))

    @property
    def grid(self) -> "Abilities":
        """All but the runs whose role is held_out."""
        return dataclasses.replace(self, frame=self.frame[self.frame["role"] != "held_out"])

    @property
    def held_out(self) -> "Abilities":
        """The runs that only check forecasts."""
        return dataclasses.replace(self, frame=self.frame[self.frame["role"] == "held_out"])

    def metrics(self, task: str) -> list[str]:
        """A task's metrics, in the order of `METRICS`."""
        there = set(self.frame.loc[self.frame["task"] == task, "metric"])
        return [name for name in METRICS if name in there]

    def of(self, task: str, metric: str) -> pd.DataFrame:
        """The rows of one metric of a task."""
        return self.frame[(self.frame["task"] == task) & (self.frame["metric"] == metric)]


def read_abilities(
    table: str | os.PathLike | pd.DataFrame,
    columns: str | Mapping[str, str] | None = None,
    tasks: str = "",
    chance: str = "",
    examples: str = "",
    answer_length: str = "",
    where: str = "",
    hold_out: str = "",
) -> Abilities:
    """Reads any table of abilities; see `tables` for the kinds.

    Args:
      table: a CSV file, or a DataFrame.
      columns: canonical name -> the table's own: "flops=C", or "flops=FLOPs (1E21)*1e21" with a factor. Canonical are
        flops, params, tokens, loss, family, seed, run, and of a long table task, metric, value, standard_error,
        examples, chance, answer_length.
      tasks: which; see `long_table`.
      chance: levels by task (see `parse_levels`); they go before the table's own.
      examples: how many questions a score is of, by task; else what the table says; else what its numbers say, which
        are whole multiples of 1/examples.
      answer_length: in tokens, by task.
      where, hold_out: pandas expressions over the table's columns: the rows that are used at all, and of these the
        ones that are only forecast.

    Raises:
      FileNotFoundError: no such file.
      ValueError: what cannot be used, in one line: no compute, a single scale, a metric without a chance level, a value
        out of range, names that the table does not have.
    """
    source = "the table" if isinstance(table, pd.DataFrame) else os.path.basename(os.fspath(table))
    frame = rename(read_frame(table, source), parse_columns(columns), source)
    runs = _finished(Runs(frame, source=source))
    runs = runs.where(where) if where else runs
    runs = runs.hold_out(hold_out) if hold_out else runs
    rows = _with_compute(long_table(runs.frame, tasks, source), source)
    rows, without = rows[np.isfinite(rows["flops"])], int((~np.isfinite(rows["flops"])).sum())
    left_out = [*runs.left_out, *([LeftOut(f"{without} values", "their compute is not known")] if without else [])]
    rows = _with_levels(rows, {"chance": chance, "examples": examples, "answer_length": answer_length})
    _check(rows, source)
    rows, notes = _with_examples(rows)
    rows, few = _with_scales(rows, source)
    rows = rows.assign(share=_shares(rows)).sort_values("flops", kind="stable").reset_index(drop=True)
    return Abilities(rows, source, (*left_out, *few), tuple(notes))


def _finished(runs: Runs) -> Runs:
    if "status" not in runs.frame:
        return runs
    return runs.where("status == 'finished' or status != status", "not finished")


def _with_compute(rows: pd.DataFrame, source: str) -> pd.DataFrame:
    """Fills flops with 6 N D where they are not known; evaluations before the first update have no compute."""
    rows = rows.assign(flops=rows["flops"].fillna(FLOPS_PER_PARAM_TOKEN * rows["params"] * rows["tokens"]))
    if (rows["flops"] < 0).any():
        worst = rows.loc[rows["flops"].idxmin()]
        overflowed = worst["flops"] < -1e15
        hint = " (an integer that overflowed? name params and tokens instead)" if overflowed else ""
        raise ValueError(f"{source}: flops of {worst['run']} is {worst['flops']:g}; it must be positive{hint}")
    if rows["flops"].isna().all():
        raise ValueError(
            f"{source}: the compute of its runs is not known: it has neither flops nor params and tokens; name them, "
            "--columns=flops=NAME or --columns=params=NAME,tokens=NAME"
        )
    return rows.assign(flops=rows["flops"].where(rows["flops"] != 0))


def _with_levels(rows: pd.DataFrame, texts: dict[str, str]) -> pd.DataFrame:
    pairs = list(dict.fromkeys(zip(rows["task"], rows["metric"], strict=True)))
    for name, text in texts.items():
        if text:
            level = parse_levels(text, f"--{name}")
            given = pd.Series({pair: level(*pair) for pair in pairs})
            found = given.reindex(pd.MultiIndex.from_frame(rows[["task", "metric"]])).to_numpy()
            rows = rows.assign(**{name: np.where(np.isnan(found), rows[name], found)})
    return rows


def _check(rows: pd.DataFrame, source: str) -> None:
    """Refuses metrics that are not known, have no chance level, or values that cannot be theirs."""
    for (task, metric), part in rows.groupby(["task", "metric"], sort=False):
        name = f"{task}/{metric}"
        if metric not in METRICS:
            raise ValueError(f"{source}: no metric is called {metric!r}; {nearest(metric, list(METRICS))}")
        low, high = sorted((METRICS[metric].worst, METRICS[metric].perfect))
        for what in ("value", "chance"):
            if (wrong := (part[what] < low - 1e-9) | (part[what] > high + 1e-9)).any():
                hint = "a share between 0 and 1 (percent: COLUMN*0.01)" if metric in _SHARES else f"{low:g} to {high:g}"
                raise ValueError(f"{source}: {what} of {name} is {part.loc[wrong, what].iloc[0]:g}; it must be {hint}")
        if part["chance"].isna().any():
            raise ValueError(
                f"{source}: {name} has no chance level, the score of one who has learnt only the format: "
                f"--chance={task}=0.25 of four choices, =0 where guessing cannot succeed, --chance=0 for all tasks"
            )
        if metric in (*SHARP, *SMOOTH) and (part["chance"] == METRICS[metric].perfect).any():
            raise ValueError(f"{source}: the chance level of {name} is {METRICS[metric].perfect:g}, as good as can be")


def _with_examples(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """How many questions each score of counted answers is of, where nobody says."""
    notes, found = [], rows["examples"].copy()
    for (task, metric), part in rows.groupby(["task", "metric"], sort=False):
        unknown = part["examples"].isna()
        if not METRICS[metric].counts or not unknown.any():
            continue
        variance, error = part["value"] * (1 - part["value"]), part["standard_error"]
        told = variance / error**2
        if (error > 0).all() and (variance > 0).all():
            found[part.index] = part["examples"].fillna(told.round())
            continue
        count = questions(part["value"].to_numpy())
        found[part.index] = part["examples"].fillna(count or UNKNOWN_EXAMPLES)
        notes.append(
            f"{task}/{metric}: scores are multiples of 1/{count}, so of {count} questions"
            if count else f"{task}/{metric}: nobody says of how many questions; taken as {UNKNOWN_EXAMPLES}, few"
        )  # fmt: skip
    return rows.assign(examples=found), notes


def questions(values: np.ndarray) -> int:
    """Of how many questions shares of right answers are: the least n such that they are multiples of 1/n; 0 for none.

    Of 104 accuracies with six digits it finds 10,042 (HellaSwag), 38,160, 1,172; means over subjects are multiples of
    nothing. One value in ten may disagree. No n is believed that random numbers would have met too, nor one that is
    the rounding of the table, 10^4 of four digits; three digits or fewer are taken as exact.
    """
    values = np.unique(values[np.isfinite(values)])
    values = values[(values > 0) & (values < 1)]
    if len(values) < 2:
        return 0
    digits = min(decimals(values), 9)
    rounding = 0.6 * 10.0 ** -max(digits, 6)
    n = np.arange(2, min(_MOST_EXAMPLES, 10**digits) + 1)
    share = np.mean(np.abs(values[:, None] - np.round(values[:, None] * n) / n) <= rounding, axis=0)
    by_luck = np.minimum(2 * rounding * n, 1.0) ** (0.9 * len(values)) * n
    good = (share >= 0.9) & (by_luck < 1e-2) & ((n < 10**digits) | (digits <= 3))
    return int(n[good][0]) if good.any() else 0


def _with_scales(rows: pd.DataFrame, source: str) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Leaves out tasks with too few scales; refuses a table without any other."""
    scales = _scales(rows["flops"])
    if scales < FEWEST_SCALES:
        amounts = ", ".join(f"{flops:g}" for flops in sorted(set(rows["flops"])))
        what = f"{scales} scale{'s' if scales > 1 else ''} ({amounts} FLOPs)"
        raise ValueError(f"{source} has {what}: ability against scale needs {FEWEST_SCALES} amounts of compute or more")
    counts = {task: _scales(part["flops"]) for task, part in rows.groupby("task", sort=False)}
    few = [task for task, count in counts.items() if count < FEWEST_SCALES]
    if len(few) == len(counts):
        raise ValueError(f"{source}: no task was measured at {FEWEST_SCALES} scales or more")
    gone = [LeftOut(f"task {task}", f"measured at {counts[task]} scales") for task in few]
    return rows[~rows["task"].isin(few)], gone


def _scales(flops: pd.Series) -> int:
    logs = np.sort(np.log(flops.to_numpy()))
    return int(len(logs) > 0) + int((np.diff(logs) > _SAME_SCALE).sum())


def _shares(rows: pd.DataFrame) -> np.ndarray:
    """How far each value is from chance towards the best there is: 0 at chance, 1 for always right.

    NaN where chance is the best there is: who knows nothing can be calibrated.
    """
    perfect = rows["metric"].map({name: metric.perfect for name, metric in METRICS.items()})
    room = perfect - rows["chance"]
    return ((rows["value"] - rows["chance"]) / room.where(room != 0)).to_numpy(float)

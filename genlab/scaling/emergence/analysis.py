"""The analysis of a table of abilities: a verdict on every task."""

import dataclasses
import os
from typing import Any

import pandas as pd

from genlab.scaling.emergence import metrics
from genlab.scaling.emergence.abilities import Abilities, read_abilities
from genlab.scaling.emergence.departure import Rise, departures, rises
from genlab.scaling.emergence.foretell import RULE, TOLERANCE, foretell, rows_of
from genlab.scaling.emergence.scales import Scales, pool
from genlab.scaling.emergence.shapes import shapes
from genlab.scaling.emergence.verdict import Thresholds, Verdict, counted, judge
from genlab.scaling.jsonfile import read_json, write_json
from genlab.scaling.runs import Runs


@dataclasses.dataclass(frozen=True, eq=False)
class Verdicts:
    """What `Emergence` found; emergence.json (of a sweep fit.json) holds it.

    Attributes:
      verdicts: task -> what is to be said of it, in the order of the table.
      shapes: task -> metric -> the laws fitted to it (`genlab.scaling.emergence.shapes`), of tasks that leave chance.
      forecasts: task -> metric -> its forecast at larger scales (`genlab.scaling.emergence.foretell`).
      notes: what was taken to be so, in words.
      left_out: what was not used, and why, in words.
      reading: how the abilities were read from a table of run records: tasks, chance.
      line: the share of a rise in a doubling from which on it is sharp.
      columns: canonical name -> the table's own, as of other analyses; empty.
    """

    verdicts: dict[str, Verdict]
    shapes: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    forecasts: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    left_out: list[str] = dataclasses.field(default_factory=list)
    reading: dict[str, str] = dataclasses.field(default_factory=dict)
    line: float = Thresholds().sharp_share
    columns: dict[str, str] = dataclasses.field(default_factory=dict)

    rule, tolerance = RULE, TOLERANCE  # of the forecasts

    @property
    def kinds(self) -> dict[str, int]:
        """How many tasks are of each kind that there is."""
        return {kind: count for kind, count in counted(self.verdicts).items() if count}

    def foretold_from(self, task: str) -> float | None:
        """The least FLOPs from which the smooth metric foretold the sharp one, if that was before it left chance."""
        told = (self.forecasts.get(task, {}).get(self.verdicts[task].sharp) or {}).get("foretold") or {}
        flops, leaves_at = told.get("flops"), self.verdicts[task].numbers["departure"]["leaves_at"]
        return flops if flops and leaves_at and flops < leaves_at else None

    def abilities(self, frame: pd.DataFrame) -> Abilities:
        """The abilities in the table of run records that was analysed."""
        return read_abilities(frame, **self.reading)

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON; `from_json` inverts it."""
        saved = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return saved | {"verdicts": {task: dataclasses.asdict(verdict) for task, verdict in self.verdicts.items()}}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Verdicts":
        """What `to_json` wrote."""
        return cls(**saved | {"verdicts": {task: Verdict(**verdict) for task, verdict in saved["verdicts"].items()}})

    def save(self, path: str | os.PathLike) -> None:
        """Writes the file in one piece."""
        write_json(self.to_json(), path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Verdicts":
        """Reads what `save` wrote.

        Raises:
          FileNotFoundError: no such file.
          ValueError: a file that `save` did not write.
        """
        return read_json(path, cls.from_json)


@dataclasses.dataclass(frozen=True)
class Emergence:
    """Judges every task of a table of abilities.

    Attributes:
      tasks: patterns of task names, with commas in between; empty for all.
      chance: levels by task, for a table that lacks them (`genlab.scaling.emergence.tables.parse_levels`).
      sharp, smooth: the metrics that verdicts rest on; by default the first a task has, of `metrics.SHARP` and
        `metrics.SMOOTH`.
      laws: whether to fit laws to the tasks that leave chance.
      forecasts: whether to forecast larger scales: of every task where the table holds some out, else of those that
        leave chance.
      thresholds: what counts.
    """

    tasks: str = ""
    chance: str = ""
    sharp: str = ""
    smooth: str = ""
    laws: bool = True
    forecasts: bool = True
    thresholds: Thresholds = Thresholds()

    def __post_init__(self):
        for name, kind in (("sharp", True), ("smooth", False)):
            metric = getattr(self, name)
            there = [one.name for one in metrics.METRICS.values() if one.sharp == kind]
            if metric and metric not in there:
                raise ValueError(f"{name}: {metric!r} is no {name} metric; there are: {', '.join(there)}")

    def run(self, runs: Runs) -> Verdicts:
        """Judges the tasks of genlab's run records; errors as for `read_abilities`."""
        reading = {"tasks": self.tasks, "chance": self.chance}
        return dataclasses.replace(self.analyse(read_abilities(runs.frame, **reading)), reading=reading)

    def analyse(self, abilities: Abilities) -> Verdicts:
        """Judges every task that has a sharp metric.

        Raises:
          ValueError: no task has one.
        """
        grid = abilities.grid
        chosen = {task: self._chosen(grid.metrics(task)) for task in grid.tasks}
        sharp = {task: pool(grid.of(task, names[0])) for task, names in chosen.items() if names[0]}
        if not sharp:
            raise ValueError(f"{abilities.source}: no task has a sharp metric ({', '.join(metrics.SHARP)})")
        smooth = {task: pool(grid.of(task, chosen[task][1])) for task in sharp if chosen[task][1]}
        limits = self.thresholds
        departed = departures(sharp, limits.alpha, limits.least_share)
        risen = rises(smooth, limits.alpha, limits.least_share)
        nowhere = Rise(float("nan"), True)
        found = {
            task: judge(task, departed[task], sharp[task], smooth.get(task), risen.get(task, nowhere), limits)
            for task in sharp
        }
        without = [f"task {task}: no sharp metric" for task in chosen if task not in sharp]
        left_out = [f"{row.row}: {row.reason}" for row in abilities.left_out]
        laws = {task: self._shapes([sharp[task], smooth.get(task)]) for task in found if _rises(found[task])}
        held_out = len(abilities.held_out.frame) > 0
        told = {task: self._forecasts(abilities, found[task]) for task in found if held_out or _rises(found[task])}
        laws, told = ({task: each for task, each in of.items() if each} for of in (laws, told))
        return Verdicts(found, laws, told, list(abilities.notes), [*left_out, *without], line=limits.sharp_share)

    def _shapes(self, metrics_of: list[Scales | None]) -> dict[str, Any]:
        if not self.laws:
            return {}
        seed = self.thresholds.seed
        found = {scales.metric: shapes(scales, seed=seed) for scales in metrics_of if scales is not None}
        return {metric: each for metric, each in found.items() if each}

    def _forecasts(self, abilities: Abilities, verdict: Verdict) -> dict[str, Any]:
        if not self.forecasts:
            return {}
        names = [metric for metric in (verdict.sharp, verdict.smooth) if metric]
        found = {metric: foretell(rows_of(abilities, verdict.task, metric), seed=self.thresholds.seed)
                 for metric in names}  # fmt: skip
        return {metric: each for metric, each in found.items() if each}

    def _chosen(self, there: list[str]) -> tuple[str, str]:
        return tuple(
            metrics.first_of((wanted,) if wanted else order, there)
            for wanted, order in ((self.sharp, metrics.SHARP), (self.smooth, metrics.SMOOTH))
        )


def _rises(verdict: Verdict) -> bool:
    return verdict.numbers["sharpness"] is not None

"""The analysis of a table of several families: each family's law and forecasts, and the law of its compute frontier.

    found = ByFamily(ComputeOptimal(tokens="examples"), frontier=("loss", "error")).run(read_runs("runs.csv", ...))
    found.families["vit"].analysis.forecasts, found.families["vit"].frontiers["error"].fit.interval("c")

A frontier is the runs that no cheaper run outdoes, and its law that of Zhai et al. 2021 (arXiv 2106.04560), E = a +
b (C + d)^-c in training FLOPs C, for a loss or an error rate. Its forecast of a run is for the best size at the run's
compute. From few runs its four parameters cannot be told; the forecast that counts is then that of the law of size
and data, which is fitted to all runs.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from genlab.scaling.analysis import Analysis
from genlab.scaling.approaches.frontier import frontier
from genlab.scaling.compute_optimal import ComputeOptimal
from genlab.scaling.emergence.analysis import Verdicts
from genlab.scaling.jsonfile import read_json, write_json
from genlab.scaling.runs import Runs

FRONTIER_LAW = "zhai"
_FEW = 6  # runs on a frontier: fewer cannot tell four parameters


@dataclasses.dataclass(frozen=True, eq=False)
class Family:
    """What was found of one family.

    Attributes:
      analysis: the law of size and data, and what it foretells.
      frontiers: column -> the law of its compute frontier, an analysis whose x is FLOPs and whose loss the column.
      warnings: what the frontiers cannot support, in words.
    """

    analysis: Analysis
    frontiers: dict[str, Analysis] = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, eq=False)
class Families:
    """What `ByFamily` found; `fit.json` holds it.

    Attributes:
      families: name -> what was found, in the order of the table.
      refused: name -> why nothing could be fitted to that family.
      by: the column that tells the families apart.
    """

    families: dict[str, Family]
    refused: dict[str, str] = dataclasses.field(default_factory=dict)
    by: str = "family"

    @property
    def columns(self) -> dict[str, str]:
        """Canonical name -> the table's own, where they differ; the same for all families."""
        return next(iter(self.families.values())).analysis.columns

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON; `from_json` inverts it."""
        families = {
            name: {
                "analysis": family.analysis.to_json(),
                "frontiers": {column: found.to_json() for column, found in family.frontiers.items()},
                "warnings": family.warnings,
            }
            for name, family in self.families.items()
        }
        return {"by": self.by, "refused": self.refused, "families": families}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Families":
        """What `to_json` wrote."""
        families = {
            name: Family(
                Analysis.from_json(family["analysis"]),
                {column: Analysis.from_json(found) for column, found in family["frontiers"].items()},
                family["warnings"],
            )
            for name, family in saved["families"].items()
        }
        return cls(families, saved["refused"], saved["by"])

    def save(self, path: str | os.PathLike) -> None:
        """Writes fit.json, in one piece; `load_analysis` reads it."""
        write_json(self.to_json(), path)


@dataclasses.dataclass(frozen=True)
class ByFamily:
    """Analyses every family of a table by itself, to be told side by side.

    Attributes:
      analysis: of each family's runs.
      by: the column that tells the families apart.
      frontier: columns that fall with compute ("loss", "error") whose compute frontier gets a law and a forecast.
    """

    analysis: ComputeOptimal = ComputeOptimal()
    by: str = "family"
    frontier: tuple[str, ...] = ("loss",)

    def __post_init__(self):
        if isinstance(self.frontier, str):
            raise ValueError(f"frontier: {self.frontier!r} is one name; give a tuple, ({self.frontier!r},)")

    def run(self, runs: Runs) -> Families:
        """Analyses a table; runs whose role is held_out are only forecast, never fitted.

        Raises:
          ValueError: no column of families, no such column to have a frontier, or no family that can be fitted.
        """
        parts = runs.by(self.by)
        for column in self.frontier:
            runs.require(("flops", column))  # a name that is wrong is said before anything is fitted
        families, refused = {}, {}
        for name, part in parts.items():
            try:
                families[name] = self._family(part)
            except ValueError as error:
                refused[name] = str(error)
        if not families:
            raise ValueError("; ".join(f"{name}: {reason}" for name, reason in refused.items()))
        return Families(families, refused, self.by)

    def _family(self, runs: Runs) -> Family:
        analysis, frontiers, warnings = self.analysis.run(runs), {}, []
        for column in self.frontier:
            try:
                frontiers[column] = found = self._law_of_frontier(runs, column)
            except ValueError as error:
                warnings.append(f"no law of the frontier of {column}: {error}")
                continue
            if (count := len(found.fit.rows_used)) < _FEW:
                warnings.append(
                    f"{count} runs on the frontier of {column} cannot tell the 4 parameters of {FRONTIER_LAW}: the "
                    f"forecast that counts is that of the {analysis.choice} law"
                )
        return Family(analysis, frontiers, warnings)

    def _law_of_frontier(self, runs: Runs, column: str) -> Analysis:
        columns = {**self.analysis.columns, "x": "flops", "loss": column}
        runs = runs.require(("flops", column)).rename(columns).require(("loss",))
        grid = runs.grid
        best = grid.take(frontier(grid.column("flops"), grid.column("loss"), convex=False))
        index = best.frame.index.union(runs.held_out.frame.index)
        same = {name: getattr(self.analysis, name) for name in ("robust", "delta", "starts", "resamples", "seed")}
        law = ComputeOptimal(laws=(FRONTIER_LAW,), sensitivity=False, **same)
        return law.run(runs.take(runs.frame.index.isin(index)))


def load_analysis(path: str | os.PathLike) -> Analysis | Families | Verdicts:
    """What `Analysis.save`, `Families.save` or `Verdicts.save` wrote; errors as for `Analysis.load`."""

    def build(saved: Mapping[str, Any]) -> Analysis | Families | Verdicts:
        if "verdicts" in saved:
            return Verdicts.from_json(saved)
        return (Families if "families" in saved else Analysis).from_json(saved)

    return read_json(path, build)

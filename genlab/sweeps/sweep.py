"""A sweep: the experiments that are to be run, those kept from the fit, and the analysis they are for."""

import dataclasses
import platform
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol

from genlab.configuration import ConfigError, config_hash, json_hash, to_json
from genlab.sweeps.naming import NAME, names_from_differences
from genlab.sweeps.record import Role, code_version


class AnalysisConfig(Protocol):
    """What a sweep is for: a frozen config such as `genlab.scaling.ComputeOptimal`."""

    def run(self, runs: Any) -> Any:
        """From the table of runs (`genlab.scaling.Runs`) to an analysis that has `to_json()`."""


@dataclass(frozen=True)
class PlannedRun:
    """One experiment of a sweep, with all that identifies it there.

    Attributes:
      name: unique in the sweep; also its folder's name.
      role: "grid", or "held_out" for runs that only check forecasts.
      experiment: its config.
      config_hash: names the experiment's content, whatever its name.
      sweep: the sweep's name.
    """

    name: str
    role: Role
    experiment: Any
    config_hash: str
    sweep: str = ""

    def identity(self) -> dict[str, Any]:
        """The columns of its record that are known before it runs."""
        experiment = self.experiment
        return {
            "sweep": self.sweep, "name": self.name, "role": self.role, "config_hash": self.config_hash,
            "seed": experiment.seed, "family": experiment.objective.family,
            "batch_size": experiment.training.batch_size, "steps_planned": experiment.training.steps,
            "code_version": code_version(), "jax_version": metadata.version("jax"),
            "python_version": platform.python_version(),
        }


@dataclass(frozen=True)
class Sweep:
    """Many experiments and what is to be learnt from them.

    Attributes:
      experiments: the runs that the analysis may use.
      held_out: runs that it must forecast and never sees.
      analysis: what is done with the table of runs; None for nothing.
      name: stands in every record.

    Raises:
      ConfigError: there is no experiment.
    """

    experiments: tuple[Any, ...]
    held_out: tuple[Any, ...] = ()
    analysis: AnalysisConfig | None = None
    name: str = ""

    def __post_init__(self):
        for field in ("experiments", "held_out"):
            runs = getattr(self, field)
            if dataclasses.is_dataclass(runs):
                raise ConfigError(f"sweep.{field} is one {type(runs).__name__}; it takes a list of them")
            object.__setattr__(self, field, tuple(runs))
        if not self.experiments:
            raise ConfigError("the sweep lists no experiment; give at least one in `experiments`")

    def runs(self) -> tuple[PlannedRun, ...]:
        """The planned runs in the sweep's order: the grid, then the held-out ones.

        A run is called by its experiment's `name`, or by what sets it apart in the sweep; runs that
        share a name are told apart by what differs among them.

        Raises:
          ConfigError: two runs are the same, or come to the same name; a name that no folder can have.
        """
        experiments = (*self.experiments, *self.held_out)
        contents = [_content(experiment) for experiment in experiments]
        names = _names([experiment.name for experiment in experiments], contents)
        _check(names, contents, len(self.experiments))
        roles: list[Role] = ["grid"] * len(self.experiments) + ["held_out"] * len(self.held_out)
        return tuple(
            PlannedRun(name, role, experiment, config_hash(experiment), self.name)
            for name, role, experiment in zip(names, roles, experiments, strict=True))

    def check(self) -> None:
        """Checks every run without compiling anything.

        Raises:
          ConfigError: the first run that cannot be run, by its name.
        """
        for run in self.runs():
            try:
                run.experiment.check()
            except ValueError as error:
                raise ConfigError(f"run {run.name}: {error}") from error


def _content(experiment: Any) -> dict[str, Any]:
    """The experiment as JSON without its name, which changes nothing about what is trained."""
    return {key: value for key, value in to_json(experiment).items() if key != "name"}


def _names(given: list[str], contents: list[dict[str, Any]]) -> list[str]:
    names = [name or made for name, made in zip(given, names_from_differences(contents), strict=True)]
    for name in set(filter(None, given)):
        sharing = [index for index, other in enumerate(given) if other == name]
        if len(sharing) > 1:
            made = names_from_differences([contents[index] for index in sharing])
            for index, difference in zip(sharing, made, strict=True):
                names[index] = f"{name}_{difference}"
    return names


def _check(names: list[str], contents: list[dict[str, Any]], grid: int) -> None:
    seen: dict[str, int] = {}
    for index, content in enumerate(contents):
        first = seen.setdefault(json_hash(content), index)
        if first != index:
            leak = "; a held-out run must not be in the grid" if first < grid <= index else ""
            raise ConfigError(f"runs {first + 1} and {index + 1} of the sweep ({names[index]}) are the same "
                              f"experiment{leak}")
    for name, count in Counter(names).items():
        if count > 1:
            raise ConfigError(f"{count} runs of the sweep are called {name!r}; give each its own name")
        if not NAME.fullmatch(name):
            raise ConfigError(f"run name {name!r} cannot be a folder's name; use at most 100 letters, digits "
                              "and . _ = + , @ -, the first a letter or digit")

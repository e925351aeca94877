"""A sweep's folder: what is to be run, one folder a run, and the table of the runs that ended.

    workdir/sweep.json     the sweep: every experiment and the analysis
    workdir/runs/<name>/   one run: config.json, metrics.jsonl, checkpoints/, record.json
    workdir/runs.csv       the records, one row a run, in the sweep's order
    workdir/logs/          what the worker processes printed
"""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genlab.configuration import ConfigError, differences, from_json, to_json
from genlab.files import write_atomically
from genlab.sweeps.record import COLUMNS, RunRecord, read_record
from genlab.sweeps.sweep import PlannedRun, Sweep


@dataclass(frozen=True)
class SweepStore:
    """The files of one sweep.

    Attributes:
      workdir: the sweep's folder.
    """

    workdir: Path

    @property
    def table(self) -> Path:
        """The table of runs."""
        return self.workdir / "runs.csv"

    @property
    def logs(self) -> Path:
        """Where worker processes print."""
        return self.workdir / "logs"

    def folder(self, name: str) -> Path:
        """The folder of the run called `name`."""
        return self.workdir / "runs" / name

    def check(self, sweep: Sweep) -> int:
        """Checks that the folder is empty or holds this sweep; writes nothing.

        Runs may be added to a sweep and its analysis may change; what was there must be there still.

        Returns:
          How many runs the sweep has that the folder does not know yet.

        Raises:
          ConfigError: the folder holds something else; the message names the first difference.
        """
        runs = {run.name: to_json(run.experiment) for run in sweep.runs()}
        if not (self.workdir / "sweep.json").exists():
            if self.workdir.exists() and not self.workdir.is_dir():
                raise ConfigError(f"--workdir={self.workdir} is a file; give a folder")
            if (self.workdir / "config.json").exists():
                raise ConfigError(f"{self.workdir} holds a single run; give the sweep another --workdir")
            return len(runs)
        known = {run["name"]: run for run in self.read()["runs"]}
        for name, old in known.items():
            if name not in runs:
                raise ConfigError(f"{self.workdir} holds another sweep: its run {name!r} is not in this one; "
                                  "give another --workdir")
            # By way of the config, so that fields which the saved one lacks take their defaults.
            difference = next(differences(to_json(from_json(old["experiment"])), runs[name]), None)
            if difference:
                raise ConfigError(f"{self.workdir} holds another sweep: in run {name}, {difference}; "
                                  "give another --workdir")
        return len(runs.keys() - known.keys())

    def write_sweep(self, sweep: Sweep) -> None:
        """Writes `sweep.json`; call `check` before."""
        self.workdir.mkdir(parents=True, exist_ok=True)
        content = {
            "name": sweep.name,
            "analysis": to_json(sweep.analysis),
            "runs": [{"name": run.name, "role": run.role, "config_hash": run.config_hash,
                      "experiment": to_json(run.experiment)} for run in sweep.runs()],
        }
        write_atomically(self.workdir / "sweep.json", json.dumps(content, indent=1) + "\n")

    def read_sweep(self) -> Sweep:
        """The sweep that the folder holds, without the config file that made it.

        Raises:
          ConfigError: the folder holds no sweep, or one that this genlab cannot read.
        """
        content = self.read()
        runs = {role: tuple(from_json(run["experiment"]) for run in content["runs"] if run["role"] == role)
                for role in ("grid", "held_out")}
        return Sweep(runs["grid"], runs["held_out"], from_json(content["analysis"]), content["name"])

    def record(self, run: PlannedRun) -> RunRecord | None:
        """The record of a run; None if it has not ended or if it is another experiment's."""
        record = read_record(self.folder(run.name))
        if record is None or record.config_hash != run.config_hash:
            return None
        return dataclasses.replace(record, sweep=run.sweep, role=run.role)  # A sweep may regroup its runs.

    def write_table(self, runs: Sequence[PlannedRun], records: dict[str, RunRecord]) -> None:
        """Writes `runs.csv`: a row for every run that has a record, in the order of `runs`."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records[run.name].to_row() for run in runs if run.name in records)
        write_atomically(self.table, text.getvalue())

    def read_table(self) -> list[RunRecord]:
        """The rows of `runs.csv`."""
        csv.field_size_limit(1 << 30)  # By default 128 KB, which a run's evaluations may exceed.
        with open(self.table, newline="", encoding="utf-8") as file:
            return [RunRecord.from_row(row) for row in csv.DictReader(file)]

    def read(self) -> dict[str, Any]:
        """What `sweep.json` holds.

        Raises:
          ConfigError: the folder holds no sweep, or the file is damaged.
        """
        path = self.workdir / "sweep.json"
        try:
            content = json.loads(path.read_text())
            [(run["name"], run["role"], run["experiment"]) for run in content["runs"]]
            return content
        except FileNotFoundError as error:
            raise ConfigError(f"{self.workdir} holds no sweep (there is no sweep.json)") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} cannot be read ({error}); delete it and start again") from error



"""Remakes the figures and the report of a sweep from its table of runs, or a run's figures from its record.

    python -m launch.report --workdir=runs/quickstart
    python -m launch.report --workdir=runs/induction

Reads runs.csv, and fit.json where it is not older; else (or with --refit) it runs the analysis that
sweep.json names, or the default one, and writes fit.json. Writes report.html and every figure as .png and
.svg. Any table of runs with the columns params, tokens (or examples) and loss will do.
Of a single run it reads record.json, and draws what its evaluations hold: induction heads with the loss, metrics
against the number of examples in the prompt, the loss by position. Nothing is trained.
Exit codes: 0 done, 1 the page was written but the table could not be analysed, 2 bad input.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from absl import flags

from genlab.configuration import ConfigError, from_json
from genlab.figures import write_report
from genlab.figures.run_figures import run_figures
from genlab.figures.style import save
from genlab.figures.table import table_columns
from genlab.scaling import Analysis, ComputeOptimal, Families, Verdicts, load_analysis, read_runs
from genlab.sweeps.record import read_record
from launch import flags as command

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder that holds runs.csv.", required=True)
_REFIT = flags.DEFINE_bool("refit", False, "Analyse the table anew even where fit.json is newer than the table.")


def main() -> int:
    """Writes the page and the figures; returns the exit code."""
    workdir = Path(_WORKDIR.value)
    if (workdir / "record.json").is_file() and not (workdir / "runs.csv").exists():
        return report_run(workdir)
    table = read_table(workdir / "runs.csv")
    sweep = read_json(workdir / "sweep.json")
    config = from_json(sweep["analysis"]) if sweep and sweep.get("analysis") else default_analysis(table)
    analysis, code = None, 0
    fit = workdir / "fit.json"
    is_fresh = fit.exists() and fit.stat().st_mtime >= (workdir / "runs.csv").stat().st_mtime
    if is_fresh and not _REFIT.value:
        analysis = read_analysis(fit)
    else:
        try:
            analysis = config.run(read_runs(workdir / "runs.csv", needed=("params", "loss")))
            analysis.save(fit)
        except ValueError as error:
            print(f"the table could not be analysed: {error}", file=sys.stderr)
            fit.unlink(missing_ok=True)  # It speaks of another table.
            code = 1
    paths = write_report(table, analysis, workdir, config=sweep)
    print("\n".join(f"written {path}" for path in paths.values()))
    return code


def report_run(folder: Path) -> int:
    """Writes the figures of one run's evaluations; returns the exit code.

    Raises:
      ConfigError: no evaluation of the run holds what a figure shows.
    """
    figures = run_figures(read_record(folder).evaluations)
    if not figures:
        raise ConfigError(f"no evaluation of {folder} has what a figure shows: train with `evaluations` such as "
                          "InductionHeads(), LossByPosition() or KShot(functions)")
    for name, figure in figures.items():
        print("\n".join(f"written {path}" for path in save(figure, folder, name).values()))
    return 0


def default_analysis(table: pd.DataFrame) -> ComputeOptimal:
    """A law of size and data: tokens, or examples in a table that counts no tokens."""
    return ComputeOptimal(tokens=table_columns(table, {}).get("tokens", "tokens"))


def read_table(path: Path) -> pd.DataFrame:
    """The whole table of runs, failed ones too.

    Raises:
      ConfigError: there is none, it is empty, or it is not a table.
    """
    if not path.is_file():
        raise ConfigError(f"{path.parent} has no runs.csv: give the folder of a sweep with --workdir")
    try:
        table = pd.read_csv(path)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a table of runs: {str(error).splitlines()[0]}") from error
    if table.empty:
        raise ConfigError(f"{path} has no run yet")
    return table


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, None where there is no such file.

    Raises:
      ConfigError: it cannot be read.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def read_analysis(path: Path) -> Analysis | Families | Verdicts:
    """What fit.json holds.

    Raises:
      ConfigError: it cannot be read.
    """
    try:
        return load_analysis(path)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error!r}); --refit makes it anew") from error


if __name__ == "__main__":
    command.run(main)

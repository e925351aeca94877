"""Published scaling laws, fitted again from their public tables: every number of a paper beside ours.

    python -m experiments.scaling.published --tables=FOLDER
    python -m experiments.scaling.published --tables=FOLDER --only=chinchilla,gadre

Each study is a `launch.fit` command, printed before it runs, and the checks of what it wrote. The tables, one
CSV file each, with the columns that the commands name:

  chinchilla_epoch.csv       N, D, loss, in_240: github.com/epoch-research/analyzing-chinchilla (Besiroglu et al. 2024)
  porian_isoflops.csv, porian_optimal_pairs.csv, porian_published_fits.csv
                             n, tokens, flops, loss, dataset, hparams, warmup, decay, param_count, split:
                             github.com/formll/resolving-scaling-law-discrepancies (Porian et al. 2024)
  gadre_runs.csv             N, D, loss_c4_val, train_set, name: github.com/mlfoundations/scaling (Gadre et al. 2024)
  datablations_runs.csv      N, D, U, loss, epochs: github.com/huggingface/datablations (Muennighoff et al. 2023)
  nsl_benchmark_vision.csv, nsl_benchmark_lang.csv
                             Domain, Task, Model, Seen Examples, Loss, Training: google-research/google-research,
                             revisiting_neural_scaling_laws (Alabdulmohsin et al. 2022)

The last study, recovery, needs no table: 200 simulated tables with 1 % noise for every law, and how often 95 %
intervals hold the truth. Prints a table of checks; exit code 1 if one fails.
"""

import dataclasses
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from rich.console import Console

_TABLES = flags.DEFINE_string("tables", "", "Folder of the CSV tables.")
_ONLY = flags.DEFINE_list("only", [], "Studies to run, by name; by default all.")


class Check(NamedTuple):
    """One number: what it is, as published or demanded, as found here, and whether that will do."""

    what: str
    published: str
    found: str
    good: bool


def near(what: str, published: float, found: float, within: float) -> Check:
    """A number that should agree with the published one to an absolute tolerance."""
    return Check(what, f"{published:.6g} +- {within:g}", f"{found:.6g}", abs(found - published) <= within)


def at_most(what: str, bound: float, found: float) -> Check:
    """A number that should not exceed a bound."""
    return Check(what, f"<= {bound:.6g}", f"{found:.6g}", found <= bound)


@dataclasses.dataclass(frozen=True)
class Study:
    """A command and the checks of what it wrote.

    Attributes:
      name: how --only calls it.
      flags: of `launch.fit`, without --output; {tables} is the folder of the tables.
      checks: from the folder that the command wrote.
      wrote: the file to read.
    """

    name: str
    flags: tuple[str, ...]
    checks: Callable[[dict[str, Any]], Iterator[Check]]
    wrote: str = "fit.json"


CHINCHILLA_INTERVALS = {  # Besiroglu et al. 2024: 95 % by bootstrap
    "A": (285, 744), "B": (1042, 5810), "E": (1.769, 1.871), "alpha": (0.317, 0.373), "beta": (0.331, 0.415),
}  # fmt: skip
CHINCHILLA_HEADLINE = {"A": 482.01, "B": 2085.43, "E": 1.8169, "alpha": 0.3478, "beta": 0.3658}


def check_chinchilla(fit: dict[str, Any]) -> Iterator[Check]:
    """The minimum, the published headline (a stopped optimiser's point) and the published intervals."""
    yield at_most("objective", 1.01828e-3, fit["objective"])
    yield near("alpha", 0.34731, fit["parameters"]["alpha"], 5e-4)
    yield near("beta", 0.36717, fit["parameters"]["beta"], 5e-4)
    for name, published in CHINCHILLA_HEADLINE.items():
        low, high = fit["interval_95"][name]
        inside = low <= published <= high
        yield Check(f"published {name} inside our interval", f"{published:g}", f"{low:.5g} to {high:.5g}", inside)
    for name, published in CHINCHILLA_INTERVALS.items():
        for end, ours, theirs in zip(("lower", "upper"), fit["interval_95"][name], published, strict=True):
            yield near(f"{end} end of {name}", theirs, ours, 0.08 * theirs)
    samples = fit["fits"]["chinchilla"]["samples"]
    alpha, beta = np.array(samples["alpha"]), np.array(samples["beta"])
    yield near("median of beta/(alpha+beta)", 0.516, float(np.median(beta / (alpha + beta))), 2e-3)


def check_chinchilla_245(fit: dict[str, Any]) -> Iterator[Check]:
    """All rows: beta moves, and the five largest losses, which the replication dropped, are named."""
    yield near("beta of all 245 rows", 0.453, fit["parameters"]["beta"], 1e-3)
    rows = sorted(fit["influence"]["rows"])
    yield Check("influential rows", "0, 1, 2, 3, 4", ", ".join(map(str, rows)), rows == [0, 1, 2, 3, 4])


def run(study: Study, tables: str, console: Console) -> list[Check]:
    """Runs a study's command in a folder of its own and checks what it wrote; a failure is a failed check."""
    with tempfile.TemporaryDirectory() as folder:
        given = [flag.replace("{tables}", tables) for flag in study.flags]
        console.print(f"[bold]{study.name}[/bold]  python -m launch.fit {shlex.join(given)}", soft_wrap=True)
        command = [sys.executable, "-m", "launch.fit", *given, f"--output={folder}", "--figures=False"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return [Check("the command", "exit code 0", done.stderr.strip().splitlines()[-1], False)]
        return list(study.checks(json.loads((Path(folder) / study.wrote).read_text(encoding="utf-8"))))

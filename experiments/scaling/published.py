"""Published scaling laws, fitted again from their public tables: every number of a paper beside ours.

    python -m experiments.scaling.published --tables=FOLDER
    python -m experiments.scaling.published --tables=FOLDER --only=chinchilla,gadre

A study is the `launch.fit` commands, each printed before it runs, and the checks of what they wrote. The tables, one
CSV file each, with the columns that the commands name:

  chinchilla_epoch.csv       N, D, loss, in_240: github.com/epoch-research/analyzing-chinchilla (Besiroglu et al. 2024)
  porian_isoflops.csv, porian_optimal_pairs.csv, porian_published_fits.csv
                             n, tokens, flops, loss; n_star_std; weighted_n_exponent; file, dataset, hparams, warmup,
                             decay, param_count, split in all three:
                             github.com/formll/resolving-scaling-law-discrepancies (Porian et al. 2024)
  gadre_runs.csv             N, D, loss_c4_val, train_set, chinchilla_multiplier: github.com/mlfoundations/scaling
                             (Gadre et al. 2024)
  datablations_runs.csv      N, D, U, loss: github.com/huggingface/datablations (Muennighoff et al. 2023)
  nsl_benchmark_vision.csv, nsl_benchmark_lang.csv
                             Domain, Task, Model, Seen Examples, Loss, Training: google-research/google-research,
                             revisiting_neural_scaling_laws (Alabdulmohsin et al. 2022)

The last study, recovery, needs no table: 200 simulated tables with 1 % noise for every law, and how often 95 %
intervals hold the truth. Prints a table of checks a study; exit code 1 if one fails, 2 for bad input.
"""

import argparse
import dataclasses
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments.scaling.recovery import LOWEST, MOST, TABLES, coverages, recovery
from genlab.scaling import get_law, isoflop_minima, optimal_exponent, read_runs
from genlab.scaling.forecasts.groups import GroupFits


class Check(NamedTuple):
    """A number or several: what they are, as published or demanded, as found here, and whether that will do."""

    what: str
    published: str
    found: str
    good: bool


def near(what: str, published, found, within: float) -> Check:
    """Numbers that should agree with the published ones to an absolute tolerance."""
    published, found = np.atleast_1d(published), np.atleast_1d(found)
    good = published.shape == found.shape and bool(np.all(np.abs(found - published) <= within))
    return Check(what, f"{_written(published)} +- {within:.2g}", _written(found), good)


def at_most(what: str, bound: float, found: float) -> Check:
    """A number that should not exceed a bound."""
    return Check(what, f"<= {bound:.6g}", f"{found:.6g}", bool(found <= bound))


def _written(numbers: np.ndarray) -> str:
    return " ".join(f"{number:.6g}" if len(numbers) == 1 else f"{number:.4f}" for number in numbers)


@dataclasses.dataclass(frozen=True)
class Study:
    """Commands and the checks of what they wrote.

    Attributes:
      name: how --only calls it.
      tables: the files that it reads.
      checks: from the folder of the tables and the fit.json (or fits.json) of each command.
      commands: the flags of each `launch.fit`, without --output; {tables} is the folder of the tables.
    """

    name: str
    tables: tuple[str, ...]
    checks: Callable[..., Iterator[Check]]
    commands: tuple[tuple[str, ...], ...] = ()


CHINCHILLA_INTERVALS = {  # Besiroglu et al. 2024: 95 % by bootstrap
    "A": (285, 744), "B": (1042, 5810), "E": (1.769, 1.871), "alpha": (0.317, 0.373), "beta": (0.331, 0.415),
}  # fmt: skip
CHINCHILLA_HEADLINE = {"A": 482.01, "B": 2085.43, "E": 1.8169, "alpha": 0.3478, "beta": 0.3658}


def check_chinchilla(tables: Path, fit: dict[str, Any]) -> Iterator[Check]:
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
    yield near("median of beta/(alpha+beta)", 0.516, np.median(beta / (alpha + beta)), 5e-4)


def check_chinchilla_245(tables: Path, fit: dict[str, Any]) -> Iterator[Check]:
    """All rows: beta moves, and the five largest losses, which the replication dropped, are named."""
    yield near("beta of all 245 rows", 0.453, fit["parameters"]["beta"], 5e-4)
    rows = sorted(fit["influence"]["rows"])
    yield Check("influential rows", "0, 1, 2, 3, 4", ", ".join(map(str, rows)), rows == [0, 1, 2, 3, 4])


PORIAN_KEYS = ["file", "dataset", "hparams", "warmup", "decay", "param_count", "split"]
PORIAN_CORPORA = {  # corpus -> (the file of the five steps, its spread of the loss from seed to seed)
    "rw": ("summary_df", "0.002 / loss"), "owt2": ("summary_df_owt2", "0.01 / loss"),
}  # fmt: skip


def check_porian(tables: Path, fits: dict[str, Any]) -> Iterator[Check]:
    """Exponents of N_opt(C) in the paper's order of corrections, from its minima and from the runs themselves."""
    published = pd.read_csv(tables / "porian_published_fits.csv")
    found = pd.DataFrame(fits["parameters"]).query("parameter == 'a'")
    published = published.merge(found, on=PORIAN_KEYS, how="left")
    runs = read_runs(tables / "porian_isoflops.csv", "params=n")
    for corpus, (file, noise) in PORIAN_CORPORA.items():
        steps = published[published["file"] == file]
        theirs = steps["weighted_n_exponent"].to_numpy()
        yield near(f"{corpus}: from the published minima", theirs, steps["value"].to_numpy(), 5e-4)
        groups = runs.frame.groupby(PORIAN_KEYS).indices
        parts = [runs.take(groups[keys]) for keys in steps[PORIAN_KEYS].itertuples(index=False, name=None)]
        for spread in (noise, "auto"):
            minima = [isoflop_minima(part, method="akima", noise=spread) for part in parts]
            ours = np.array([optimal_exponent(curves)[0] for curves in minima])
            yield near(f"{corpus}: from the runs, by Akima's spline, noise {spread}", theirs, ours, 0.01)
            order = bool(np.all(np.diff(ours) < 0))
            yield Check(f"{corpus}: order, noise {spread}", "every step lowers it", "yes" if order else "no", order)


def check_gadre(tables: Path, fit: dict[str, Any]) -> Iterator[Check]:
    """Five small runs foretell the loss of 1.4B parameters at 640 tokens each, and of 6.9B."""
    for size, published, told in zip(("1.4B", "6.9B"), (0.7103, 0.7320), fit["forecasts"], strict=True):
        yield near(f"error of the forecast of {size}, %", published, 100 * abs(told["relative_error"]), 0.01)


def data_constrained(N, D, U):
    """The loss by Muennighoff et al. 2023, section 3.1, written out with the constants of the authors' code."""
    A, B, E, alpha, beta = np.exp(6.255414), np.exp(7.3049974), np.exp(0.6254804), 0.3526596, 0.3526596
    R_D, R_N = 15.387756, 5.309743
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    useful = np.minimum(N, (U * G) ** (beta / alpha) * G)
    data = U + U * R_D * (1 - np.exp(-(D / U - 1) / R_D))
    params = useful + useful * R_N * (1 - np.exp(-(N / useful - 1) / R_N))
    return E + A / params**alpha + B / data**beta


def check_muennighoff(tables: Path, fit: dict[str, Any]) -> Iterator[Check]:
    """The closed form, and the errors of runs with repetition (losses below 5, as the others have diverged)."""
    runs = pd.read_csv(tables / "datablations_runs.csv").set_index("name")
    law = get_law("repeated")
    told = law.predict(law.vector(law.published), params=runs["N"], tokens=runs["D"], unique_tokens=runs["U"])
    direct = data_constrained(runs["N"], runs["D"], runs["U"])
    yield at_most("closed form against the formula written out", 1e-9, np.max(np.abs(told / direct - 1)))
    repeated = (runs["D"] > runs["U"]) & (runs["loss"] < 5)
    error = np.mean(np.abs(told - runs["loss"])[repeated])
    yield at_most("mean error of the published constants", 0.243, error)
    residuals = pd.Series(fit["residuals"], fit["rows_used"]).reindex(runs.index)
    ours = np.abs(runs["loss"] * np.expm1(-residuals))[repeated]
    yield at_most("mean error of all seven constants fitted", error, np.mean(ours))


CURVES_BOUNDS = {"IC": 0.0403, "LM": 0.0009, "NMT": 0.0106, "BB": 0.0100}
CURVES_DOMAINS = {"IC": "image classification", "LM": "language models", "NMT": "translation", "BB": "BIG-bench"}


def check_curves(tables: Path, *fits: dict[str, Any]) -> Iterator[Check]:
    """Held-out error of the automatic forecast, root mean square of each curve and mean over curves."""
    found = pd.concat([GroupFits.from_json(each).summary("Domain") for each in fits])
    yield near("learning curves", 92, found["groups"].sum() - found["refused"].sum(), 0)
    for domain, bound in CURVES_BOUNDS.items():
        yield at_most(f"{CURVES_DOMAINS[domain]}: error of log loss", bound, found["error"][domain])


def check_recovery(tables: Path) -> Iterator[Check]:
    """95 % intervals hold every parameter's true value in 90 to 99 % of the tables."""
    for found in recovery():
        shares = coverages(found)
        low, high = min(shares, key=shares.get), max(shares, key=shares.get)
        good = shares[low] >= LOWEST and shares[high] <= MOST and not found.failures
        told = f"{shares[low]:.3f} ({low}) to {shares[high]:.3f} ({high})"
        told += f", {len(found.failures)} not fitted" if found.failures else ""
        print(f"recovery: {found.law.name} {told}", flush=True)
        yield Check(f"{found.law.name}: {TABLES} tables", f"{LOWEST} to {MOST}", told, good)


_CHINCHILLA = ("--runs={tables}/chinchilla_epoch.csv", "--law=chinchilla", "--columns=params=N,tokens=D")
_CURVES = ("--x=Seen Examples", "--response=Loss", "--holdout=Training == 0", "--by=Domain,Task,Model",
           "--loss=squared")  # fmt: skip

STUDIES = (
    Study(
        "chinchilla", ("chinchilla_epoch.csv",), check_chinchilla,
        # Of 4,000 resamples, as published, the median's own standard error is 4e-4; of 40,000, 1e-4.
        ((*_CHINCHILLA, "--where=in_240 == 1", "--resamples=40000"),),
    ),
    Study("chinchilla_245", ("chinchilla_epoch.csv",), check_chinchilla_245, (_CHINCHILLA,)),
    Study(
        "porian", ("porian_isoflops.csv", "porian_optimal_pairs.csv", "porian_published_fits.csv"), check_porian,
        (("--runs={tables}/porian_optimal_pairs.csv", "--law=optimal_params", "--columns=params=n", "--loss=squared",
          "--weights=1/n_star_std**2", f"--by={','.join(PORIAN_KEYS)}"),),
    ),
    Study(
        "gadre", ("gadre_runs.csv",), check_gadre,
        (("--runs={tables}/gadre_runs.csv", "--law=overtraining", "--columns=params=N,tokens=D,loss=loss_c4_val",
          "--where=train_set == \"rpj\" and (N < 1e9 and chinchilla_multiplier == 1 or N < 2e7 and "
          "chinchilla_multiplier == 16 or N > 1e9 and D > 1e11)", "--holdout=N > 1e9",
          "--loss=squared", "--weights=loss**2", "--resamples=0"),),
    ),
    Study(
        "muennighoff", ("datablations_runs.csv",), check_muennighoff,
        (("--runs={tables}/datablations_runs.csv", "--law=repeated",
          "--columns=params=N,tokens=D,unique_tokens=U", "--resamples=0"),),
    ),
    Study(
        "curves", ("nsl_benchmark_vision.csv", "nsl_benchmark_lang.csv"), check_curves,
        (("--runs={tables}/nsl_benchmark_vision.csv", *_CURVES), ("--runs={tables}/nsl_benchmark_lang.csv", *_CURVES)),
    ),
    Study("recovery", (), check_recovery),
)  # fmt: skip


def run(study: Study, tables: str, console: Console) -> list[Check]:
    """Runs a study's commands, each in a folder of its own, and checks what they wrote.

    A command that fails is a failed check.
    """
    written = []
    for flags in study.commands:
        given = [flag.replace("{tables}", tables) for flag in flags]
        console.print(f"{study.name}: python -m launch.fit {shlex.join(given)}", soft_wrap=True)
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "launch.fit", *given, f"--output={folder}", "--figures=False"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                last = (done.stderr.strip() or "no message").splitlines()[-1]
                return [Check("the command", "exit code 0", f"{done.returncode}: {last}", False)]
            (path,) = Path(folder).glob("fit*.json")
            written.append(json.loads(path.read_text(encoding="utf-8")))
    return list(study.checks(Path(tables), *written))


def show(study: Study, checks: list[Check], seconds: float, console: Console) -> None:
    """A table of a study's checks."""
    table = Table("what", "published or demanded", "found", "good", title=f"{study.name}, {seconds:.0f} s")
    for check in checks:
        table.add_row(*check[:3], "yes" if check.good else "NO")
    console.print(table)


def choose(only: str, tables: str) -> list[Study]:
    """The studies asked for, by default all, once every table that they read is there.

    Raises:
      ValueError: no such study.
      FileNotFoundError: no such folder or table.
    """
    names = [study.name for study in STUDIES]
    wanted = only.split(",") if only else names
    for name in wanted:
        if name not in names:
            raise ValueError(f"--only: no study is called {name!r}; there are: {', '.join(names)}")
    studies = [study for study in STUDIES if study.name in wanted]
    for study in studies:
        for table in study.tables:
            if not Path(tables).is_dir() or not tables:
                raise FileNotFoundError(f"--tables: {study.name} reads tables and there is no folder {tables!r}")
            if not (Path(tables) / table).is_file():
                raise FileNotFoundError(f"--tables: {study.name} reads {table}, which is not in {tables}")
    return studies


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs, prints and counts."""
    parser = argparse.ArgumentParser("published", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--tables", default="", metavar="FOLDER", help="folder of the CSV tables")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="studies to run; by default all")
    parser.error = _fail
    given = parser.parse_args(arguments)
    try:
        studies = choose(given.only, given.tables)
    except (ValueError, OSError) as error:
        _fail(str(error))
    console = Console(width=None if Console().is_terminal else 120, highlight=False, markup=False)
    counted = []
    for study in studies:
        begin = time.monotonic()
        checks = run(study, given.tables, console)
        show(study, checks, time.monotonic() - begin, console)
        counted += [check.good for check in checks]
    console.print(f"{sum(counted)} of {len(counted)} checks are good")
    return 0 if all(counted) else 1


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main())

"""What is known of public tables of abilities, found again by launch.emergence; and how often its verdicts are right.

    python -m experiments.emergence.published --tables=FOLDER
    python -m experiments.emergence.published --tables=FOLDER --only=models,gadre

A study is one `launch.emergence` command, printed before it runs, and the checks of what it wrote. The tables:

  obsscaling_emergent.csv    models with "FLOPs (1E21)", "Model Size (B)", "Pretraining Data Size (T)", "Model Family",
                             BIG-bench scores: github.com/ryoungj/ObsScaling (Ruan et al. 2024)
  gadre_runs.csv, gadre_eval_metadata.csv
                             N, D, train_set, loss_c4_val and 46 columns acc_TASK; "Eval Task", "Random baseline":
                             github.com/mlfoundations/scaling (Gadre et al. 2024)

The forecasts are of models above 8.4e22 FLOPs from those at or below; a sigmoid of the logarithm of the compute, fitted
by least squares, makes the errors beside theirs (`genlab/scaling/emergence/foretell.py` tells how blind they are).
The study `simulated` needs no table: 1,000 tables of 10 tasks at chance, and 1,000 tasks of each other kind. All of it
takes two minutes on two cores that others use as well.
Prints a table of checks a study; exit code 1 if one fails, 2 for bad input.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from rich.console import Console

from experiments.scaling.published import Check, Study, at_most, show

COLUMNS = "flops=FLOPs (1E21)*1e21,params=Model Size (B)*1e9,tokens=Pretraining Data Size (T)*1e12," \
          "family=Model Family,run=Model"
MODELS = (f"--columns={COLUMNS}", "--tasks=*_exact_match,*_bleu,*_acc,HellaSwag",
          "--chance=parsinlu*=0.25,HellaSwag=0.25,*=0")
SIGMOIDS = {  # root mean square errors above 8.4e22 FLOPs of a sigmoid in log FLOPs, of shares
    ("word_unscrambling_2", "exact_match"): 0.148, ("arithmetic_2dm_2", "accuracy"): 0.370,
    ("ipa_transliterate_2", "exact_match"): 0.733, ("ipa_transliterate_2", "bleu"): 0.591,
    ("arithmetic_3ds_2", "accuracy"): 0.058, ("HellaSwag", "accuracy"): 0.060,
}  # fmt: skip
LEAVING = ("word_unscrambling_2", "arithmetic_2dm_2", "ipa_transliterate_2")
FLAT = ("mmlu", "mmlu_zeroshot", "bigbench_logical_deduction", "bigbench_elementary_math_qa",
        "simple_arithmetic_nospaces", "simple_arithmetic_withspaces", "agi_eval_lsat_ar", "agi_eval_lsat_rc",
        "agi_eval_lsat_lr")  # fmt: skip
LEAST_RIGHT, MOST_FALSE = 0.9, 0.05


def check_models(found: dict[str, Any]) -> Iterator[Check]:
    """Which tasks leave chance, and BLEU before exact match."""
    for task in LEAVING:
        verdict = found["verdicts"][task]
        at = f"at {verdict['numbers']['departure']['leaves_at']:.3g} FLOPs" if verdict["emergent"] else "no"
        yield Check(f"{task} leaves chance", "yes", at, verdict["emergent"])
    numbers = found["verdicts"]["ipa_transliterate_2"]["numbers"]
    yield at_most("FLOPs from which transliteration rises by BLEU, by exact match at most",
                  numbers["departure"]["certain_from"] / 1.01, numbers["rises_from"])


def check_forecasts(found: dict[str, Any]) -> Iterator[Check]:
    """Errors above the cut, beside those of sigmoids."""
    for (task, metric), bound in SIGMOIDS.items():
        told = found["forecasts"][task][metric]
        yield at_most(f"{task}, {metric}: error of {len(told['forecasts'])} forecasts", bound, told["error"])


def check_gadre(found: dict[str, Any]) -> Iterator[Check]:
    """Tasks that stay at chance are not called emergent."""
    for task in FLAT:
        verdict = found["verdicts"][task]
        best = max(verdict["numbers"]["departure"]["share"])
        yield Check(task, "not emergent", f"{verdict['kind']}, at most {best:.1%} of the way", not verdict["emergent"])


def check_simulated(found: dict[str, Any]) -> Iterator[Check]:
    """False departures over the whole scan, and kinds told apart."""
    yield at_most("tables at chance with some departure", MOST_FALSE, found["tables_departing"])
    yield at_most("tables at chance with a task called emergent", MOST_FALSE, found["tables_emergent"])
    for planted, kinds in found["verdicts"].items():
        right = kinds[planted] / sum(kinds.values())
        yield Check(f"{planted}: judged so", f">= {LEAST_RIGHT}", f"{right:.4f}", right >= LEAST_RIGHT)


class Command(NamedTuple):
    """The flags of a study's command, from the folder of the tables, and the checks of what it wrote into `file`."""

    flags: Callable[[Path], tuple[str, ...]]
    checks: Callable[[dict[str, Any]], Iterator[Check]]
    file: str = "emergence.json"


def models(tables: Path, *more: str) -> tuple[str, ...]:
    """Flags for the table of Ruan et al."""
    return (f"--runs={tables / 'obsscaling_emergent.csv'}", *MODELS, *more, "--nolaws", "--nofigures")


def gadre(tables: Path) -> tuple[str, ...]:
    """Flags for the table of Gadre et al., with the chance levels and numbers of questions of its metadata."""
    about = pd.read_csv(tables / "gadre_eval_metadata.csv").set_index("Eval Task")
    chance = ",".join(f"{task}={level / 100:g}" for task, level in about["Random baseline"].items())
    means = ("mmlu", "mmlu_zeroshot", "bbq", "jeopardy")  # over subjects: multiples of nothing
    asked = ",".join(f"{task}={about.loc[task, '#datapoints']}" for task in means)
    return (f"--runs={tables / 'gadre_runs.csv'}", "--columns=params=N,tokens=D,loss=loss_c4_val,run=name",
            "--tasks=acc_*", f"--chance={chance}", f"--examples={asked}", "--nolaws", "--noforecasts", "--nofigures")


COMMANDS = {
    "models": Command(lambda tables: models(tables, "--noforecasts"), check_models),
    "forecasts": Command(lambda tables: models(tables, "--holdout=flops > 8.4e22"), check_forecasts),
    "gadre": Command(gadre, check_gadre),
    "simulated": Command(lambda tables: ("--simulate=1000",), check_simulated, "simulation.json"),
}  # fmt: skip


def run(name: str, tables: Path, console: Console) -> list[Check]:
    """Runs a study's command and checks what it wrote.

    Raises:
      ValueError: the command failed.
    """
    command = COMMANDS[name]
    flags = command.flags(tables)
    console.print("python -m launch.emergence " + shlex.join(flags), soft_wrap=True)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-m", "launch.emergence", *flags, f"--output={folder}"],
                              capture_output=True, text=True)  # fmt: skip
        if done.returncode:
            raise ValueError(f"{name}: {done.stderr.strip().splitlines()[-1]}")
        return list(command.checks(json.loads((Path(folder) / command.file).read_text(encoding="utf-8"))))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs, prints and counts."""
    parser = argparse.ArgumentParser("published", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--tables", default=".", metavar="FOLDER", help="folder of the CSV tables")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="studies to run; by default all")
    given = parser.parse_args(arguments)
    names = [name for name in given.only.split(",") if name] or list(COMMANDS)
    console = Console(width=None if Console().is_terminal else 120, highlight=False, markup=False)
    counted = []
    try:
        for name in names:
            if name not in COMMANDS:
                raise ValueError(f"no study is called {name!r}; there are: {', '.join(COMMANDS)}")
            begin = time.monotonic()
            checks = run(name, Path(given.tables), console)
            show(Study(name, (), COMMANDS[name].checks), checks, time.monotonic() - begin, console)
            counted += [check.good for check in checks]
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(f"{sum(counted)} of {len(counted)} checks are good")
    return 0 if all(counted) else 1


if __name__ == "__main__":
    sys.exit(main())

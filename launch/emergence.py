"""Judges abilities against scale in any table, your own or somebody else's: do they come suddenly, or not at all?

    python -m launch.emergence --runs=runs/emergence/runs.csv --output=runs/emergence/abilities
    python -m launch.emergence --runs=TABLE.csv --columns="flops=FLOPs (1E21)*1e21,family=Model Family,run=Model" \\
        --tasks="*_exact_match,*_bleu,*_acc,HellaSwag" --chance="parsinlu*=0.25,HellaSwag=0.25,*=0" \\
        --holdout="flops > 8.4e22" --output=runs/theirs

A table is a sweep's runs.csv, or one with a column a task (`--tasks` names the columns, or patterns of them; the metric
is read off the name: task/exact_match, task_bleu, acc_task), or a long one with the columns task, value and perhaps
metric. Every metric needs a chance level. Flops are 6 N D where the table has none.

Prints one screen; with --output writes emergence.json, the abilities as a long table (abilities.csv), and figures.
Exit codes: 0 done, 2 bad input.
"""

from pathlib import Path

from absl import flags
from rich.console import Console
from rich.table import Table

from genlab.scaling.emergence.abilities import Abilities, read_abilities
from genlab.scaling.emergence.analysis import Emergence, Verdicts
from genlab.scaling.emergence.verdict import Thresholds, Verdict, counted
from launch import flags as command
from launch.screen import table

_RUNS = flags.DEFINE_string("runs", None, "CSV table of abilities.")
_COLUMNS = flags.DEFINE_string(
    "columns", "", "What the table calls its columns: params=N,tokens=D,flops=C,loss=L,family=F,run=NAME,seed=S; "
    "NAME*1e21 is a column with a factor.")
_TASKS = flags.DEFINE_string("tasks", "", "Which tasks: columns of a wide table, TASK/METRIC=COLUMN, or patterns.")
_CHANCE = flags.DEFINE_string("chance", "", "Chance levels: 0.25, or by task, mmlu=0.25,*=0; the first match wins.")
_EXAMPLES = flags.DEFINE_string("examples", "", "Questions of a task, the same way; by default told from the scores.")
_LENGTH = flags.DEFINE_string("answer_length", "", "Tokens of a task's answers, the same way.")
_WHERE = flags.DEFINE_string("where", "", "Use only the rows for which this pandas expression holds.")
_HOLDOUT = flags.DEFINE_string("holdout", "", "Forecast the rows for which this holds, judge by the others.")
_SHARP = flags.DEFINE_string("sharp", "", "The sharp metric that verdicts rest on; by default the first there is.")
_SMOOTH = flags.DEFINE_string("smooth", "", "The smooth one.")
_ALPHA = flags.DEFINE_float("alpha", 0.05, "Probability of any false departure from chance in the whole table.")
_LEAST = flags.DEFINE_float("least_share", 0.1, "Of the way from chance to always right, for a departure to matter.")
_RESAMPLES = flags.DEFINE_integer("resamples", 200, "Bootstrap resamples.", lower_bound=2)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the resamples.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder for emergence.json, abilities.csv and figures.")


def main() -> int:
    """Reads, judges, prints and writes."""
    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    if not _RUNS.value:
        raise ValueError("give --runs=TABLE.csv")
    thresholds = Thresholds(_ALPHA.value, _LEAST.value, resamples=_RESAMPLES.value, seed=_SEED.value)
    config = Emergence(sharp=_SHARP.value, smooth=_SMOOTH.value, thresholds=thresholds)
    abilities = read_abilities(
        _RUNS.value, _COLUMNS.value, _TASKS.value, _CHANCE.value, _EXAMPLES.value, _LENGTH.value, _WHERE.value,
        _HOLDOUT.value)  # fmt: skip
    found = config.analyse(abilities)
    show(found, abilities, console)
    if _OUTPUT.value:
        write(found, abilities, Path(_OUTPUT.value), console)
    return 0


def show(found: Verdicts, abilities: Abilities, console: Console) -> None:
    """One screen: a line a task, then what each verdict rests on."""
    flops = abilities.grid.frame["flops"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in counted(found.verdicts).items() if count)
    runs, span = abilities.grid.frame["run"].nunique(), f"{flops.min():.3g} to {flops.max():.3g} FLOPs"
    console.print(f"table      {abilities.source}: {len(found.verdicts)} tasks, {runs} runs, {span}", soft_wrap=True)
    console.print(f"verdicts   {kinds}", soft_wrap=True)
    console.print(verdict_table(found))
    for task, verdict in found.verdicts.items():
        console.print(f"[bold]{task}[/bold]: {verdict.words}", soft_wrap=True)
        if verdict.needed:
            console.print(f"           would decide: {verdict.needed}", soft_wrap=True)
    for note in (*found.notes, *found.left_out):
        console.print(f"noted      {note}", soft_wrap=True)


def verdict_table(found: Verdicts) -> Table:
    """A line a task: the verdict, where it leaves chance, how sharp either metric is."""
    rows = table("task", "verdict", "leaves at", "best", "sharp in x2", "smooth in x2", "smooth from")
    for task, verdict in found.verdicts.items():
        rows.add_row(task, _kind(verdict), *(_cell(verdict, *path) for path in (
            ("departure", "leaves_at"), ("departure", "share"), ("sharpness", "index"), ("smooth_sharpness", "index"),
            ("", "rises_from"))))  # fmt: skip
    return rows


def _kind(verdict: Verdict) -> str:
    return verdict.kind + (", rising underneath" if verdict.rising else "")


def _cell(verdict: Verdict, part: str, name: str) -> str:
    found = (verdict.numbers.get(part) or {}).get(name) if part else verdict.numbers.get(name)
    if found is None:
        return ""
    if name == "share":
        return f"{max(found):.1%}"
    return f"{found:.0%}" if name == "index" else f"{found:.3g}"


def write(found: Verdicts, abilities: Abilities, folder: Path, console: Console) -> None:
    """Writes what was found, and says where."""
    folder.mkdir(parents=True, exist_ok=True)
    found.save(folder / "emergence.json")
    abilities.frame.to_csv(folder / "abilities.csv", index=False)
    console.print(f"written    emergence.json, abilities.csv in {folder}", soft_wrap=True)


if __name__ == "__main__":
    command.run(main)

"""Judges abilities against scale in any table, your own or somebody else's: do they come suddenly, or not at all?

    python -m launch.emergence --runs=runs/emergence/runs.csv --output=runs/emergence/abilities
    python -m launch.emergence --runs=TABLE.csv --columns="flops=FLOPs (1E21)*1e21,family=Model Family,run=Model" \\
        --tasks="*_exact_match,*_bleu,*_acc,HellaSwag" --chance="parsinlu*=0.25,HellaSwag=0.25,*=0" \\
        --holdout="flops > 8.4e22" --output=runs/theirs

A table is a sweep's runs.csv, or one with a column a task (`--tasks` names the columns, or patterns of them; the metric
is read off the name: task/exact_match, task_bleu, acc_task), or a long one with the columns task, value and perhaps
metric. Every metric needs a chance level. Flops are 6 N D where the table has none.

Prints one screen; with --output writes emergence.json, the abilities as a long table (abilities.csv), and figures.
How often the verdicts are right, on tables whose kinds are known and that are drawn as your own is planned:

    python -m launch.emergence --simulate=1000 --plan="tasks=10,scales=8,seeds=5,questions=200,factor=2"

Two busy cores took 10 s for 8 tasks of 73 models with --nolaws --noforecasts --nofigures, a little over a minute with
all of it (three laws are compiled), and 80 s for 1,000 simulated tables. Exit codes: 0 done, 2 bad input.
"""

from pathlib import Path

from absl import flags
from rich.console import Console

from genlab.scaling.emergence.abilities import Abilities, read_abilities
from genlab.scaling.emergence.analysis import Emergence, Verdicts
from genlab.scaling.emergence.simulate import Plan, simulate
from genlab.scaling.emergence.verdict import Thresholds
from genlab.scaling.jsonfile import write_json
from genlab.scaling.law import parse_numbers
from launch import emergence_screen as screen
from launch import flags as command

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
_LAWS = flags.DEFINE_bool("laws", True, "Fit a sigmoid, a power law and one with a break to tasks that leave chance.")
_FORECASTS = flags.DEFINE_bool("forecasts", True, "Forecast larger scales from smaller ones.")
_FIGURES = flags.DEFINE_bool("figures", True, "Draw figures into --output.")
_SIMULATE = flags.DEFINE_integer("simulate", 0, "Tables at chance to draw and judge, and as many tasks of other kinds.",
                                 lower_bound=0)  # fmt: skip
_PLAN = flags.DEFINE_string("plan", "", "What is drawn: tasks=10,scales=8,seeds=5,questions=200,factor=2.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder for emergence.json, abilities.csv and figures.")


def main() -> int:
    """Reads, judges, prints and writes."""
    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    if bool(_RUNS.value) == bool(_SIMULATE.value):
        raise ValueError("give either --runs=TABLE.csv, to judge it, or --simulate=1000")
    thresholds = Thresholds(_ALPHA.value, _LEAST.value, resamples=_RESAMPLES.value, seed=_SEED.value)
    if _SIMULATE.value:
        return _simulate(thresholds, console)
    config = Emergence(sharp=_SHARP.value, smooth=_SMOOTH.value, laws=_LAWS.value, forecasts=_FORECASTS.value,
                       thresholds=thresholds)  # fmt: skip
    abilities = read_abilities(
        _RUNS.value, _COLUMNS.value, _TASKS.value, _CHANCE.value, _EXAMPLES.value, _LENGTH.value, _WHERE.value,
        _HOLDOUT.value)  # fmt: skip
    found = config.analyse(abilities)
    screen.show(found, abilities, console)
    if _OUTPUT.value:
        write(found, abilities, Path(_OUTPUT.value), console)
    return 0


def write(found: Verdicts, abilities: Abilities, folder: Path, console: Console) -> None:
    """Writes what was found, and says where."""
    folder.mkdir(parents=True, exist_ok=True)
    found.save(folder / "emergence.json")
    abilities.frame.to_csv(folder / "abilities.csv", index=False)
    paths = [folder / "emergence.json", folder / "abilities.csv"]
    if _FIGURES.value:
        from genlab.figures.emergence import write_emergence_figures  # matplotlib is slow to import

        paths += write_emergence_figures(abilities, found, folder).values()
    console.print(f"written    {', '.join(path.name for path in paths)} in {folder}", soft_wrap=True)


def _simulate(thresholds: Thresholds, console: Console) -> int:
    found = simulate(plan(_PLAN.value, _SIMULATE.value, _SEED.value), thresholds)
    screen.show_simulation(found, console)
    if _OUTPUT.value:
        Path(_OUTPUT.value).mkdir(parents=True, exist_ok=True)
        write_json(found.to_json(), Path(_OUTPUT.value) / "simulation.json")
        console.print(f"written    simulation.json in {_OUTPUT.value}", soft_wrap=True)
    return 0


def plan(text: str, tables: int, seed: int) -> Plan:
    """The plan of --plan: NAME=NUMBER,...

    Raises:
      ValueError: another form, or an unknown name.
    """
    numbers = parse_numbers(text)
    names = ("tasks", "scales", "seeds", "questions", "factor")
    for name in numbers:
        if name not in names:
            raise ValueError(f"--plan: no {name!r} can be planned; there are: {', '.join(names)}")
    values = {name: number if name == "factor" else int(number) for name, number in numbers.items()}
    return Plan(tables=tables, seed=seed, **values)


if __name__ == "__main__":
    command.run(main)

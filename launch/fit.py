"""Fits scaling laws to any table of runs, your own or somebody else's; nothing is trained.

    python -m launch.fit --runs=runs/quickstart/runs.csv --output=runs/quickstart/fit
    python -m launch.fit --runs=TABLE.csv --law=chinchilla --columns=params=N,tokens=D,loss=loss \\
        --where="in_240 == 1" --budgets=1e21,3.8e25 --output=fits/chinchilla

A law of one variable: --x names it, --response what the law predicts (the loss, unless you say otherwise);
--by fits every group of rows for itself:

    python -m launch.fit --runs=CURVES.csv --x="Seen Examples" --response=Loss --holdout="Training == 0" \\
        --by=Domain,Task,Model --output=fits/curves

Before a sweep is paid for, --simulate draws tables on its planned grid from a known law and says how well
their fits tell the parameters, new runs and the best size:

    python -m launch.fit --simulate=chinchilla --plan="params=1e8,3e8,1e9,3e9; tokens=2e9,1e10,5e10" \\
        --noise=0.005 --predict="params=7e9; tokens=1.4e11" --budgets=1e22

A table needs the columns that its law reads (name yours with --columns); flops are 6 N D where it has none.
Runs whose column `role` is held_out, or those that --holdout selects, are forecast and never fitted. Prints
one screen; with --output also writes fit.json (every number at full precision: docs/fit_json.md), the
figures, and checklist.md, what reviewers ask. Exit codes: 0 done, 2 bad input.
"""

import math
from pathlib import Path

from absl import flags
from rich.console import Console

from genlab.scaling import LAWS, Analysis, ComputeOptimal, Runs, get_law, read_runs
from genlab.scaling.checklist import checklist_markdown
from genlab.scaling.fitting.robust import LOSSES
from genlab.scaling.forecasts.groups import FITTED, fit_by
from genlab.scaling.jsonfile import write_json
from genlab.scaling.simulate import simulate
from launch import flags as command
from launch import screen, simulation

_RUNS = flags.DEFINE_string("runs", None, "CSV table, one row a run.")
_LAW = flags.DEFINE_string(
    "law", "auto", f"Law to fit: {', '.join(LAWS)}; several with commas in between, or auto for all laws of params "
    "and tokens (of x, with --x). Of several the one counts that foretells dearer runs best (rolling backtest).")
_OUTPUT = flags.DEFINE_string("output", None, "Folder for fit.json and the figures; none are written without.")
_COLUMNS = flags.DEFINE_string(
    "columns", "", "What the table calls its columns: params=N,tokens=D,loss=loss,flops=C.")
_X = flags.DEFINE_string("x", "", "The column that is the variable of a law of one variable.")
_RESPONSE = flags.DEFINE_string("response", "", "The column that the law predicts; by default its canonical one.")
_EMBEDDINGS = flags.DEFINE_enum("embeddings", "", ["", "included", "excluded"], "Whether params counts embeddings.")
_WHERE = flags.DEFINE_string("where", "", "Use only the rows for which this pandas expression holds.")
_HOLDOUT = flags.DEFINE_string("holdout", "", "Forecast the rows for which this holds, fit the others.")
_BY = flags.DEFINE_list("by", [], "Columns: every group of rows that agree in them is fitted for itself.")
_CURVES = flags.DEFINE_string(
    "curves", "", "CSV table of training curves, one row a point: name, params, tokens, loss (as --columns says); by "
    "default the column curve of --runs.")
_ACCURACY = flags.DEFINE_list(
    "accuracy", [], "Columns of accuracies, 0 to 1, to foretell by way of the loss, with the accuracy of guessing: "
    "hellaswag=0.25,boolq=0.5; without a number that is fitted as well.")
_BUDGETS = flags.DEFINE_list("budgets", [], "Training FLOPs to state the compute-optimal run for: 1e21,3.8e25.")
_RESAMPLES = flags.DEFINE_integer("resamples", 1000, "Bootstrap refits; 0 for no intervals.", lower_bound=0)
_GROUPS = flags.DEFINE_string("groups", "", "Columns: the bootstrap resamples groups of rows that agree in them.")
_PROFILE = flags.DEFINE_bool("profile", False, "Profile-likelihood intervals as well.")
_STARTS = flags.DEFINE_integer("starts", 64, "Starting points, each followed to a minimum.", lower_bound=1)
_LOSS = flags.DEFINE_enum(
    "loss", None, sorted(LOSSES), "What is summed over the residuals; by default huber, with --by squared: forecasts "
    "of many curves are judged by their root mean square errors.")
_DELTA = flags.DEFINE_float("delta", 1e-3, "Its threshold, on the log residual.", lower_bound=1e-9)
_WEIGHTS = flags.DEFINE_string("weights", "", "Weights of the rows, a column or an expression: 1/std**2.")
_FIX = flags.DEFINE_string("fix", "", "Parameters that are held instead of fitted: E=1.69,alpha=0.34.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of starting points and resamples.")
_FIGURES = flags.DEFINE_bool("figures", True, "Draw figures into --output.")
_SIMULATE = flags.DEFINE_string("simulate", "", "Fit tables drawn from this law on --plan instead of --runs.")
_PLAN = flags.DEFINE_string("plan", "", "Planned runs: a CSV file, or every combination of params=1e6,1e7; tokens=...")
_TRUTH = flags.DEFINE_string("truth", "", "Their law's parameters: NAME=NUMBER,... or an earlier fit.json; else the "
                             "published ones.")  # fmt: skip
_NOISE = flags.DEFINE_float("noise", 0.01, "Standard deviation of their log losses between seeds.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "Planned runs of each combination.", lower_bound=1)
_TABLES = flags.DEFINE_integer("tables", 200, "Tables to draw.", lower_bound=2)
_PREDICT = flags.DEFINE_string("predict", "", "Points to forecast from them, as --plan.")


def main() -> int:
    """Fits, prints and writes."""
    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    if bool(_SIMULATE.value) == bool(_RUNS.value):
        raise ValueError("give either --runs=TABLE.csv, to fit it, or --simulate=LAW with --plan")
    if _SIMULATE.value:
        return _simulate(console)
    laws = ("auto",) if _LAW.value == "auto" else tuple(_LAW.value.split(","))
    config = ComputeOptimal(
        laws=laws,
        budgets=budgets(_BUDGETS.value),
        robust=_LOSS.value or ("squared" if _BY.value else "huber"),
        delta=_DELTA.value,
        weights=_WEIGHTS.value,
        groups=_GROUPS.value,
        fixed=_FIX.value,
        accuracy=tuple(_ACCURACY.value),
        profile=_PROFILE.value,
        starts=_STARTS.value,
        resamples=_RESAMPLES.value,
        seed=_SEED.value,
    )
    runs = read_table(laws)
    if _BY.value:
        return _by(config, runs, console)
    curves = read_runs(_CURVES.value, _COLUMNS.value) if _CURVES.value else None
    analysis = config.run(runs, curves)
    screen.show(analysis, runs, console)
    if _OUTPUT.value:
        write(analysis, runs, Path(_OUTPUT.value), console)
    return 0


def read_table(laws: tuple[str, ...]) -> Runs:
    """The table of --runs with canonical columns, and the runs of --holdout marked as such.

    Raises:
      FileNotFoundError, ValueError: as for `read_runs`, or an expression that holds out no row or all.
    """
    named = [get_law(law) for law in laws if law != "auto"]
    response = named[0].response if named else "loss"
    if any(law.response != response for law in named):
        raise ValueError("laws that predict different columns cannot be compared: " + ", ".join(
            f"{law.name} predicts {law.response}" for law in named))  # fmt: skip
    columns = [_COLUMNS.value]
    columns += [f"x={_X.value}"] if _X.value else []
    columns += [f"{response}={_RESPONSE.value}"] if _RESPONSE.value else []
    inputs = [name for law in named for name in law.inputs] or (["x"] if _X.value else ["params", "tokens"])
    needed = tuple(name for name in dict.fromkeys((*inputs, response)) if name != "flops")
    runs = read_runs(_RUNS.value, ",".join(filter(None, columns)), _WHERE.value, needed, _EMBEDDINGS.value)
    return runs.hold_out(_HOLDOUT.value) if _HOLDOUT.value else runs


def budgets(texts: list[str]) -> tuple[float, ...]:
    """Training FLOPs as written on the command line.

    Raises:
      ValueError: not a positive number.
    """
    found = []
    for text in texts:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise ValueError(f"--budgets: {text!r} is not a number of FLOPs; e.g. --budgets=1e21,3.8e25")
        found.append(value)
    return tuple(found)


def write(analysis: Analysis, runs: Runs, folder: Path, console: Console) -> None:
    """Writes fit.json, the checklist and the figures, and says where."""
    folder.mkdir(parents=True, exist_ok=True)
    analysis.save(folder / "fit.json")
    (folder / "checklist.md").write_text(checklist_markdown(analysis.checklist), encoding="utf-8")
    paths = [folder / "fit.json", folder / "checklist.md"]
    if _FIGURES.value:
        from genlab.figures import write_figures  # matplotlib takes as long to import as a law to fit

        paths += write_figures(runs, analysis, folder).values()
    console.print(f"written    {', '.join(path.name for path in paths)} in {folder}", soft_wrap=True)


def _by(config: ComputeOptimal, runs: Runs, console: Console) -> int:
    for flag in (_BUDGETS, _ACCURACY, _CURVES, _PROFILE, _GROUPS):
        if flag.value:
            raise ValueError(f"--by fits many groups, and --{flag.name} is for one fit: choose a group with --where")
    found = fit_by(
        config.candidates(runs),
        runs,
        _BY.value,
        loss=config.robust,
        delta=config.delta,
        seed=config.seed,
        weights=config.weights or None,
    )
    if (found.table["status"] != FITTED).all():
        raise ValueError(f"none of {len(found.table)} groups can be fitted: {found.table['reason'].iloc[0]}")
    screen.show_groups(found, runs.source, config.robust, console)
    if _OUTPUT.value:
        Path(_OUTPUT.value).mkdir(parents=True, exist_ok=True)
        write_json(found.to_json(), Path(_OUTPUT.value) / "fits.json")
        console.print(f"written    fits.json in {_OUTPUT.value}", soft_wrap=True)
    return 0


def _simulate(console: Console) -> int:
    law = get_law(_SIMULATE.value)
    if not _PLAN.value:
        example = "; ".join(f"{name}=1e6,1e7" for name in law.inputs)
        raise ValueError(f'--simulate needs --plan: a CSV file, or e.g. --plan="{example}"')
    found = simulate(
        law,
        simulation.read_plan(_PLAN.value, law, _COLUMNS.value, _SEEDS.value),
        truth=simulation.read_truth(_TRUTH.value, law),
        noise=_NOISE.value,
        tables=_TABLES.value,
        resamples=min(_RESAMPLES.value, 200),
        predict=simulation.read_plan(_PREDICT.value, law, "", 1) if _PREDICT.value else None,
        budgets=budgets(_BUDGETS.value),
        seed=_SEED.value,
        loss=_LOSS.value or "huber",
        delta=_DELTA.value,
    )
    simulation.show(found, console)
    if _OUTPUT.value:
        Path(_OUTPUT.value).mkdir(parents=True, exist_ok=True)
        write_json(found.to_json(), Path(_OUTPUT.value) / "simulation.json")
        console.print(f"written    simulation.json in {_OUTPUT.value}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    command.run(main)

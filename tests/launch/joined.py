"""What each of two processes with three devices says of plans, batches, evaluations and stops; process 1 then fails.

    python -m tests.launch.joined HOST:PORT FOLDER PROCESS
"""

import json
import sys
from pathlib import Path

import numpy as np

from genlab.configuration import ConfigError
from genlab.data.batches import Batches, sequential_batches
from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken
from genlab.training import hosts
from genlab.training.evaluation import collect_outputs, evaluate
from genlab.training.hosts.addresses import Place
from genlab.training.loop import train
from genlab.training.optimizers import SGD
from genlab.training.plans import Layout, choose_plan
from genlab.training.program import program_for
from genlab.training.settings import Training
from tests.training.regression import Regression, regression_data

BATCH_SIZE = 12
DATA = regression_data(20)  # The second batch is padded.
OPTIMIZER = SGD(learning_rate=0.1)


def read(objective, variables, batch):
    """What an evaluation of its own would."""
    return {"prediction": batch["x"] @ variables["params"]["kernel"]}


def refusal(**arguments) -> str:
    """The message of a plan that cannot be."""
    objective = NextToken(model=GPT(width=8, depth=1, num_heads=2, context_length=8))
    try:
        choose_plan(**arguments, objective=objective)
    except ConfigError as error:
        return str(error)
    return ""


def refusals() -> dict:
    """Of plans that two hosts of three devices cannot share."""
    return {
        "batch": refusal(batch_size=8),
        "devices": refusal(batch_size=12, devices=3),
        "mesh": refusal(batch_size=12, layout=Layout(plan="mesh", data=3, tensor=2)),
    }


def parts() -> dict:
    """What this process makes of a batch, and sees of an evaluation."""
    plan = choose_plan(BATCH_SIZE)
    rows = plan.rows(BATCH_SIZE)
    program = program_for(Regression(), OPTIMIZER, 1, None, plan)
    variables = program.initial_state(0, OPTIMIZER.hyperparameters(10)).variables
    found = collect_outputs(program, variables, sequential_batches(DATA, BATCH_SIZE, rows=rows), read)
    return {
        "rows": rows.tolist(),
        "x": Batches(DATA, BATCH_SIZE, seed=0, rows=rows)[0]["x"].tolist(),
        "kernel": np.asarray(variables["params"]["kernel"]).tolist(),
        "prediction": found["prediction"].tolist(),
        "loss": list(evaluate(program, variables, sequential_batches(DATA, BATCH_SIZE, rows=rows))["loss"]),
    }


def stops(folder: Path, process: int) -> dict:
    """How a run ends that process 1 alone is told to stop; and then with its newest checkpoint damaged."""
    rows, heard = choose_plan(BATCH_SIZE).rows(BATCH_SIZE), []

    def run(should_stop):
        outcome = train(
            objective=Regression(), optimizer=OPTIMIZER, seed=0, folder=folder, listeners=[heard.append],
            training=Training(steps=20, batch_size=BATCH_SIZE, steps_per_dispatch=4, checkpoint_steps=4, writers=()),
            train_batches=Batches(DATA, BATCH_SIZE, seed=0, rows=rows), should_stop=should_stop,
            held_out_batches=lambda size: sequential_batches(DATA, size, rows=rows))
        return [outcome.status, outcome.steps]

    stopped = run(lambda: process == 1 and len(heard) > 1)
    if process == 0:
        for file in (folder / "checkpoints" / "12").rglob("*"):
            if file.is_file():
                file.write_bytes(b"")
    hosts.gather("the damage")
    went_on = run(lambda: False)
    return {"stopped": stopped, "went on": went_on, "checkpoints": sorted(
        file.name for file in (folder / "checkpoints").iterdir() if file.is_dir())}


def explain(error):
    """As a command does of bad input."""
    return 2, str(error)


if __name__ == "__main__":
    coordinator, folder, process = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    with hosts.together(Place(coordinator, process, 2), 100.0, explain):
        said = hosts.gather("what each says", refusals() | parts() | stops(folder, process))
        if process == 1:
            raise ConfigError("a field that is wrong on this host alone")
        print(json.dumps(said))
        hosts.gather("a process that never comes")

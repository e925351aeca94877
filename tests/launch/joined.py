"""What each of two processes with three devices says of plans, batches and evaluations; process 1 then fails.

    python -m tests.launch.joined HOST:PORT PROCESS
"""

import json
import sys

import numpy as np

from genlab.configuration import ConfigError
from genlab.data.batches import Batches, sequential_batches
from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken
from genlab.training import hosts
from genlab.training.evaluation import collect_outputs, evaluate
from genlab.training.hosts.addresses import Place
from genlab.training.optimizers import SGD
from genlab.training.plans import Layout, choose_plan
from genlab.training.program import program_for
from tests.training.regression import Regression, regression_data

BATCH_SIZE = 12
DATA = regression_data(20)  # The second batch is padded.


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


def say() -> dict:
    """Everything that the test looks at."""
    plan = choose_plan(BATCH_SIZE)
    program = program_for(Regression(), SGD(learning_rate=0.1), 1, None, plan)
    state = program.initial_state(0, SGD(learning_rate=0.1).hyperparameters(10))
    rows = plan.rows(BATCH_SIZE)
    found = collect_outputs(program, state.variables, sequential_batches(DATA, BATCH_SIZE, rows=rows), read)
    loss = evaluate(program, state.variables, sequential_batches(DATA, BATCH_SIZE, rows=rows))["loss"]
    return {
        "batch": refusal(batch_size=8),
        "devices": refusal(batch_size=12, devices=3),
        "mesh": refusal(batch_size=12, layout=Layout(plan="mesh", data=3, tensor=2)),
        "rows": rows.tolist(),
        "x": Batches(DATA, BATCH_SIZE, seed=0, rows=rows)[0]["x"].tolist(),
        "kernel": np.asarray(state.params["kernel"]).tolist(),
        "prediction": found["prediction"].tolist(),
        "loss": list(loss),
    }


def explain(error):
    """As a command does of bad input."""
    return 2, str(error)


if __name__ == "__main__":
    coordinator, process = sys.argv[1], int(sys.argv[2])
    with hosts.together(Place(coordinator, process, 2), 100.0, explain) as line:
        said = hosts.gather("what each says", say() | {"line": line})
        if hosts.is_first():
            print(json.dumps(said))
        else:
            raise ConfigError("a field that is wrong on this host alone")
        hosts.gather("a process that never comes")

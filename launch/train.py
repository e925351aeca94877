"""Trains one experiment; the same command goes on where it was stopped or killed.

    python -m launch.train --config=experiments/language/gpt.py:tiny --workdir=runs/gpt
    python -m launch.train --config=experiments/language/gpt.py:tiny --workdir=runs/gpt2 \\
        --config.training.steps=500 --config.optimizer.learning_rate=1e-3

The folder gets config.json, metrics.jsonl, checkpoints/ and, at the end, record.json.
Exit codes: 0 finished, 1 diverged or failed, 2 bad input, 130 stopped (Ctrl-C, SIGTERM).
"""

import traceback
from pathlib import Path

from absl import flags
from rich.console import Console

from launch import flags as command

_CONFIG = command.define_config("experiment")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)

_EXIT_CODES = {"finished": 0, "diverged": 1, "failed": 1, "preempted": command.INTERRUPTED}


def main() -> int:
    """Trains, and prints the record's numbers in one line."""
    experiment = command.load_config(_CONFIG.value)

    # Seconds of imports, after the cheap mistakes were found.
    from genlab.experiment import Experiment
    from genlab.sweeps.progress import RunView
    from genlab.sweeps.run import run_one, single_run
    from genlab.sweeps.signals import StopRequest
    from genlab.training.program import enable_compilation_cache

    if not isinstance(experiment, Experiment):
        raise command.ConfigError(f"{_CONFIG.value} gives a {type(experiment).__name__}, not an Experiment")
    experiment.check()
    enable_compilation_cache()
    folder = Path(_WORKDIR.value)
    console = Console()
    view = RunView(experiment.data.tokens_per_example, console)
    stopping = StopRequest("stopping at a checkpoint; once more to stop at once", console.print)
    with view, stopping:
        try:
            record = run_one(single_run(experiment, folder), folder, listeners=(view,), should_stop=stopping)
        except command.ConfigError:
            raise
        except ValueError:  # Not of the input, which was checked: JAX's own, from within the model.
            traceback.print_exc()
            return _EXIT_CODES["failed"]
    console.print(summary(record, folder), highlight=False, soft_wrap=True)
    return _EXIT_CODES[record.status]


def summary(record, folder: Path) -> str:
    """A record in one line."""
    if record.status == "preempted":
        return f"stopped at step {record.steps} of {record.steps_planned}; the same command goes on"
    if record.status != "finished":
        return f"{record.name} {record.status} at step {record.steps} of {record.steps_planned}: {record.error}"
    error = f" +- {record.loss_se:.2g}" if record.loss_se else ""
    seen = f"{record.tokens:,} tokens" if record.tokens else f"{record.examples:,} examples"
    return (f"{record.name} finished: held-out loss {record.loss:.4f}{error}, {record.params:,} parameters, "
            f"{seen}, {record.flops:.3g} FLOPs in {record.seconds:.0f} s; {folder / 'record.json'}")


if __name__ == "__main__":
    command.run(main)

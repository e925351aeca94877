"""Trains one experiment; the same command goes on where it was stopped or killed.

    python -m launch.train --config=experiments/language/gpt.py:tiny --workdir=runs/gpt
    python -m launch.train --config=experiments/language/gpt.py:tiny --workdir=runs/gpt2 \\
        --config.training.steps=500 --config.optimizer.learning_rate=1e-3
    python -m launch.train --config=experiments/language/gpt.py:tiny --workdir=runs/gpt --profile

Several processes train one run as one process with all their devices would: each makes its part of every batch, and
process 0 writes and speaks. Under SLURM and on TPU pods they find each other, elsewhere by process 0's address; the
folder must be shared. When one is lost all end, and the same commands go on, on as many hosts as there are then.

    srun --nodes=2 --ntasks-per-node=1 --gpus-per-node=8 python -m launch.train --config=... --workdir=/shared/gpt
    gcloud compute tpus tpu-vm ssh POD --worker=all --command="python -m launch.train --config=... --workdir=..."
    python -m launch.train --config=... --workdir=/shared/gpt --coordinator=node0:9876 --processes=2 --process=0
    python -m launch.train --config=... --workdir=/shared/gpt --coordinator=node0:9876 --processes=2 --process=1

The folder gets config.json, metrics.jsonl, checkpoints/ and, at the end, record.json; with --profile also
profile/, for TensorBoard (tensorboard --logdir=runs/gpt/profile) and, its trace.json.gz, for https://ui.perfetto.dev.
Exit codes: 0 finished, 1 diverged or failed, 2 bad input, 130 stopped (Ctrl-C, SIGTERM).
"""

from pathlib import Path

from absl import flags
from rich.console import Console

from launch import flags as command

_CONFIG = command.define_config("experiment")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_TOGETHER = command.define_hosts()
_PROFILE = flags.DEFINE_bool("profile", False, "Profile a few steady steps and print their top operations; the run's "
                             "throughput then counts the profiling too.")
_PROFILE_DISPATCHES = flags.DEFINE_integer("profile_dispatches", 4, "How many dispatches to profile, after the second.",
                                           lower_bound=1)

_EXIT_CODES = {"finished": 0, "diverged": command.FAILED, "failed": command.FAILED, "preempted": command.INTERRUPTED}


def main() -> int:
    """Trains, alone or together with other processes."""
    with _TOGETHER() as processes:
        return train(processes)


def train(processes: str) -> int:
    """Trains, and prints the record's numbers in one line; `processes` is a line about them, "" for one alone."""
    experiment = command.load_config(_CONFIG.value)

    # Seconds of imports, after the cheap mistakes were found.
    from genlab.experiment import Experiment
    from genlab.sweeps.progress import RunView
    from genlab.sweeps.run import run_one, single_run
    from genlab.sweeps.signals import StopRequest
    from genlab.training.hosts import is_first
    from genlab.training.profile import Profiler
    from genlab.training.program import enable_compilation_cache

    if not isinstance(experiment, Experiment):
        raise command.ConfigError(f"{_CONFIG.value} gives a {type(experiment).__name__}, not an Experiment")
    experiment.check()
    enable_compilation_cache()
    folder = Path(_WORKDIR.value)
    console = Console(quiet=not is_first())
    view = RunView(experiment.data.tokens_per_example, console)
    profiler = Profiler(folder / "profile", _PROFILE_DISPATCHES.value) if _PROFILE.value and is_first() else None
    listeners = (view, profiler) if profiler else (view,)
    stopping = StopRequest("stopping at a checkpoint; once more to stop at once", console.print)
    if processes:
        console.print(processes, highlight=False, soft_wrap=True)
    console.print(experiment.training.plan(experiment.objective).describe(), highlight=False, soft_wrap=True)
    with view, stopping:
        try:
            record = run_one(single_run(experiment, folder), folder, listeners=listeners, should_stop=stopping)
        except command.ConfigError:
            raise
        except ValueError as error:  # Not of the input, which was checked: JAX's own, from within the model.
            raise RuntimeError(f"the run failed ({type(error).__name__})") from error
        finally:
            if profiler:
                profiler.close()
    if profiler:
        show_profile(profiler, console)
    console.print(summary(record, folder), highlight=False, soft_wrap=True)
    return _EXIT_CODES[record.status]


def show_profile(profiler, console: Console) -> None:
    """The operations that took most of the profiled steps' time."""
    from genlab.training.profile import top_operations

    if not profiler.steps:
        console.print("no profile: this part of the run had no third dispatch", highlight=False, soft_wrap=True)
        return
    line = "{:>6}  {:>9}  {:>12}  {:<32}  {}".format
    lines = [line("share", "ms a step", "times a step", "operation", "of")]
    for operation in top_operations(profiler.folder):
        # The innermost of the nested scopes tell most.
        source = "/".join(operation.source.split("/")[-5:])
        lines.append(line(f"{operation.share:.1%}", f"{operation.seconds / profiler.steps * 1e3:.3f}",
                          f"{operation.count / profiler.steps:.3g}", operation.name, source))
    console.print(f"top operations of {profiler.steps} steps; {profiler.folder}", highlight=False, soft_wrap=True)
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)


def summary(record, folder: Path) -> str:
    """A record in one line."""
    if record.status == "preempted":
        return f"stopped at step {record.steps} of {record.steps_planned}; the same command goes on"
    if record.status != "finished":
        return f"{record.name} {record.status} at step {record.steps} of {record.steps_planned}: {record.error}"
    error = f" +- {record.loss_se:.2g}" if record.loss_se else ""
    seen = f"{record.tokens:,} tokens" if record.tokens else f"{record.examples:,} examples"
    return (f"{record.name} finished: held-out loss {record.loss:.4f}{error}, {record.params:,} parameters, "
            f"{seen}, {record.flops:.3g} FLOPs in {record.seconds:.0f} s ({where_time_went(record)}), "
            f"{utilization(record)}; {folder / 'record.json'}")


def where_time_went(record) -> str:
    """The parts of a record's seconds, in words."""
    parts = {"compilation": record.compile_seconds, "steps": record.step_seconds, "input": record.input_seconds,
             "evaluation": record.evaluation_seconds, "checkpoints": record.checkpoint_seconds}
    parts["start-up"] = record.seconds - sum(seconds or 0.0 for seconds in parts.values())
    return ", ".join(f"{name} {seconds or 0.0:.1f}" for name, seconds in parts.items())


def utilization(record) -> str:
    """Model FLOPs utilisation in words, or why there is none."""
    from genlab.scaling.counting.devices import missing_peak

    return missing_peak(record.device_kind) or f"MFU {record.mfu or 0.0:.1%}"


if __name__ == "__main__":
    command.run(main)

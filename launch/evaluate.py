"""Evaluates a run on its held-out data: every metric with its standard error, and evaluations by name.

    python -m launch.evaluate --workdir=runs/gpt
    python -m launch.evaluate --workdir=runs/vit --evaluation=few_shot,knn,calibration
    python -m launch.evaluate --workdir=runs/vit --evaluation=few_shot --untrained
    python -m launch.evaluate --workdir=runs/digits --evaluation=likelihood,samples --guidance=2 --features=runs/resnet
    python -m launch.evaluate --workdir=runs/digits --evaluation=samples --arrays=runs/digits/samples.npz
    python -m launch.evaluate --workdir=runs/moons --evaluation=points
    python -m launch.evaluate --workdir=runs/gpt --evaluation=induction,loss_by_position
    python -m launch.evaluate --workdir=runs/mixture --evaluation=tasks --shots=2
    python -m launch.evaluate --workdir=runs/gpt --evaluation=tasks --task_files=task.json,lines.jsonl

Evaluations: few_shot (a linear probe on 5, 10 and 25 labels a class), knn (a vote of nearest neighbours), both on
frozen features; calibration (expected calibration error and Brier score). --untrained asks fresh parameters instead of
the trained ones: the baseline of a probe.

Of language models: induction (every head's attention, on a repeated random pattern, to what followed the token before),
loss_by_position (nats per token by how much was read before), tasks (the held-out problems of the run's own tasks, or
those of files in BIG-bench's format: exact match, log-probability and five more, each with its chance level; zero-shot,
or after so many solved problems). Of models that learn functions in context: k_shot (their
error at every number of examples, beside the best there is).

Of diffusion models: likelihood (exact bits per dimension, by the probability-flow ODE), samples (Fréchet, kernel and
sliced Wasserstein distance, precision and recall, nearest training neighbours, in the features that --features names:
pixels, a classifier's run or an .npz of Inception's weights; with a classifier of the classes, how many samples it
reads as asked), points (of points of the plane). --sampler, --steps, --guidance and --start are those of launch.sample;
with --arrays, samples that it wrote (.npz) are scored in place of new ones. A likelihood is of the model alone, without
guidance.

A standard error that one example alone cannot have is printed as unknown, and is null in JSON.
"""

import dataclasses
import json
import math
import re
from typing import Any

from absl import flags
from rich.console import Console

from genlab.configuration import ConfigError
from genlab.data.tasks import BigBench
from genlab.diffusion.likelihood import flow_of
from genlab.objectives.calibration import Calibration
from genlab.objectives.generation import BitsPerDimension, PointQuality, SampleQuality
from genlab.objectives.in_context import KShot
from genlab.objectives.induction import InductionHeads
from genlab.objectives.loss_by_position import LossByPosition
from genlab.objectives.metric import Estimate
from genlab.objectives.probes import FewShotProbe, NearestNeighbours
from genlab.objectives.task_scores import TaskScores
from genlab.sweeps.progress import Bar
from genlab.trained import load_run
from genlab.training.program import enable_compilation_cache
from launch import flags as command
from launch.samples.arrays import FEWEST, made_by, read_arrays
from launch.samples.samplers import SAMPLERS, named_sampler
from launch.samples.scores import extractor_of, scores

EVALUATIONS = {"few_shot": FewShotProbe(), "knn": NearestNeighbours(), "calibration": Calibration(),
               "likelihood": BitsPerDimension(), "samples": SampleQuality(), "points": PointQuality(None),
               "induction": InductionHeads(), "loss_by_position": LossByPosition(), "k_shot": KShot(None),
               "tasks": TaskScores}

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_EXAMPLES = flags.DEFINE_integer("examples", 0, "Held-out examples, evenly spaced; 0 for all.", lower_bound=0)
_EVALUATION = flags.DEFINE_list("evaluation", [], f"Further evaluations: {', '.join(EVALUATIONS)}.")
_UNTRAINED = flags.DEFINE_bool("untrained", False, "Evaluate fresh parameters instead of the trained ones.")
_SAMPLER = flags.DEFINE_enum("sampler", "dpm_solver", list(SAMPLERS), "Of samples and points; of the likelihood, whose "
                             "default is the Runge-Kutta method, the solver of its ODE: ode, or any with steps.")
_STEPS = flags.DEFINE_integer("steps", None, "Of the sampler; by default its own number.", lower_bound=1)
_GUIDANCE = flags.DEFINE_float("guidance", 1.0, "Scale of classifier-free guidance; 1 for none.", lower_bound=0.0)
_SAMPLES = flags.DEFINE_integer("samples", 1_000, "Samples to score, at most as many as training examples; of points "
                                "by default 10,000.", lower_bound=FEWEST)
_START = flags.DEFINE_float("start", None, "The time that samples end at, by default the experiment's; and that the "
                            "likelihood begins at, by default the smallest that was trained.")
_ARRAYS = flags.DEFINE_string("arrays", None, "Samples to score in place of new ones: what launch.sample "
                              "--output=samples.npz wrote.")
_FEATURES = flags.DEFINE_string("features", "pixels", "What samples are compared by.")
_STATISTICS = flags.DEFINE_string("statistics", None, "Moments that the Fréchet distance is to, such as a published "
                                  "file's (.npz of mu and sigma, of these features), in place of the training data's.")
_SHOTS = flags.DEFINE_integer("shots", 0, "Solved problems before each, of tasks.", lower_bound=0)
_TASK_FILES = flags.DEFINE_list("task_files", [], "Files of tasks in BIG-bench's format, in place of the run's tasks.")
_OF_SAMPLES = ("samples", "points")
_OF_DIFFUSION = (*_OF_SAMPLES, "likelihood")
_READERS = {"sampler": _OF_DIFFUSION, "steps": _OF_DIFFUSION, "start": _OF_DIFFUSION,
            "guidance": ("samples",), "samples": _OF_SAMPLES, "arrays": _OF_SAMPLES,
            "features": ("samples",), "statistics": ("samples",),
            "shots": ("tasks",), "task_files": ("tasks",)}
# What is known of a number stands beside it in a record, and behind it on the screen.
_COMPANIONS = ("/chance", "/examples", "/answer_length")
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object instead of a table.")


def main() -> int:
    """Prints the held-out metrics of a run's newest checkpoint."""
    enable_compilation_cache()
    _check_flags()
    run = load_run(_WORKDIR.value)
    run = run.untrained() if _UNTRAINED.value else run
    given, settings = read_arrays(_ARRAYS.value, run) if _ARRAYS.value else (None, {})
    extractor, classifier = extractor_of(_FEATURES.value, run)
    evaluations = {name: _set_up(EVALUATIONS[name], run, extractor) for name in _EVALUATION.value}
    for name, evaluation in evaluations.items():
        made = {"made": True} if given and name in _OF_SAMPLES else {}
        evaluation.check(run.experiment.objective, run.experiment.data, **made)
    samples, points = (evaluations.pop(name, None) for name in _OF_SAMPLES)
    bar = Bar(Console(stderr=True), transient=True)
    run = dataclasses.replace(run, watch=bar.watch)
    with bar:
        found = run.evaluate(_EXAMPLES.value, list(evaluations.values()))
        found |= points.run(run.collect, given) if points else {}
    said: dict[str, Any] = {"step": run.step} | {
        name: {"mean": mean, "standard_error": None if math.isnan(error) else error}
        for name, (mean, error) in found.items()}
    if points:
        said["points"] = {"made_by": settings or made_by(run, points.draw)}
    if not _JSON.value:
        print(f"step {run.step} of {_WORKDIR.value}, on {_EXAMPLES.value or 'all'} held-out examples")
        _print_table(found)
        if points:
            _print_settings(said["points"]["made_by"])
    if samples:
        with bar:
            record, read = scores(run, samples, classifier, given, lambda name: bar.begin(f"comparing: {name}"))
        settings = settings or made_by(run, samples.draw)
        read_as = {name: score._asdict() for name, score in read.items()}
        said["samples"] = record.to_json() | {"read": read_as, "made_by": settings}
        if not _JSON.value:
            print(record)
            for name, score in read.items():
                print(f"  {name}  {score}")
            _print_settings(settings)
    if _JSON.value:
        print(json.dumps(said))
    return 0


def _check_flags() -> None:
    """Raises ConfigError, in one line, for flags that nobody reads."""
    for name in _EVALUATION.value:
        if name not in EVALUATIONS:
            raise ConfigError(f"there is no evaluation {name!r}; there are: {', '.join(EVALUATIONS)}")
    for name, readers in _READERS.items():
        if flags.FLAGS[name].present and not set(readers) & set(_EVALUATION.value):
            raise ConfigError(f"--{name} is read by --evaluation={' or '.join(readers)} alone")
    if not _ARRAYS.value:
        return
    for name in ("sampler", "steps", "start", "guidance", "samples"):
        if flags.FLAGS[name].present and not ("likelihood" in _READERS[name] and "likelihood" in _EVALUATION.value):
            raise ConfigError(f"--{name} does not go with --arrays, whose samples are made")


def _print_settings(settings: dict[str, Any]) -> None:
    print("  made by", ", ".join(f"{name}={value}" for name, value in settings.items()))


def _print_table(found: dict[str, Estimate]) -> None:
    width = max(map(len, found))
    for name, (mean, standard_error) in sorted(found.items(), key=_by_number):
        if not name.endswith(_COMPANIONS):
            chance = f" (chance {found[f'{name}/chance'].mean:.5g})" if f"{name}/chance" in found else ""
            error = "unknown" if math.isnan(standard_error) else f"{standard_error:.5f}"
            print(f"{name:>{width}} {mean:.5f} +- {error}{chance}", flush=True)


def _by_number(item):
    """Names in the order of the numbers in them: 2_to_3 before 16_to_31."""
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", item[0])]


def _set_up(evaluation, run, extractor):
    """The evaluation as the flags and the run have it."""
    if isinstance(evaluation, SampleQuality):
        return dataclasses.replace(evaluation, sampler=named_sampler(_SAMPLER.value, _STEPS.value), extractor=extractor,
                                   guidance=_GUIDANCE.value, samples=_SAMPLES.value, start=_START.value,
                                   statistics=_STATISTICS.value)
    if isinstance(evaluation, PointQuality):
        given = {"source": getattr(run.experiment.data, "source", None), "start": _START.value}
        if flags.FLAGS["sampler"].present or _STEPS.value:
            given["sampler"] = named_sampler(_SAMPLER.value, _STEPS.value)
        if flags.FLAGS["samples"].present:
            given["samples"] = _SAMPLES.value
        return dataclasses.replace(evaluation, **given)
    if evaluation is TaskScores:
        return _task_scores(run.experiment.data)
    if isinstance(evaluation, KShot):
        return dataclasses.replace(evaluation, functions=getattr(run.experiment.data, "functions", None))
    if isinstance(evaluation, BitsPerDimension):
        flow = evaluation.flow
        if flags.FLAGS["sampler"].present:
            flow = flow_of(named_sampler(_SAMPLER.value, _STEPS.value))
        elif _STEPS.value:
            flow = dataclasses.replace(flow, steps=_STEPS.value)
        return dataclasses.replace(evaluation, flow=flow, held_out_examples=_EXAMPLES.value, start=_START.value)
    if not hasattr(evaluation, "train_examples"):
        return evaluation
    # A pool of labels that grows with the classes, up to what there is.
    classes = getattr(run.experiment.data, "num_classes", 0)
    return dataclasses.replace(evaluation, train_examples=max(evaluation.train_examples, 64 * classes))


def _task_scores(data) -> TaskScores:
    """Scores on the files of tasks, or else on the tasks that the run has learnt."""
    if not _TASK_FILES.value and not hasattr(data, "tasks"):
        raise ConfigError(f"{type(data).__name__} has no tasks; name files of tasks with --task_files")
    settings = {"tasks": tuple(map(BigBench, _TASK_FILES.value))} if _TASK_FILES.value else {}
    if _EXAMPLES.value:
        settings |= {"examples": _EXAMPLES.value, "detailed_examples": _EXAMPLES.value}
    return TaskScores.of(data, shots=_SHOTS.value, **settings)


if __name__ == "__main__":
    command.run(main)

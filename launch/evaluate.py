"""Evaluates a run on its held-out data: every metric with its standard error, and evaluations by name.

    python -m launch.evaluate --workdir=runs/gpt
    python -m launch.evaluate --workdir=runs/vit --evaluation=few_shot,knn,calibration
    python -m launch.evaluate --workdir=runs/vit --evaluation=few_shot --untrained

Evaluations: few_shot (a linear probe on 5, 10 and 25 labels a class), knn (a vote of nearest neighbours), both on
frozen features; calibration (expected calibration error and Brier score). --untrained asks fresh parameters instead of
the trained ones: the baseline of a probe.
"""

import dataclasses
import json

from absl import flags

from genlab.configuration import ConfigError
from genlab.objectives.calibration import Calibration
from genlab.objectives.probes import FewShotProbe, NearestNeighbours
from genlab.trained import load_run
from genlab.training.program import enable_compilation_cache
from launch import flags as command

EVALUATIONS = {"few_shot": FewShotProbe(), "knn": NearestNeighbours(), "calibration": Calibration()}

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_EXAMPLES = flags.DEFINE_integer("examples", 0, "Held-out examples, evenly spaced; 0 for all.", lower_bound=0)
_EVALUATION = flags.DEFINE_list("evaluation", [], f"Further evaluations: {', '.join(EVALUATIONS)}.")
_UNTRAINED = flags.DEFINE_bool("untrained", False, "Evaluate fresh parameters instead of the trained ones.")
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object instead of a table.")


def main() -> int:
    """Prints the held-out metrics of a run's newest checkpoint."""
    enable_compilation_cache()
    for name in _EVALUATION.value:
        if name not in EVALUATIONS:
            raise ConfigError(f"there is no evaluation {name!r}; there are: {', '.join(EVALUATIONS)}")
    run = load_run(_WORKDIR.value)
    run = run.untrained() if _UNTRAINED.value else run
    found = run.evaluate(_EXAMPLES.value, [_sized(EVALUATIONS[name], run) for name in _EVALUATION.value])
    if _JSON.value:
        print(json.dumps({"step": run.step} | {name: estimate._asdict() for name, estimate in found.items()}))
        return 0
    print(f"step {run.step} of {_WORKDIR.value}, on {_EXAMPLES.value or 'all'} held-out examples")
    for name, (mean, standard_error) in sorted(found.items()):
        print(f"{name:>17} {mean:.5f} +- {standard_error:.5f}")
    return 0


def _sized(evaluation, run):
    """The evaluation with a pool of labels that grows with the classes, up to what there is."""
    if not hasattr(evaluation, "train_examples"):
        return evaluation
    classes = getattr(run.experiment.data, "num_classes", 0)
    return dataclasses.replace(evaluation, train_examples=max(evaluation.train_examples, 64 * classes))


if __name__ == "__main__":
    command.run(main)

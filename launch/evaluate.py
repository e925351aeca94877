"""Evaluates a run on its held-out data: every metric with its standard error.

    python -m launch.evaluate --workdir=runs/gpt
"""

import json

from absl import flags

from genlab.experiment import load_run
from genlab.training.program import enable_compilation_cache
from launch import flags as command

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_EXAMPLES = flags.DEFINE_integer("examples", 0, "Held-out examples, evenly spaced; 0 for all.", lower_bound=0)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object instead of a table.")


def main() -> int:
    """Prints the held-out metrics of a run's newest checkpoint."""
    enable_compilation_cache()
    run = load_run(_WORKDIR.value)
    found = run.evaluate(_EXAMPLES.value)
    if _JSON.value:
        print(json.dumps({"step": run.step} | {name: estimate._asdict() for name, estimate in found.items()}))
        return 0
    print(f"step {run.step} of {_WORKDIR.value}, on {_EXAMPLES.value or 'all'} held-out examples")
    for name, (mean, standard_error) in sorted(found.items()):
        print(f"{name:>12} {mean:.5f} +- {standard_error:.5f}")
    return 0


if __name__ == "__main__":
    command.run(main)

"""Trains the experiment of a JSON file in a folder: python -m tests.run_of_config JSON FOLDER."""

import json
import sys
from pathlib import Path

from genlab.configuration import from_json
from genlab.experiment import run

if __name__ == "__main__":
    result = run(from_json(json.loads(Path(sys.argv[1]).read_text())), Path(sys.argv[2]))
    print(json.dumps([result.outcome.metrics, result.outcome.curve, result.flops, result.tokens]))

"""The house's import rules, as pyproject.toml states them."""

import subprocess
import sys
from pathlib import Path


def test_imports_run_down_the_house():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

"""What `launch.sweep` says at the end of a sweep of several families."""

import subprocess
import sys
from pathlib import Path

# In a process of its own: every command defines its flags when it is imported.
SAY = """
import sys
from pathlib import Path
from genlab.scaling import load_analysis
from launch.sweep import summary

folder = Path(sys.argv.pop())
print(summary(load_analysis(folder / "fit.json"), folder, 61))
"""


def test_the_law_and_the_forecasts_of_each_family_are_said(tmp_path, vision_families):
    vision_families.save(tmp_path / "fit.json")
    command = [sys.executable, "-c", SAY, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [rest for head, rest in lines if head == "family"] == ["vit", "mixer"]
    run = "vit-600000-600000"
    told = [rest.partition(":")[0] for head, rest in lines if head == "forecast"]
    assert told[:3] == [run, f"loss of {run}, by the frontier", f"error of {run}, by the frontier"]
    assert len([head for head, _ in lines if head == "frontier"]) == 4
    assert [head for head, _ in lines if head == "law"] == ["law"] * 2

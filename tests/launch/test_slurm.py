"""Two tasks under a real SLURM, which these tests start, train the run of one process."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.launch.commands import ROOT
from tests.launch.slurm import NoSlurm, slurm
from tests.launch.together import RUN, assert_same_run, lines, with_devices


@pytest.fixture(scope="module")
def srun(environment):
    """Runs `python -m MODULE ARGUMENTS` as two tasks of two devices each."""
    folder = Path(tempfile.mkdtemp())  # pytest's own are too long for the name of a socket.
    try:
        with slurm(folder) as variables:
            def run(*arguments):
                command = ["srun", "--ntasks=2", "--label", sys.executable, "-m", *arguments]
                return subprocess.run(command, cwd=ROOT, timeout=300, text=True, capture_output=True,
                                      env=with_devices(environment, 2) | variables)

            yield run
    except NoSlurm as reason:
        pytest.skip(f"no SLURM: {reason}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_two_tasks_train_the_run_of_one_process(srun, alone, tmp_path):
    ended = srun("launch.train", *RUN, f"--workdir={tmp_path}")
    assert (ended.returncode, ended.stderr) == (0, "")
    said = lines(ended.stdout)
    assert said[0] == f"0: 2 processes x 2 local devices (cpu) on {os.uname().nodename}"
    assert all(line.startswith("0: ") for line in said)  # The other one says nothing.
    assert_same_run(tmp_path, alone)


def test_a_sweep_is_one_task(srun, tmp_path):
    ended = srun("launch.sweep", "--config=tests/launch/tiny.py", f"--workdir={tmp_path / 'sweep'}")
    first, *others = [line for line in ended.stderr.splitlines() if not line.startswith("srun: ")]
    assert ended.returncode == 2 and not others and not (tmp_path / "sweep").exists()
    assert first.startswith("0: error: a sweep is one task") and "srun has started 2; take --ntasks=1" in first

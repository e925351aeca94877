"""Commands run to their end, each in a process forked from one that has imported what all of them import.

Importing takes two to four seconds of a core, which a hundred commands would each spend anew. Where a test must kill
or interrupt a command it starts a real `python -m launch.NAME` (test_train, test_sweep).
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([
    "genlab.experiment", "genlab.trained", "genlab.sweeps.run", "genlab.figures", "genlab.scaling", "diffrax",
    "matplotlib.pyplot", "pandas", "scipy.optimize", "scipy.stats", "PIL.Image",
])  # fmt: skip


def run_command(module: str, *arguments: str, environment: dict[str, str] | None = None,
                timeout: float = 300) -> subprocess.CompletedProcess:
    """What `python -m MODULE ARGUMENTS` returns and prints, in the repository's root.

    Raises:
      TimeoutError: it did not end in so many seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, error = Path(folder) / "out", Path(folder) / "error"
        process = _CONTEXT.Process(target=_run, args=(module, arguments, environment or {}, out, error))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"{module} {' '.join(arguments)} took more than {timeout} seconds")
        return subprocess.CompletedProcess((module, *arguments), process.exitcode, out.read_text(), error.read_text())


def _run(module: str, arguments: tuple[str, ...], environment: dict[str, str], out: Path, error: Path) -> None:
    os.chdir(ROOT)
    os.environ.update(environment)
    for path, descriptor in ((out, 1), (error, 2)):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), descriptor)
    sys.argv = [module, *arguments]
    sys.path.insert(0, str(ROOT))
    runpy.run_module(module, run_name="__main__", alter_sys=True)

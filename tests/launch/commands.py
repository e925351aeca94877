"""Commands run to their end, each in a process forked from one that has imported what all of them import.

Importing takes two to four seconds of a core, which a hundred commands would each spend anew. A test of
training interrupts a real `python -m launch.NAME` (test_train).
"""

import contextlib
import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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
    with started(module, *arguments, environment=environment) as command:
        return command.finish(timeout)


class Started:
    """A command that runs.

    Attributes:
      process: its process.
    """

    def __init__(self, module: str, arguments: tuple[str, ...], environment: dict[str, str], folder: Path):
        self._line = (module, *arguments)
        self._out, self._error = folder / "out", folder / "error"
        self.process = _CONTEXT.Process(target=_run, args=(module, arguments, environment, self._out, self._error))
        self.process.start()

    def finish(self, timeout: float = 300) -> subprocess.CompletedProcess:
        """Waits for its end; errors as of `run_command`."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise TimeoutError(f"{' '.join(self._line)} took more than {timeout} seconds")
        return subprocess.CompletedProcess(self._line, self.process.exitcode, self._out.read_text(),
                                           self._error.read_text())


@contextlib.contextmanager
def started(module: str, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Started]:
    """Runs `python -m MODULE ARGUMENTS` at the same time as the block, at whose end it is killed."""
    with tempfile.TemporaryDirectory() as folder:
        command = Started(module, arguments, environment or {}, Path(folder))
        try:
            yield command
        finally:
            command.process.kill()
            command.process.join()


def _run(module: str, arguments: tuple[str, ...], environment: dict[str, str], out: Path, error: Path) -> None:
    os.chdir(ROOT)
    os.environ.update(environment)
    for path, descriptor in ((out, 1), (error, 2)):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), descriptor)
    sys.argv = [module, *arguments]
    sys.path.insert(0, str(ROOT))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def without_waiting(error: str) -> str:
    """What was said but for what a machine that runs tests may be too busy for: Orbax's warning, a command's bar."""
    busy = re.compile(r".*Waiting for previous save|\d+/\d+  (held-out )?batches|comparing: ")
    return "".join(line for line in error.splitlines(True) if not busy.match(line))

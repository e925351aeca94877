"""What tests of several processes share: the run that they train, and how they are started and read."""

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from genlab.sweeps.record import read_record
from genlab.training.logs import read_metrics
from tests.launch.commands import Started, started

# Gloo's threads say how many peers they have, a piece at a time and one into the other's line, which srun labels.
_GLOO = re.compile(
    r"(\d: )?(\[Gloo\] Rank | is connected to | peer ranks\. |Expected number of connected peer ranks is : |\d)*")

RUN = ("--config=tests/launch/tiny.py:8",)  # 48 steps, with a checkpoint and a line in the log every 16


def with_devices(environment: dict[str, str], count: int) -> dict[str, str]:
    """Variables for a process with so many simulated devices."""
    return environment | {"XLA_FLAGS": f"{environment['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"}


def free_address() -> str:
    """HOST:PORT of this machine."""
    with socket.create_server(("", 0)) as server:
        return f"localhost:{server.getsockname()[1]}"


@contextlib.contextmanager
def two(environment: dict[str, str], folder: Path) -> Iterator[list[Started]]:
    """Both processes of the run, with two devices each."""
    address = free_address()
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(started(
            "launch.train", *RUN, f"--workdir={folder}", f"--coordinator={address}", "--processes=2",
            f"--process={process}", environment=with_devices(environment, 2))) for process in (0, 1)]


def lines(text: str) -> list[str]:
    """Without those of Gloo."""
    return [line for line in text.splitlines() if not _GLOO.fullmatch(line)]


def assert_same_run(folder: Path, alone: Path) -> None:
    """Log and record of a run by two processes are those of the run by one."""
    names = ("step", "loss", "gradient_norm", "held_out/loss", "held_out/loss_se", "held_out/accuracy")
    logs = [[[row.get(name, np.nan) for name in names] for row in read_metrics(each)] for each in (folder, alone)]
    np.testing.assert_allclose(*logs, rtol=1e-5)
    ours, theirs = read_record(folder), read_record(alone)
    assert (ours.status, ours.process_count, ours.device_count) == ("finished", 2, 4)
    assert (theirs.process_count, theirs.device_count) == (1, 4)
    np.testing.assert_allclose(ours.curve, theirs.curve, rtol=1e-5)
    for name in ("steps", "examples", "flops", "data_hash", "config_hash"):
        assert getattr(ours, name) == getattr(theirs, name), name

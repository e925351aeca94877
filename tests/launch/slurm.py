"""A real SLURM on this machine for the length of a test: munged, slurmctld and slurmd, of one node with two CPUs."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_COMMANDS = ("munged", "slurmctld", "slurmd", "srun", "sinfo")
_CONFIGURATION = """
ClusterName=genlab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""


class NoSlurm(Exception):
    """Why there is none here."""


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """A SLURM whose commands take the variables that this yields.

    Raises:
      NoSlurm: it is not installed, or does not start.
    """
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [command for command in _COMMANDS if not shutil.which(command, path=path)]
    if missing:
        raise NoSlurm(f"there is no {', '.join(missing)} (Debian: apt install slurm-wlm munge)")
    if os.getuid():
        raise NoSlurm("its daemons need root")
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o400)
    (folder / "slurm.conf").write_text(_CONFIGURATION.format(
        host=host, folder=folder, controller=_free_port(), daemon=_free_port()))
    (folder / "cgroup.conf").write_text("IgnoreSystemd=yes\n")  # There is none in a container.
    environment = {"PATH": path, "SLURM_CONF": str(folder / "slurm.conf")}
    munge = [f"--{name}={folder}/munge.{end}" for name, end in (
        ("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed"))]
    daemons = (["munged", "--foreground", "--force", *munge], ["slurmctld", "-D"], ["slurmd", "-D", "-N", host])
    with contextlib.ExitStack() as stack:
        for daemon in daemons:
            stack.enter_context(_running(daemon, folder, environment))
            if daemon[0] == "munged":
                _wait_for((folder / "munge.socket").exists, folder)
        _wait_for(lambda: _answers(["sinfo", "--noheader", "--format=%T"], environment) == "idle", folder)
        yield environment


@contextlib.contextmanager
def _running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    with open(folder / f"{command[0]}.out", "w") as out:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True).stdout.strip()


def _wait_for(condition, folder: Path, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            said = "; ".join(f"{file.stem}: {file.read_text()[-200:]}" for file in sorted(folder.glob("*.out")))
            raise NoSlurm(f"it does not start ({' '.join(said.split())})")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]

"""What tests that start the commands as processes share."""

import os

import pytest


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """For processes of a command: one device, compiled for as quickly as in other tests, and a cache for them all."""
    flags = " ".join(flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag)
    return {**os.environ, "GENLAB_CACHE": str(tmp_path_factory.mktemp("cache")), "XLA_FLAGS": flags}


@pytest.fixture(scope="session")
def alone(tmp_path_factory, environment):
    """The folder of the run that test_hosts and test_slurm train together, by one process with four devices."""
    from tests.launch.commands import run_command
    from tests.launch.together import RUN, with_devices

    folder = tmp_path_factory.mktemp("alone")
    ended = run_command("launch.train", *RUN, f"--workdir={folder}", environment=with_devices(environment, 4))
    assert (ended.returncode, ended.stderr) == (0, "")
    return folder

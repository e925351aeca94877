"""What tests that start the commands as processes share."""

import os

import pytest


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """For processes of a command: their own compilation cache, one for all tests, and quick compilation."""
    # Halves the time of compilation; what is compiled does not matter here.
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    return {**os.environ, "GENLAB_CACHE": str(tmp_path_factory.mktemp("cache")), "XLA_FLAGS": flags}

"""What tests of models share."""

import jax
import pytest


@pytest.fixture
def optimized():
    """For a rounding that is XLA's as it optimises: other tests are compiled in a hurry."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)

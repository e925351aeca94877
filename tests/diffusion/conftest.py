"""Tests of diffusion's mathematics may run in float64."""

import jax
import pytest


@pytest.fixture
def float64():
    """Switches float64 on for one test."""
    with jax.enable_x64(True):
        yield

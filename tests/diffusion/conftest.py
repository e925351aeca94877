"""Tests of diffusion's mathematics may run in float64, and are compiled in a hurry: it is most of their time."""

import jax
import pytest


@pytest.fixture
def float64():
    """Switches float64 on for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def hurried(hurried_compilation):
    """For all of them."""

"""Meshes of devices whose arrays XLA lays out."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh


def device_mesh(shape: tuple[int, ...], axes: tuple[str, ...], devices: Sequence[Any]) -> Mesh:
    """A mesh of Auto axes: jax.make_mesh's own default, explicit ones, asks the program for every layout."""
    return jax.make_mesh(shape, axes, axis_types=(AxisType.Auto,) * len(axes), devices=devices)

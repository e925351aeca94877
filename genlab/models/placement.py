"""Where activations live, by the letters of their axes: a hint to the compiler that a plan may give."""

import contextlib
import contextvars
import functools
import math
from collections.abc import Hashable, Iterator, Mapping

import jax
from absl import logging
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# Of the letters that plans know: what there are so many of.
_COUNTED = {"B": "examples", "T": "positions", "H": "heads", "G": "heads of keys", "F": "channels of MLPs",
            "V": "tokens of the vocabulary"}
_PLAN: contextvars.ContextVar[tuple[Mesh, Mapping[str, tuple[str, ...]]] | None] = contextvars.ContextVar(
    "plan", default=None)


@contextlib.contextmanager
def on(mesh: Mesh, axes: Mapping[str, tuple[str, ...]]) -> Iterator[None]:
    """Functions traced within cut the axis of each letter over those axes of the mesh."""
    token = _PLAN.set((mesh, axes))
    try:
        yield
    finally:
        _PLAN.reset(token)


@contextlib.contextmanager
def nowhere() -> Iterator[None]:
    """Functions traced within cut nothing, whatever plan they are within."""
    token = _PLAN.set(None)
    try:
        yield
    finally:
        _PLAN.reset(token)


def place(x, letters: str):
    """Returns x, an array with one axis a letter, cut as the plan says of the letters; without a plan, x as it is.

    A letter that the plan does not know, or whose axis does not divide, is not cut; the latter is warned of once.
    """
    plan = _PLAN.get()
    if plan is None:
        return x
    spec = PartitionSpec(*map(_names, letters, x.shape))
    return jax.lax.with_sharding_constraint(x, NamedSharding(plan[0], spec))


def where() -> Hashable:
    """The plan in force, None without one: what jax.jit does not know that a function was traced under."""
    plan = _PLAN.get()
    return None if plan is None else (plan[0], tuple(sorted(plan[1].items())))


def parts(letter: str, size: int) -> int:
    """Into how many parts the plan cuts an axis of this letter and size; 1 without a plan."""
    names = _names(letter, size)
    return math.prod(_PLAN.get()[0].shape[name] for name in names) if names else 1


def _names(letter: str, size: int) -> tuple[str, ...] | None:
    plan = _PLAN.get()
    if plan is None:
        return None
    mesh, axes = plan
    names = tuple(name for name in axes.get(letter, ()) if mesh.shape[name] > 1)
    count = math.prod(mesh.shape[name] for name in names)
    if size % count and size > 1:
        _warn(size, _COUNTED.get(letter, letter), " x ".join(names), count)
    return names if names and size % count == 0 else None


@functools.lru_cache(maxsize=256)
def _warn(size: int, what: str, axis: str, count: int) -> None:
    logging.warning("%d %s do not divide over %s=%d: each of its devices computes all of them", size, what, axis, count)

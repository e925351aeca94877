"""Counts the floating-point operations of the real training step, from its jaxpr.

Counted are matrix products and convolutions, the operations a matrix unit runs. Everything else
(norms, softmax, activations, the optimizer) is left out: it is bound by memory, and nearly every
published convention leaves it out too. What is counted is what the program runs: a masked causal
attention counts its full square, and rematerialisation counts its recomputation (for the model's
own FLOPs, as MFU wants them, count the step with remat off). The textbook formulas are in
`conventions.py`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend import core
from jax.interpreters import partial_eval

# Primitives that hide arithmetic from the jaxpr: each gets a note instead of a silent zero.
_OPAQUE = ("ffi_call", "custom_call", "callback", "dot_product_attention", "cudnn")


@dataclass(frozen=True)
class Operation:
    """One shape of matmul or convolution: how often a step runs it, and what that costs.

    `shapes` reads "[batch] m x k x n" for a matmul, "input * kernel -> output" for a convolution;
    `times` is the number of executions a step, scans multiplied through, `flops` their sum.
    """

    kind: str
    shapes: str
    dtype: str
    times: int
    flops: int


@dataclass(frozen=True)
class Count:
    """The floating-point operations of one call: two per multiply-add, summed over all devices."""

    flops: int
    operations: tuple[Operation, ...]
    notes: tuple[str, ...]

    def of(self, kind: str) -> int:
        """The FLOPs of one kind of operation: "matmul" or "convolution"."""
        return sum(operation.flops for operation in self.operations if operation.kind == kind)


def count_flops(function: Callable, *args: Any) -> Count:
    """Counts the matmul and convolution FLOPs of `function(*args)` without running or compiling it.

    Args:
        function: anything jax can trace, e.g. the jitted, pmapped or sharded training step.
        *args: pytrees of arrays or `jax.ShapeDtypeStruct`.

    Returns:
        The count, its largest operations first. Scans multiply by their length, a `cond` counts its
        most expensive branch, a `while` counts its body once and says so in `notes`; work whose
        result is never used is left out, as XLA leaves it out.
    """
    return count_jaxpr(jax.make_jaxpr(function)(*args))


def count_jaxpr(closed: core.ClosedJaxpr) -> Count:
    """`count_flops` of what was traced already, e.g. `jax.jit(step).trace(...).jaxpr`."""
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    tally: dict[tuple[str, str, str], list[int]] = {}
    notes: list[str] = []
    for kind, shapes, dtype, times, flops in _operations(jaxpr, 1, notes):
        entry = tally.setdefault((kind, shapes, dtype), [0, 0])
        entry[0] += times
        entry[1] += times * flops
    operations = [
        Operation(*key, times=times, flops=flops) for key, (times, flops) in tally.items()
    ]
    operations.sort(key=lambda operation: -operation.flops)
    total = sum(operation.flops for operation in operations)
    return Count(total, tuple(operations), tuple(dict.fromkeys(notes)))


def _operations(jaxpr, times: int, notes: list[str]) -> Iterator[tuple[str, str, str, int, int]]:
    """Yields (kind, shapes, dtype, times, flops of one execution) for every counted equation."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            yield "matmul", *_matmul(equation), times, _matmul_flops(equation)
        elif name == "ragged_dot_general":
            yield "matmul", *_ragged(equation), times, _ragged_flops(equation)
        elif name == "conv_general_dilated":
            yield "convolution", *_convolution(equation), times, _convolution_flops(equation)
        elif name == "cond":
            yield from _most_expensive_branch(equation, times, notes)
        elif name == "custom_linear_solve":
            yield from _operations(equation.params["jaxprs"].solve.jaxpr, times, notes)
        else:
            if any(opaque in name for opaque in _OPAQUE):
                notes.append(f"{name} hides its arithmetic: not counted")
            repeats = times * _repeats(equation, notes)
            for inner in core.jaxprs_in_params(equation.params):
                yield from _operations(inner, repeats, notes)


def _repeats(equation, notes: list[str]) -> int:
    """How many times an equation runs its inner jaxprs: scan steps, devices, or kernel programs."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return params["length"]
    if name == "while":
        notes.append("a while loop's number of iterations is unknown: its body is counted once")
    if name == "shard_map":  # The inner jaxpr is one device's share.
        return math.prod(params["mesh"].shape[axis] for axis in params["newly_manual_axes"])
    if name == "xla_pmap":
        return params["global_axis_size"]
    if name == "pallas_call":
        grid = params["grid_mapping"].grid
        if all(isinstance(size, int) for size in grid):
            return math.prod(grid)
        notes.append("a pallas kernel has a grid of unknown size: counted for one program")
    return 1


def _most_expensive_branch(equation, times: int, notes: list[str]):
    branches = [
        list(_operations(branch.jaxpr, times, notes)) for branch in equation.params["branches"]
    ]
    return max(branches, key=lambda operations: sum(n * flops for *_, n, flops in operations))


def _matmul_flops(equation) -> int:
    """2 x (elements of the result) x (length of the contraction)."""
    (contracting, _), _ = equation.params["dimension_numbers"]
    lhs = equation.invars[0].aval
    return 2 * equation.outvars[0].aval.size * math.prod(lhs.shape[axis] for axis in contracting)


def _matmul(equation) -> tuple[str, str]:
    (contracting, _), (batch, _) = equation.params["dimension_numbers"]
    lhs, rhs, out = equation.invars[0].aval, equation.invars[1].aval, equation.outvars[0].aval
    k = math.prod(lhs.shape[axis] for axis in contracting)
    b = math.prod(lhs.shape[axis] for axis in batch)
    m, n = lhs.size // max(b * k, 1), rhs.size // max(b * k, 1)
    return (f"[{b}] " if b > 1 else "") + f"{m} x {k} x {n}", str(out.dtype)


def _ragged_flops(equation) -> int:
    """Every row of the left side meets one group's matrix: 2 x rows x contraction x columns."""
    dimensions = equation.params["ragged_dot_dimension_numbers"]
    (contracting, _), (batch, _) = dimensions.dot_dimension_numbers
    lhs, rhs = equation.invars[0].aval, equation.invars[1].aval
    groups = math.prod(rhs.shape[axis] for axis in dimensions.rhs_group_dimensions)
    k = math.prod(lhs.shape[axis] for axis in contracting)
    b = math.prod(lhs.shape[axis] for axis in batch)
    # With the ragged axis contracted (a weight gradient) rhs has no group axis and groups is 1.
    return 2 * lhs.size * (rhs.size // max(groups * b * k, 1))


def _ragged(equation) -> tuple[str, str]:
    lhs, rhs, out = equation.invars[0].aval, equation.invars[1].aval, equation.outvars[0].aval
    return f"{_shape(lhs)} x grouped {_shape(rhs)}", str(out.dtype)


def _convolution_flops(equation) -> int:
    """2 x batch x output channels x input channels of a group x (position, tap) pairs in bounds.

    Taps on padding, and on the zeros that a dilated input has between its elements, do not count:
    so a strided convolution and its two gradients cost the same, and the count agrees with XLA's.
    """
    params = equation.params
    numbers = params["dimension_numbers"]
    lhs, rhs, out = (v.aval.shape for v in (*equation.invars[:2], *equation.outvars))
    pairs = 1
    for axis in range(len(params["window_strides"])):
        size = lhs[numbers.lhs_spec[2 + axis]]
        positions = (
            np.arange(out[numbers.out_spec[2 + axis]])[:, None] * params["window_strides"][axis]
            + np.arange(rhs[numbers.rhs_spec[2 + axis]]) * params["rhs_dilation"][axis]
            - params["padding"][axis][0]
        )
        spread = params["lhs_dilation"][axis]
        inside = (positions >= 0) & (positions <= (size - 1) * spread) & (positions % spread == 0)
        pairs *= int(inside.sum())
    batch, features = out[numbers.out_spec[0]], out[numbers.out_spec[1]]
    return 2 * batch * features * rhs[numbers.rhs_spec[1]] * pairs


def _convolution(equation) -> tuple[str, str]:
    lhs, rhs, out = (v.aval for v in (*equation.invars[:2], *equation.outvars))
    return f"{_shape(lhs)} * {_shape(rhs)} -> {_shape(out)}", str(out.dtype)


def _shape(aval) -> str:
    return "[" + ", ".join(map(str, aval.shape)) + "]"

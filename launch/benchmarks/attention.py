"""Attention forward and backward by length: plain operations against what is chosen here, and against blocks."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from genlab.models import blockwise_attention, fast_ops, ops
from genlab.scaling.counting.compute import count_flops
from genlab.scaling.counting.devices import floors
from launch.benchmarks.timing import Side, milliseconds

HEADS, HEAD_WIDTH = 4, 64
TOKENS = 4096  # Of a batch, whatever their lengths, but for one sequence that is longer.
LENGTHS = (128, 512, 2048)
LARGEST_ERROR = {"float32": 1e-4, "bfloat16": 5e-2}  # Of output and gradients, over their largest entry.


def dtype() -> str:
    """What is computed in: bfloat16, but float32 on CPU."""
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"


def inputs(T: int) -> tuple[jax.Array, ...]:
    """Queries, keys, values and the output's gradient, each [B, T, H, K]."""
    shape = (max(1, TOKENS // T), T, HEADS, HEAD_WIDTH)
    random = np.random.default_rng(0)
    return tuple(jnp.asarray(random.standard_normal(shape), dtype()) for _ in range(4))


def forward_and_backward(attention: Callable) -> Callable:
    """(q, k, v, g) -> (output, gradients of its product with g)."""
    def both(q, k, v, g):
        out, pull = jax.vjp(lambda q, k, v: attention(q, k, v, causal=True), q, k, v)
        return out, pull(g)

    return both


def sides(T: int) -> tuple[dict[str, Callable], dict[str, int]]:
    """By name, the plain one first: compiled functions of nothing, and the bytes that XLA plans for them to work in."""
    arguments = inputs(T)
    functions = {"plain": ops.attention, "chosen": ops.attention, "block-wise": blockwise_attention.attention}
    found = {}
    for name, function in functions.items():
        both = jax.jit(forward_and_backward(function))
        if name == "plain":
            with fast_ops.disabled():
                found[name] = both.lower(*arguments).compile()
        else:
            found[name] = both.lower(*arguments).compile()
    calls = {name: lambda compiled=compiled: compiled(*arguments) for name, compiled in found.items()}
    return calls, {name: compiled.memory_analysis().temp_size_in_bytes for name, compiled in found.items()}


def error(one, other) -> float:
    """The largest difference of any array, over its largest entry."""
    return max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in
               zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def _floors(T: int) -> dict | None:
    """The roofline's floors, where the device is known: arithmetic of the full square, bytes of what must move."""
    arguments = inputs(T)
    with fast_ops.disabled():
        flops = count_flops(forward_and_backward(ops.attention), *arguments).flops
    # Four arrays are read; the output and three gradients are written.
    num_bytes = 8 * arguments[0].nbytes
    found = floors(flops, num_bytes, jax.devices()[0].device_kind, dtype())
    return None if found is None else {"arithmetic": found.arithmetic, "memory": found.memory}


def run(turns: int, seconds: float, console: Console, lengths: tuple[int, ...] = LENGTHS) -> tuple[dict, bool]:
    """Measures every length and prints a table; returns (results, whether all sides agree)."""
    console.print(f"causal attention, {HEADS} heads of {HEAD_WIDTH}, {dtype()}, forward and backward; milliseconds, "
                  "least / median over turns, and megabytes to work in", highlight=False, soft_wrap=True)
    rows, agree = [], True
    for T in lengths:
        calls, memory = sides(T)
        reference = calls["plain"]()
        errors = {name: error(call(), reference) for name, call in calls.items() if name != "plain"}
        good = all(value < LARGEST_ERROR[dtype()] for value in errors.values())
        agree &= good
        timed = [Side(name, call, jax.block_until_ready) for name, call in calls.items()]
        for turn in range(turns + 1):  # The first is not counted.
            for side in timed if turn % 2 else reversed(timed):
                side.take_turn(seconds if turn else 0.0)
        spent = {side.name: tuple(side.seconds[1:]) for side in timed}
        ratios = {name: float(np.median([p / s for p, s in zip(spent["plain"], spent[name], strict=True)]))
                  for name in errors}
        lowest = _floors(T)
        rows.append({"length": T, "batch": max(1, TOKENS // T), "seconds": {n: list(s) for n, s in spent.items()},
                     "memory": memory, "ratios": ratios, "errors": errors, "floors": lowest})
        text = "  ".join(f"{name} {milliseconds(spent[name])} {memory[name] / 1e6:.0f} MB" for name in spent)
        told = "  ".join(f"{name} {ratio:.2f}x" for name, ratio in ratios.items())
        floor = "" if lowest is None else (f"  floors {(lowest['arithmetic'] or 0) * 1e3:.3f} and "
                                           f"{lowest['memory'] * 1e3:.3f}")
        console.print(f"T={T:>6}  {text}  ratio to plain: {told}{floor}", highlight=False, soft_wrap=True)
        if not good:
            console.print(f"the sides do not compute the same: {errors}", highlight=False, soft_wrap=True)
    return {"dtype": dtype(), "lengths": rows}, agree

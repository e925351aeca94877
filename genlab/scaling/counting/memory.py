"""Estimates the memory of training before anything is compiled, from shapes alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend import core
from jax.interpreters import partial_eval

# XLA computes these where they are consumed; their results never reach memory.
_FREE = frozenset({"broadcast_in_dim", "iota", "reshape", "squeeze", "expand_dims"})
# A result of these takes the place of an operand that is as large and needed no more.
_ELEMENTWISE = frozenset({
    "abs", "add", "add_any", "and", "convert_element_type", "cos", "div", "eq", "erf", "exp", "expm1", "ge", "gt",
    "integer_pow", "is_finite", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or",
    "pow", "rsqrt", "select_n", "sign", "sin", "sqrt", "square", "sub", "tanh", "xor"})


@dataclass(frozen=True)
class Memory:
    """Bytes of one replica's training state, and of what one step needs on top at its peak."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it: what a device must hold when nothing is sharded."""
        return self.parameters + self.gradients + self.optimizer + self.activations


def estimate_memory(loss: Callable, params: Any, opt_state: Any, *rest: Any) -> Memory:
    """Estimates the bytes that training `loss(params, *rest) -> scalar` needs.

    Args:
        loss: the scalar loss; differentiated with respect to its first argument.
        params, opt_state, *rest: pytrees of arrays or `jax.ShapeDtypeStruct`.

    Returns:
        Exact bytes of parameters, gradients and optimizer state; `activations` is the peak of what
        is live in the gradient's jaxpr beside them, an estimate that knows no fusion (see
        `peak_live_bytes`).
    """
    parameters = tree_bytes(params)
    peak = peak_live_bytes(jax.grad(loss), params, *rest)
    return Memory(
        parameters=parameters,
        gradients=parameters,
        optimizer=tree_bytes(opt_state),
        activations=max(0, peak - parameters),
    )


def tree_bytes(tree: Any) -> int:
    """The bytes of all arrays (or shapes) of a pytree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def peak_live_bytes(function: Callable, *args: Any) -> int:
    """The most bytes live at once in `function(*args)`, its arguments aside, its results included.

    Runs the jaxpr in program order and frees each value after its last use; elementwise results take
    the place of an operand that ends with them. XLA fuses more (less memory) and may reorder and copy
    (more): an estimate, not a bound.
    """
    closed = jax.make_jaxpr(function)(*args)
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return _peak(jaxpr)


def _peak(jaxpr) -> int:
    last_use: dict[Any, int] = {}
    for index, equation in enumerate(jaxpr.eqns):
        last_use.update((v, index) for v in equation.invars if isinstance(v, core.Var))
    last_use.update((v, len(jaxpr.eqns)) for v in jaxpr.outvars if isinstance(v, core.Var))
    for equation in reversed(jaxpr.eqns):  # What is free is another view of its operands, which live as long.
        if equation.primitive.name in _FREE:
            until = max(last_use.get(v, -1) for v in equation.outvars)
            last_use.update((v, max(last_use[v], until)) for v in equation.invars if isinstance(v, core.Var))
    expanded = _expanded(jaxpr)
    held: dict[Any, int] = {}
    expiring: dict[int, list[Any]] = {}
    live = peak = 0
    for index, equation in enumerate(jaxpr.eqns):
        name = equation.primitive.name
        results = {v: 0 if name in _FREE or v in expanded else _bytes(v.aval) for v in equation.outvars}
        inside = sum(results.values())
        if not _is_elementwise(equation):
            inner = max((_peak(inner) for inner in core.jaxprs_in_params(equation.params)), default=0)
            # A scan's body works beside the stacked results; a call's results are its body's own.
            inside = inside + inner if name in ("scan", "while") else max(inside, inner)
        elif inside in (held[v] for v in expiring.get(index, ())):
            inside = 0
        peak = max(peak, live + inside)
        for v, size in results.items():
            if v in last_use:
                held[v] = size
                live += size
                expiring.setdefault(last_use[v], []).append(v)
        for v in expiring.pop(index, ()):
            live -= held.pop(v)
    return max(peak, live)


def _expanded(jaxpr) -> set[Any]:
    """Elementwise results of nothing but broadcasts, such as masks: XLA computes them again where they are consumed."""
    found: set[Any] = set()
    for equation in jaxpr.eqns:
        kind, size = equation.primitive.name, max((v.aval.size for v in equation.outvars), default=0)
        operands = [v for v in equation.invars if isinstance(v, core.Var) and v not in found]
        if (kind in _FREE or _is_elementwise(equation)) and all(v.aval.size < size for v in operands):
            found.update(equation.outvars)
    return found


def _is_elementwise(equation) -> bool:
    """Whether an equation is, or calls, nothing but elementwise operations (jnp.where is a call of one)."""
    if equation.primitive.name not in ("jit", "pjit"):
        return equation.primitive.name in _ELEMENTWISE
    return all(inner.primitive.name in _FREE or _is_elementwise(inner) for inner in equation.params["jaxpr"].eqns)


def _bytes(aval) -> int:
    dtype = getattr(aval, "dtype", None)
    return aval.size * dtype.itemsize if hasattr(dtype, "itemsize") else 0

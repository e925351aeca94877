"""Tables of rules: which axis of the mesh each dimension of a parameter is cut over, by its path."""

import math
import re
from collections.abc import Mapping, Sequence

from jax.sharding import PartitionSpec

# A pattern to search for in the path, and the axis of each of the last dimensions ("" for none).
Rule = tuple[str, tuple[str, ...]]

# Kernels [in, out] are cut so that the first of two matmuls needs no communication and the second one sum (Shoeybi et
# al. 2019, arXiv 1909.08053, section 3). Queries, keys and values lie in one kernel, and so do gate and up: XLA moves
# their parts to where the heads are.
TRANSFORMER: tuple[Rule, ...] = (
    (r"attention/(qkv|query|key_value)/kernel$", ("fsdp", "tensor")),
    (r"attention/(qkv|query|key_value)/bias$", ("tensor",)),
    (r"attention/output/kernel$", ("tensor", "fsdp")),
    (r"mlp/(up|gate_up)/kernel$", ("fsdp", "tensor")),
    (r"mlp/(up|gate_up)/bias$", ("tensor",)),
    (r"mlp/down/kernel$", ("tensor", "fsdp")),
    (r"(token_embedding|head)$", ("tensor", "fsdp")),
)
# Both MLPs, over patches and over channels.
MIXER: tuple[Rule, ...] = (
    (r"mlp/up/kernel$", ("fsdp", "tensor")),
    (r"mlp/up/bias$", ("tensor",)),
    (r"mlp/down/kernel$", ("tensor", "fsdp")),
)
TABLES: Mapping[str, tuple[Rule, ...]] = dict.fromkeys(("gpt", "vit", "dit", "mae"), TRANSFORMER) | {"mixer": MIXER}
# Families whose activations have an axis that "sequence" cuts, with attention across the cuts.
SEQUENTIAL = ("gpt", "vit", "dit", "mae")
# Smaller ones cost more to gather than they take to keep.
SMALLEST_CUT = 1024


def partition(rules: Sequence[Rule], axes: Mapping[str, int], path: str, shape: Sequence[int]) -> PartitionSpec:
    """How a parameter, or a moment of one, is cut.

    Args:
      rules: the first whose pattern is found in the path counts. Without one, "fsdp" takes the largest dimension that
        it divides.
      axes: sizes of the mesh by axis. An axis that does not divide its dimension is left out.
      path: such as "params/transformer/block_0/mlp/up/kernel".
      shape: of the array; a rule speaks of its last dimensions.
    """
    if math.prod(shape) < SMALLEST_CUT:
        return PartitionSpec()
    for pattern, names in rules:
        if re.search(pattern, path) and len(names) <= len(shape):
            padded = ("",) * (len(shape) - len(names)) + tuple(names)
            return _specification(padded, axes, shape)
    for dimension in sorted(range(len(shape)), key=lambda d: -shape[d]):
        if shape[dimension] % axes["fsdp"] == 0:
            return _specification(["fsdp" if d == dimension else "" for d in range(len(shape))], axes, shape)
    return PartitionSpec()


def unmatched(rules: Sequence[Rule], paths: Sequence[str]) -> list[str]:
    """Patterns found in none of the paths."""
    return [pattern for pattern, _ in rules if not any(re.search(pattern, path) for path in paths)]


def _specification(names: Sequence[str], axes: Mapping[str, int], shape: Sequence[int]) -> PartitionSpec:
    kept = [name if name and axes[name] > 1 and size % axes[name] == 0 else None
            for name, size in zip(names, shape, strict=True)]
    while kept and kept[-1] is None:  # As JAX writes it, so that equal layouts compare equal.
        kept.pop()
    return PartitionSpec(*kept)

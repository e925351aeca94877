"""How deep in a model each parameter lies: for learning rates that decay from the head down to the input."""

import re
from typing import Any

import jax
import numpy as np

PyTree = Any

# What follows the last block; all else outside the blocks precedes the first.
_OUTPUT = ("head", "final_norm", "attention_pooling")


def layer_multipliers(params: PyTree, decay: float) -> PyTree:
    """decay^(layers above) for every leaf: 1 for the head and the last norm, decay for the last block, and so on.

    The scale of BEiT and MAE (Bao et al. 2021, arXiv 2106.08254, appendix H; He et al. 2021, table 9). Blocks are known
    by their names: "block_3", "stage_1_block_2", or stacked by a scan in "blocks", whose leaves get one number a
    layer. With decay 0 only what follows the last block is trained.

    Returns:
      float32 arrays that broadcast against the leaves.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    places = {path: _place(path) for path, _ in leaves}
    order = sorted({place for place in places.values() if place})
    scanned = {path: leaf.shape[0] for path, leaf in leaves if "blocks" in _names(path)}
    depth = len(order) + max(scanned.values(), default=0)

    def multiplier(path, leaf):
        if path in scanned:
            layers = np.float32(decay) ** np.arange(depth, 0, -1, dtype=np.float32)
            return layers.reshape(-1, *[1] * (leaf.ndim - 1))
        if places[path]:
            return np.float32(decay) ** np.float32(depth - order.index(places[path]))
        above = 0 if any(name in _OUTPUT for name in _names(path)) else depth + 1
        return np.float32(decay) ** np.float32(above)

    return jax.tree_util.tree_map_with_path(multiplier, params)


def _place(path) -> tuple[int, ...]:
    """The numbers of the blocks (and stages) that a leaf lies in, () outside of them."""
    matches = [re.fullmatch(r"(?:stage_(\d+)_)?block_(\d+)", name) for name in _names(path)]
    return tuple(int(number or 0) for match in matches if match for number in match.groups())


def _names(path) -> list[str]:
    return [str(getattr(key, "key", getattr(key, "name", key))) for key in path]

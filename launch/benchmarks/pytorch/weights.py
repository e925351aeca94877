"""genlab's parameters by the names and in the layouts that PyTorch's modules have for them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from launch.benchmarks.pytorch.peer import Arrays

PyTree = Any


def noised(params: PyTree) -> PyTree:
    """Parameters on the host, with noise, so that those that start at zero are compared too."""
    random = np.random.default_rng(1)
    return jax.tree.map(lambda x: np.asarray(x) + 0.02 * random.standard_normal(x.shape, np.float32), params)


def unrolled(params: PyTree) -> PyTree:
    """Parameters with a scanned stack's blocks one by one."""
    stack = params["transformer"]
    if "blocks" not in stack:
        return params
    depth = len(jax.tree.leaves(stack["blocks"])[0])
    blocks = {f"block_{i}": jax.tree.map(lambda x, i=i: x[i], stack["blocks"]) for i in range(depth)}
    return params | {"transformer": {k: v for k, v in stack.items() if k != "blocks"} | blocks}


def linear(name: str, tree: PyTree) -> Arrays:
    """A linear layer, or one of several side by side whose trees are given, as torch names it."""
    trees = tree if isinstance(tree, list) else [tree]
    found = {f"{name}.weight": jnp.concatenate([t["kernel"] for t in trees], axis=1).T}
    if "bias" in trees[0]:
        found[f"{name}.bias"] = jnp.concatenate([t["bias"] for t in trees])
    return found


def norm(name: str, tree: PyTree) -> Arrays:
    """A LayerNorm as torch names it."""
    return {f"{name}.weight": tree["scale"], f"{name}.bias": tree["bias"]}


def patches(name: str, tree: PyTree, patch_size: int) -> Arrays:
    """A patch embedding as the convolution that torch has in its place."""
    p, (rows, width) = patch_size, tree["kernel"].shape
    kernel = tree["kernel"].reshape(p, p, rows // p**2, width).transpose(3, 2, 0, 1)
    return {f"{name}.weight": kernel, f"{name}.bias": tree["bias"]}


def block(name: str, tree: PyTree, attention: tuple[str, str], mlp: tuple[str, str]) -> Arrays:
    """The linear layers of a Transformer's block: those of `attention` (into it, out of it) and of the `mlp`."""
    parts = {attention[0]: tree["attention"]["qkv"], attention[1]: tree["attention"]["output"],
             mlp[0]: tree["mlp"]["up"], mlp[1]: tree["mlp"]["down"]}
    return {key: array for part, its in parts.items() for key, array in linear(f"{name}.{part}", its).items()}

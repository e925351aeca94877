"""nanodo's model and loss (https://github.com/google-deepmind/nanodo), against genlab's GPT.

Nothing of it is changed but this: its `data.get_in_out` gives the inputs and targets of a window of T + 1 tokens, where
nanodo's own predicts T - 1 tokens of a window of T. So both sides predict the same T tokens; and nanodo/data.py, which
needs TensorFlow Datasets and SentencePiece, is not imported. Its own step also accumulates gradients and computes
statistics of all parameters (optax.MultiSteps, metrics.get_metrics); both are left out, in its favour.
"""

import importlib
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from genlab.configuration import ConfigError
from launch.benchmarks.peer import PeerStep
from launch.benchmarks.shapes import SEQUENCE_LENGTH, VOCABULARY, Shape

PyTree = Any


@dataclass(frozen=True)
class Nanodo:
    """A checkout's modules nanodo.model and nanodo.loss."""

    model: types.ModuleType
    loss: types.ModuleType
    name = "nanodo"

    def step(self, shape: Shape) -> PeerStep:
        """Its training step for a model of this shape."""
        model = self.model.TransformerDo(self.model.DoConfig(
            D=shape.width, H=shape.num_heads, L=SEQUENCE_LENGTH, N=shape.depth, V=VOCABULARY, F=4 * shape.width,
            fsdp_enabled=False))
        return PeerStep(
            init=lambda key: model.init(key, jnp.zeros((1, SEQUENCE_LENGTH), jnp.int32))["params"],
            loss=lambda params, batch: self.loss.get_default_loss_fn(batch["tokens"], model.apply, {})(params)[0],
            as_genlab=lambda tree: _as_genlab(tree, shape))


def load(path: str) -> Nanodo:
    """The peer of a folder that holds nanodo/. Raises ConfigError if there is none."""
    folder = Path(path)
    if not (folder / "nanodo" / "model.py").is_file():
        raise ConfigError(f"--peer={path} has no nanodo/model.py; give the root of a checkout of nanodo")
    data = types.ModuleType("nanodo.data")
    data.get_in_out = _inputs_and_targets
    sys.modules["nanodo.data"] = data
    sys.path.insert(0, str(folder.resolve()))
    return Nanodo(*(importlib.import_module(f"nanodo.{name}") for name in ("model", "loss")))


def _inputs_and_targets(tokens, pad_id: int = 0):
    targets = tokens[:, 1:]
    return tokens[:, :-1], targets, (targets != pad_id).astype(jnp.float32)


def _as_genlab(tree: PyTree, shape: Shape) -> PyTree:
    blocks = {f"block_{i}": _block(tree[f"blocks_{i}"], shape.width) for i in range(shape.depth)}
    return {
        "token_embedding": tree["embed"]["embedding"],
        "position_embedding": tree["pos_embed"]["embedding"],
        "transformer": blocks | {"final_norm": tree["out_ln"]},
    }


def _block(tree: PyTree, width: int) -> PyTree:
    attention = tree["CausalAttn_0"]
    qkv = [attention[name]["kernel"].reshape(width, width) for name in ("query", "key", "value")]
    return {
        "attention_norm": tree["LayerNorm_0"],
        "attention": {"qkv": {"kernel": jnp.concatenate(qkv, axis=1)},
                      "output": {"kernel": attention["attn_out_proj"]["kernel"].reshape(width, width)}},
        "mlp_norm": tree["LayerNorm_1"],
        "mlp": {"up": tree["Mlp_0"]["Dense_0"], "down": tree["Mlp_0"]["Dense_1"]},
    }

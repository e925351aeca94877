"""nanodo's training step, from a checkout of nanodo: its model and its loss, with the same optimizer.

Nothing of it is copied here, and nothing of it is changed but this: its `data.get_in_out` gives the
inputs and targets of a window of T + 1 tokens, where nanodo's own predicts T - 1 tokens of a window of
T. So both sides predict the same T tokens; and nanodo/data.py, which needs TensorFlow Datasets and
SentencePiece, is not imported.
"""

import importlib
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from genlab.configuration import ConfigError
from launch.benchmarks.shapes import OPTIMIZER, SCHEDULED_STEPS, SEQUENCE_LENGTH, VOCABULARY, Shape

PyTree = Any


@dataclass(frozen=True)
class Peer:
    """A checkout's modules nanodo.model and nanodo.loss."""

    model: types.ModuleType
    loss: types.ModuleType

    def step(self, shape: Shape) -> "PeerStep":
        """Its training step for a model of this shape."""
        config = self.model.DoConfig(
            D=shape.width, H=shape.num_heads, L=SEQUENCE_LENGTH, N=shape.depth, V=VOCABULARY, F=4 * shape.width,
            fsdp_enabled=False)
        return PeerStep(self.model.TransformerDo(config), self.loss, shape)


def load_peer(path: str) -> Peer:
    """The peer of a folder that holds nanodo/. Raises ConfigError if there is none."""
    folder = Path(path)
    if not (folder / "nanodo" / "model.py").is_file():
        raise ConfigError(f"--peer={path} has no nanodo/model.py; give the root of a checkout of nanodo")
    data = types.ModuleType("nanodo.data")
    data.get_in_out = _inputs_and_targets
    sys.modules["nanodo.data"] = data
    sys.path.insert(0, str(folder.resolve()))
    return Peer(*(importlib.import_module(f"nanodo.{name}") for name in ("model", "loss")))


def _inputs_and_targets(tokens, pad_id: int = 0):
    targets = tokens[:, 1:]
    return tokens[:, :-1], targets, (targets != pad_id).astype(jnp.float32)


class PeerStep:
    """One optimizer step a dispatch, its state given up, as nanodo's Trainer jits it.

    Its own step also accumulates gradients and computes statistics of all parameters (optax.MultiSteps,
    metrics.get_metrics); both are left out here, in its favour.
    """

    def __init__(self, model: Any, loss: types.ModuleType, shape: Shape):
        self.model = model
        self.shape = shape
        self._loss = loss
        hyperparameters = OPTIMIZER.hyperparameters(SCHEDULED_STEPS)
        self.optimizer = optax.chain(
            optax.clip_by_global_norm(OPTIMIZER.clip_norm),
            optax.adamw(lambda step: OPTIMIZER.learning_rate_at(step, hyperparameters), b1=OPTIMIZER.beta1,
                        b2=OPTIMIZER.beta2, eps=OPTIMIZER.epsilon, weight_decay=OPTIMIZER.weight_decay,
                        mask=_decayed))
        self.step = jax.jit(self._step, donate_argnums=0)

    def initial_params(self, seed: int = 0) -> PyTree:
        """Fresh parameters."""
        tokens = jnp.zeros((1, SEQUENCE_LENGTH), jnp.int32)
        return jax.jit(self.model.init)(jax.random.key(seed), tokens)["params"]

    def initial_state(self, params: PyTree) -> tuple[PyTree, PyTree]:
        """Parameters, copied, and the optimizer's state."""
        return jax.tree.map(jnp.copy, params), jax.jit(self.optimizer.init)(params)

    def loss_and_gradient(self, params: PyTree, tokens) -> tuple[jax.Array, PyTree]:
        """Its default loss on tokens [B, T + 1], and the gradient."""
        loss = self._loss.get_default_loss_fn(tokens, self.model.apply, {})
        (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return value, gradient

    def _step(self, state, tokens):
        params, opt_state = state
        loss, gradient = self.loss_and_gradient(params, tokens)
        updates, opt_state = self.optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss


def _decayed(params: PyTree) -> PyTree:
    """As genlab: all but the norms' scales."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key != "scale", params)


def as_genlab(tree: PyTree, shape: Shape) -> PyTree:
    """nanodo's parameters, or their gradient, in the places where genlab's GPT has them."""
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

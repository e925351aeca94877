"""One training step of a peer's checkout, with the same loss, optimizer, parameters and batches as genlab's.

Nothing of a peer is copied here: its modules are imported from the folder that --peer names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from genlab.training import optimizers
from launch.benchmarks.shapes import OPTIMIZER, SCHEDULED_STEPS

PyTree = Any


class Peer(Protocol):
    """A checkout."""

    name: str

    def step(self, shape: Any) -> "PeerStep":
        """Its training step for a model of this shape."""


@dataclass(frozen=True)
class PeerStep:
    """One optimizer step a dispatch, its state given up.

    Attributes:
      init: key -> parameters.
      loss: (parameters, batch) -> the mean loss.
      as_genlab: its parameters, or their gradient, in the places where genlab's model has them.
      decay_mask: parameters -> True for those that weight decay applies to, the same as genlab's.
    """

    init: Callable[[jax.Array], PyTree]
    loss: Callable[[PyTree, dict], jax.Array]
    as_genlab: Callable[[PyTree], PyTree]
    decay_mask: Callable[[PyTree], PyTree] = optimizers.decay_mask

    def __post_init__(self):
        hyperparameters = OPTIMIZER.hyperparameters(SCHEDULED_STEPS)
        optimizer = optax.chain(
            optax.clip_by_global_norm(OPTIMIZER.clip_norm),
            optax.adamw(lambda step: OPTIMIZER.learning_rate_at(step, hyperparameters), b1=OPTIMIZER.beta1,
                        b2=OPTIMIZER.beta2, eps=OPTIMIZER.epsilon, weight_decay=OPTIMIZER.weight_decay,
                        mask=self.decay_mask))

        def step(state, batch):
            params, opt_state = state
            loss, gradient = jax.value_and_grad(self.loss)(params, batch)
            updates, opt_state = optimizer.update(gradient, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        object.__setattr__(self, "optimizer", optimizer)
        object.__setattr__(self, "step", jax.jit(step, donate_argnums=0))

    def initial_params(self, seed: int = 0) -> PyTree:
        """Fresh parameters, those too that start at zero, so that nothing is left out of a comparison."""
        def fresh(key):
            flat, as_tree = ravel_pytree(self.init(key))
            return as_tree(flat + 0.02 * jax.random.normal(jax.random.fold_in(key, 1), flat.shape))

        # Unoptimised, as genlab's own: random numbers compile for long, those of a U-Net for 35 seconds, not 17.
        return jax.jit(fresh, compiler_options={"xla_backend_optimization_level": "0"})(jax.random.key(seed))

    def initial_state(self, params: PyTree) -> tuple[PyTree, PyTree]:
        """Parameters, copied, and the optimizer's state."""
        return jax.tree.map(jnp.copy, params), jax.jit(self.optimizer.init)(params)

    def loss_and_gradient(self, params: PyTree, batch: dict) -> tuple[jax.Array, PyTree]:
        """The loss of a batch, and its gradient."""
        return jax.value_and_grad(self.loss)(params, batch)


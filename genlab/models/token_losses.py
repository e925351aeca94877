"""The output layer of a language model together with its loss, for all positions at once or for a few at a time.

The logits of long sequences with a large vocabulary are the largest arrays of a step: 32 sequences of 1,024 tokens have
6.6 GB of them at a vocabulary of 50,304, and their gradient has as many. In chunks they never exist whole: a scan
computes the losses of some positions of every sequence, and their logits again when it comes to their gradients (the
function is that of all positions at once, and so are its gradients, but for the order of sums). A chunk costs one
product more than none, the third that the backward pass's two have beside the forward pass's one.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genlab.models import ops, placement
from genlab.models.placement import place


class TokenLosses(NamedTuple):
    """What is known of each target: -log p(target) and log Z in nats, and whether no other token is more likely.

    Each is [B, T], the first two float32; `correct_BT` is None where nobody asked.
    """

    loss_BT: jax.Array
    log_z_BT: jax.Array
    correct_BT: jax.Array | None


def token_losses(x_BTD, head_VD, targets_BT, chunk: int | None = None, accuracy: bool = False) -> TokenLosses:
    """Returns the losses of targets [B, T] under the logits x @ head^T of states [B, T, D] and a head [V, D].

    Args:
      x_BTD: final states.
      head_VD: the head, or the token embedding in its place.
      targets_BT: integers.
      chunk: how many positions of every sequence have logits at a time; on each device, where devices share the
        positions. None for all.
      accuracy: whether to tell which targets are the most likely tokens; it takes an argmax over V.
    """
    def losses(head, x, targets):
        if not accuracy:
            return TokenLosses(*ops.unembed_cross_entropy(x, head, targets), None)
        logits = ops.unembed(x, head)
        return TokenLosses(*ops.cross_entropy(logits, targets), jnp.argmax(logits, axis=-1) == targets)

    # Whole along D, so that devices share tokens and not products; then along V the logits are cut as the head is.
    x_BTD, head_VD = place(x_BTD, "BTD"), place(head_VD, "VD")
    parts = placement.parts("B", len(targets_BT)), placement.parts("T", targets_BT.shape[1])
    steps = 1 if chunk is None else -(-(targets_BT.shape[1] // parts[1]) // chunk)
    if steps > 1:
        losses = functools.partial(_scan, losses, steps)
    if parts[1] == 1 and (steps == 1 or parts[0] == 1):
        return losses(head_VD, x_BTD, targets_BT)
    # Each part of the tokens has a head of its own: their gradients meet once, after the scan, and not in every chunk.
    heads = place(jnp.broadcast_to(head_VD, (*parts, *head_VD.shape)), "BTVD")
    found = jax.vmap(jax.vmap(losses))(heads, _split(x_BTD, parts), _split(targets_BT, parts))
    return jax.tree.map(lambda x: place(jnp.swapaxes(x, 1, 2).reshape(targets_BT.shape), "BT"), found)


def _scan(losses, steps, head_VD, x_BTD, targets_BT):
    """Returns losses(head, x, targets), computed in so many steps, each of some positions."""
    B, T = targets_BT.shape
    size = -(-T // steps)  # As even as can be: no more than steps - 1 positions are padding.

    def cut(x):
        """Returns [B, T, ...] as [steps, B, size, ...]."""
        x = jnp.pad(x, [(0, steps * size - T if axis == 1 else 0) for axis in range(x.ndim)])
        return jnp.moveaxis(x.reshape(B, steps, size, *x.shape[2:]), 1, 0)

    # Inside a scan the loop itself keeps XLA from merging the recomputation with the forward pass.
    chunk_losses = jax.checkpoint(losses, prevent_cse=False)
    found = jax.lax.map(lambda chunk: chunk_losses(head_VD, *chunk), (cut(x_BTD), cut(targets_BT)))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(B, -1)[:, :T], found)


def _split(x, parts):
    """Returns x [B, T, ...] as [parts of B, parts of T, B of a part, T of a part, ...]."""
    (b, t), (B, T) = parts, x.shape[:2]
    x = jnp.swapaxes(x.reshape(b, B // b, t, T // t, *x.shape[2:]), 1, 2)
    return place(x, "BT" + "-" * (x.ndim - 2))

"""What a model computes on the way, by name, and attention as a map over the image."""

import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from genlab.models.vit import ViT


def representations(model, variables: dict, inputs, **settings) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns (output, {name: array}): everything that the model sows in one forward pass, by a flat name.

    Names say where and along which axes: "block_3/output_BTD", "block_3/attention/weights_BHTS",
    "features_BD", whether or not the stack is scanned. Works for any Linen model; `settings` go to
    `model.apply` (say, method="encode"). Call it under jit: eagerly it takes seconds.
    """
    output, kept = model.apply(variables, inputs, mutable="intermediates", **settings)
    named = {}
    for path, array in jax.tree_util.tree_leaves_with_path(kept.get("intermediates", {})):
        *parts, call = [key.key if hasattr(key, "key") else key.idx for key in path]
        # "transformer" is the only stack of most models; a second call of one module is numbered.
        name = "/".join(part for part in parts if part != "transformer") + (f"/{call}" if call else "")
        if "blocks" in parts:  # a scanned stack keeps all its layers in one array, layers first
            for layer, one in enumerate(array):
                named[re.sub(r"\bblocks\b", f"block_{layer}", name)] = one
        else:
            named[name] = array
    return output, named


def attention_by_layer(model, variables: dict, inputs, **settings) -> tuple[jax.Array, list[jax.Array]]:
    """Returns (output, self-attention weights [B, H, T, T] of each block, the first first), of any Transformer.

    Of several stacks, such as a masked autoencoder's, those of the first. Arguments as of `representations`.
    Raises ValueError for a model without attention.
    """
    output, named = representations(model, variables, inputs, **settings)
    return output, block_attention(named)


def block_attention(named: dict[str, jax.Array]) -> list[jax.Array]:
    """Returns the attention weights of the blocks among `representations`, first block first."""
    found = {}
    for name, array in named.items():
        match = re.fullmatch(r"(.*/)?block_(\d+)/attention/weights_BHTS", name)
        if match:
            found.setdefault(match[1] or "", {})[int(match[2])] = array
    if not found:
        raise ValueError("the model has no block with attention")
    stack = next(iter(found.values()))
    return [stack[layer] for layer in sorted(stack)]


def attention_rollout(weights: Sequence[jax.Array]) -> jax.Array:
    """Returns how much each final token draws on each first one, [B, T, T], rows summing to 1.

    `weights` are attention weights [B, H, T, T], first layer first. The rollout is the product of
    (I + mean over heads) / 2, I for the residual connection (Abnar and Zuidema 2020, arXiv
    2005.00928, section 3).
    """
    T = weights[0].shape[-1]
    rollout_BTT = jnp.eye(T)[None]
    for weights_BHTT in weights:
        rollout_BTT = (jnp.eye(T) + weights_BHTT.mean(axis=1)) / 2 @ rollout_BTT
    return rollout_BTT


def attention_map(model: ViT, variables: dict, images_BIJC) -> jax.Array:
    """Returns how much the pooled representation draws on each patch, [B, rows, columns], summing to 1.

    The attention rollout of what the ViT pools: the class token, or the patches by their weights.
    """
    _, named = representations(model, variables, images_BIJC)
    rollout_BTT = attention_rollout(block_attention(named))
    first = model.prefix_tokens
    if model.pooling == "class_token":
        read_BT = rollout_BTT[:, 0]
    elif model.pooling == "mean":
        read_BT = rollout_BTT[:, first:].mean(axis=1)
    else:
        pooling_BP = named["attention_pooling/attention/weights_BHTS"][:, :, 0].mean(axis=1)
        read_BT = jnp.einsum("bp,bpt->bt", pooling_BP, rollout_BTT[:, first:])
    read_BP = read_BT[:, first:]
    return (read_BP / read_BP.sum(axis=-1, keepdims=True)).reshape(-1, *model.grid)

"""Layer-wise learning rates: which leaf lies how deep, and that a frozen trunk stays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.models.resnet import ResNet
from genlab.models.vit import ViT
from genlab.objectives.classification import Classification
from genlab.training.layers import layer_multipliers
from genlab.training.optimizers import SGD, AdamW, initial_optimizer_state
from genlab.training.step import initial_state, make_train_step

VIT = {"num_classes": 3, "image_size": 4, "channels": 1, "patch_size": 2, "width": 8, "depth": 3, "num_heads": 2}
BATCH = {
    "image": np.random.default_rng(0).integers(0, 256, (4, 4, 4, 1), np.uint8),
    "label": np.arange(4, dtype=np.int32) % 3,
}


def multipliers(model, decay):
    params = jax.eval_shape(Classification(model=model).init, jax.random.key(0))["params"]
    found = layer_multipliers(params, decay)
    return {
        "/".join(key.key for key in path): rate for path, rate in jax.tree_util.tree_leaves_with_path(found)
    }, params


@functools.cache
def start(objective):
    """The state of a plain optimizer, compiled once."""
    return jax.jit(lambda: initial_state(objective, SGD(), 0, SGD().hyperparameters(10), False))()


def first_step(objective, optimizer):
    """(state, the state after one step, metrics)."""
    state = start(objective)
    state = state._replace(opt_state=jax.jit(functools.partial(initial_optimizer_state, optimizer))(state.params),
                           hyperparameters=optimizer.hyperparameters(10))
    return state, *jax.jit(make_train_step(objective, optimizer))(state, BATCH)


def test_a_vit_decays_from_head_to_embedding():
    found, _ = multipliers(ViT(**VIT), 0.5)
    expected = {
        "head/kernel": 1,
        "transformer/final_norm/scale": 1,
        "transformer/block_2/mlp/up/kernel": 0.5,
        "transformer/block_0/attention/qkv/kernel": 0.125,
        "patch_embedding/kernel": 0.0625,
        "position_embedding": 0.0625,
        "class_token": 0.0625,
    }
    assert {name: float(found[name]) for name in expected} == expected


def test_scanned_layers_decay_as_unrolled_ones():
    found, params = multipliers(ViT(**VIT, scan_layers=True), 0.5)
    rates = found["transformer/blocks/mlp/up/kernel"]
    np.testing.assert_array_equal(rates.ravel(), [0.125, 0.25, 0.5])
    assert jnp.broadcast_shapes(rates.shape, params["transformer"]["blocks"]["mlp"]["up"]["kernel"].shape)[0] == 3
    assert found["patch_embedding/kernel"] == 0.0625


def test_blocks_of_later_stages_lie_above_those_of_earlier_ones():
    found, _ = multipliers(
        ResNet(num_classes=3, image_size=8, channels=1, depths=(2, 1), widths=(4, 4), stem="small"), 0.5
    )
    assert [float(found[f"stage_{s}_block_{b}/conv_1/kernel"]) for s, b in ((1, 1), (1, 2), (2, 1))] == [
        0.125,
        0.25,
        0.5,
    ]
    assert found["stem/kernel"] == 0.0625


def test_zero_freezes_all_but_the_head_and_what_clipping_sees():
    objective = Classification(model=ViT(**VIT, zero_head=False))
    frozen = AdamW(learning_rate=0.1, weight_decay=0.5, layer_decay=0.0, warmup_steps=0, warmup_fraction=0.0)
    state, after, metrics = first_step(objective, frozen)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), after.params, state.params)
    assert {name for name, tree in moved.items() if any(jax.tree.leaves(tree))} == {"head", "transformer"}
    blocks = {name: tree for name, tree in moved["transformer"].items() if name != "final_norm"}
    assert not any(jax.tree.leaves(blocks)) and all(jax.tree.leaves(moved["head"]))
    gradient = jax.jit(jax.grad(lambda p: objective.loss({"params": p}, BATCH, jax.random.key(0), True)[0]))
    gradient = gradient(state.params)
    seen = [gradient["head"], gradient["transformer"]["final_norm"]]
    norm = np.sqrt(sum(float(jnp.square(g).sum()) for g in jax.tree.leaves(seen)))
    np.testing.assert_allclose(metrics["gradient_norm"][0], norm, rtol=1e-4)


def test_an_update_is_scaled_by_its_layer():
    objective = Classification(model=ViT(**VIT, zero_head=False))
    plain = SGD(learning_rate=0.1, momentum=0.0, clip_norm=None, warmup_steps=0, warmup_fraction=0.0)
    decayed = SGD(learning_rate=0.1, momentum=0.0, clip_norm=None, warmup_steps=0, warmup_fraction=0.0, layer_decay=0.5)
    kernels = []
    for optimizer in (plain, decayed):
        state, after, _ = first_step(objective, optimizer)
        kernels.append(after.params["patch_embedding"]["kernel"] - state.params["patch_embedding"]["kernel"])
    np.testing.assert_allclose(kernels[1], kernels[0] * 0.0625, rtol=1e-2, atol=1e-7)


def test_a_decay_is_a_share():
    with pytest.raises(ConfigError, match=r"optimizer.layer_decay=1.5 is no share"):
        AdamW(layer_decay=1.5)

"""ResNet: BiT's and CIFAR's sizes, the identity at initialisation, batch statistics in training, gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.models.resnet import RESNET_SIZES, ResNet

TINY = ResNet(num_classes=5, image_size=8, depths=(1, 2), widths=(4, 8), stem="small")
KEY = jax.random.key(0, impl="rbg")  # compiles in a fraction of threefry's time


def images_of(model, batch=4):
    """Random images."""
    shape = (batch, model.image_size, model.image_size, model.channels)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def count(model):
    """The number of parameters."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), images_of(model, batch=1))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize("layers, millions", [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_cifar_sizes_have_the_papers_numbers_of_parameters(layers, millions):
    """He et al. 2015, table 6: to its two digits, though projections add 2,752 to the 0-padded shortcuts."""
    assert count(RESNET_SIZES[f"cifar-{layers}"]) == pytest.approx(millions * 1e6, rel=0.02)
    if layers == 20:
        assert count(RESNET_SIZES["cifar-20"]) == 269_722 + (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)


@pytest.mark.parametrize("name, millions", [
    ("50x1", 25.55), ("50x3", 217.32), ("101x1", 44.54), ("101x3", 387.93), ("152x4", 936.53)])
def test_bit_sizes_have_the_published_numbers_of_parameters(name, millions):
    """The counts of timm's resnetv2_*_bit with 1,000 classes, in millions."""
    assert round(count(RESNET_SIZES[f"bit-{name}"]) / 1e6, 2) == millions


def test_bit_50x1_has_the_parameters_counted_by_hand():
    """The convolutions and head of ResNet-50 are the same; what differs is which channels are normalised."""
    blocks, widths = (3, 4, 6, 3), (64, 128, 256, 512)
    stages = list(zip(blocks, widths, (64, 256, 512, 1024), strict=True))
    v1 = 64 + sum(depth * 6 * width + 4 * width for depth, width, _ in stages)
    bit = sum(inputs + (depth - 1) * 4 * width + depth * 2 * width for depth, width, inputs in stages) + 2048
    assert count(RESNET_SIZES["bit-50x1"]) == 25_557_032 - 2 * v1 + 2 * bit == 25_549_352


@pytest.mark.parametrize("zero_init", [True, False])
def test_a_zero_last_scale_makes_blocks_start_as_their_shortcut(zero_init):
    model = dataclasses.replace(TINY, zero_init_residual=zero_init)
    images = images_of(model)
    variables = jax.jit(model.init)(KEY, images)
    _, kept = jax.jit(lambda v: model.apply(v, images, mutable="intermediates"))(variables)
    kept = kept["intermediates"]
    change = kept["stage_1_block_1"]["output_BIJC"][0] - kept["stem_BIJC"][0]
    assert (np.abs(change).max() == 0) == zero_init
    change = kept["stage_2_block_2"]["output_BIJC"][0] - kept["stage_2_block_1"]["output_BIJC"][0]
    assert (np.abs(change).max() == 0) == zero_init


def test_a_zero_head_starts_with_equal_probabilities():
    model = dataclasses.replace(TINY, zero_head=True)
    logits, _ = jax.jit(lambda images: model.init_with_output(KEY, images))(images_of(model))
    np.testing.assert_array_equal(logits, np.zeros((4, 5)))


def test_training_updates_every_running_statistic_and_evaluation_none():
    images = images_of(TINY)
    variables = jax.jit(TINY.init)(KEY, images)
    logits, updates = jax.jit(lambda v: TINY.apply(v, images, train=True, mutable="batch_stats"))(variables)
    assert list(updates) == ["batch_stats"]
    jax.tree.map(lambda old, new: np.testing.assert_array_equal(np.abs(new - old) > 0, True),
                 variables["batch_stats"], updates["batch_stats"])
    evaluated, updates = jax.jit(lambda v: TINY.apply(v, images, mutable="batch_stats"))(variables)
    jax.tree.map(np.testing.assert_array_equal, variables["batch_stats"], updates["batch_stats"])
    assert np.abs(logits - evaluated).max() > 1e-4


def test_gradients_agree_with_differences():
    model, images = TINY, images_of(TINY)
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda s: rng.normal(0.2, 0.2, s.shape).astype(np.float32), shapes)
    directions = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes["params"])

    @jax.jit
    def loss(step):
        params = jax.tree.map(lambda p, d: p + step * d, variables["params"], directions)
        logits, _ = model.apply(variables | {"params": params}, images, train=True, mutable="batch_stats")
        return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - logits[:, 0])

    # ReLUs turn within a step: their kinks cost more digits than rounding does.
    step = 1e-4
    difference = (loss(step) - loss(-step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(loss)(0.0), difference, rtol=0.02)

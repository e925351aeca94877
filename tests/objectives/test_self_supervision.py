"""Masked autoencoding and SimCLR: their losses against NumPy, what trains, and what others take over."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest

from genlab.configuration import from_json, to_json
from genlab.models.mae import MAE
from genlab.models.resnet import RESNET_SIZES
from genlab.models.simclr import SimCLR
from genlab.models.vit import ViT
from genlab.objectives.classification import Classification
from genlab.objectives.masked_autoencoding import MaskedAutoencoding
from genlab.objectives.simclr import ContrastiveViews, nt_xent

VIT = ViT(patch_size=2, image_size=8, channels=1, width=16, depth=1, num_heads=2, num_classes=3)
MASKED = MaskedAutoencoding(model=MAE(VIT, decoder_width=16, decoder_depth=1, decoder_num_heads=2))
CONTRASTIVE = ContrastiveViews(model=SimCLR(VIT, projection_width=6))
OBJECTIVES = pytest.mark.parametrize("objective", [MASKED, CONTRASTIVE], ids=["mae", "simclr"])


def batch_of(objective, batch=6, seed=0):
    """Random images, or views of them that differ by a little noise."""
    rng, shape = np.random.default_rng(seed), objective.dummy_batch(batch)["image"].shape
    images = rng.integers(20, 236, (batch, *shape[-3:]))
    if len(shape) == 5:
        images = images[:, None] + rng.integers(-20, 21, shape)
    return {"image": images.astype(np.uint8)}


@functools.cache
def variables_of(objective):
    """Fresh variables, drawn by NumPy: compiling an initialiser takes seconds."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        if name in ("bias", "mean"):
            return np.zeros(leaf.shape, np.float32)
        return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(draw, jax.eval_shape(objective.init, jax.random.key(0)))


def held_out_loss(objective, batch):
    """(loss, metrics) when not training."""
    return jax.jit(lambda v, b: objective.loss(v, b, jax.random.key(1), False)[:2])(variables_of(objective), batch)


@pytest.mark.parametrize("normalize", [True, False])
def test_the_loss_of_masked_autoencoding_is_of_masked_patches_only(normalize):
    objective = dataclasses.replace(MASKED, normalize_targets=normalize)
    weight = np.array([1, 1, 0, 1, 1, 0], np.float32)
    batch = batch_of(objective) | {"example_weight": weight}
    pixels = objective.pixels.normalize(batch["image"])

    @jax.jit
    def run(variables):
        key = jax.random.key(1)
        return objective.loss(variables, batch, key, False)[:2], objective._predict(variables, pixels, key, False)

    (loss, metrics), (predictions, mask) = jax.tree.map(np.asarray, run(variables_of(objective)))
    losses = []
    for b in range(6):
        errors = []
        for p in np.flatnonzero(mask[b]):
            i, j = divmod(p, 4)
            target = np.asarray(pixels, np.float64)[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(-1)
            if normalize:
                target = (target - target.mean()) / np.sqrt(target.var() + 1e-6)
            errors.append(np.mean((predictions[b, p] - target) ** 2))
        assert len(errors) == 12
        losses.append(np.mean(errors))
    np.testing.assert_allclose(metrics["loss"].total, losses * weight, rtol=1e-4)
    np.testing.assert_allclose(loss, (losses * weight).sum() / 4, rtol=1e-4)


def test_masked_images_are_filled_with_what_is_predicted_and_seen_patches_stay():
    batch = batch_of(MASKED)["image"]
    run = jax.jit(lambda v, x: MASKED.reconstruct(v, x, jax.random.key(1)))
    seen, filled = (np.asarray(x) for x in run(variables_of(MASKED), batch))
    same = (seen == batch).reshape(6, 4, 2, 4, 2).all(axis=(2, 4))
    assert np.all(same.sum(axis=(1, 2)) == 4)
    kept = np.repeat(np.repeat(same, 2, axis=1), 2, axis=2)[..., None]
    np.testing.assert_array_equal(filled[kept], batch[kept])
    assert np.mean(filled[~kept] == batch[~kept]) < 0.1
    # A model that predicts 0 of normalised targets fills in each patch's mean.
    assert np.all(seen[~kept] == 128)


def test_nt_xent_agrees_with_equation_1():
    z = np.random.default_rng(0).normal(size=(4, 2, 5))
    losses, correct = jax.jit(lambda z: nt_xent(z, 0.3))(z.astype(np.float32))
    flat = z.reshape(8, 5)
    cosine = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in flat] for a in flat])
    for b in range(4):
        expected, found = [], []
        for i, j in ((2 * b, 2 * b + 1), (2 * b + 1, 2 * b)):
            others = [k for k in range(8) if k != i]
            expected.append(-np.log(np.exp(cosine[i, j] / 0.3) / sum(np.exp(cosine[i, k] / 0.3) for k in others)))
            found.append(max(others, key=lambda k, i=i: cosine[i, k]) == j)
        np.testing.assert_allclose(losses[b], np.mean(expected), rtol=1e-5)
        assert correct[b] == np.mean(found)


def test_padding_is_nobodys_negative():
    z = np.random.default_rng(0).normal(size=(5, 2, 5)).astype(np.float32)
    losses, correct = jax.jit(lambda z: nt_xent(z, 0.3, np.arange(5) < 3))(z)
    fewer, fewer_correct = jax.jit(lambda z: nt_xent(z, 0.3))(z[:3])
    np.testing.assert_allclose(losses[:3], fewer, rtol=1e-5)
    np.testing.assert_array_equal(correct[:3], fewer_correct)
    assert np.all(np.isfinite(losses))
    gradient = jax.jit(jax.grad(lambda z: (nt_xent(z, 0.3, np.arange(5) < 3)[0] * (np.arange(5) < 3)).sum()))(z)
    assert np.all(gradient[3:] == 0)
    assert np.all(np.isfinite(gradient))


def test_identical_projections_are_told_apart_by_chance_and_perfect_ones_always():
    run = jax.jit(lambda z: nt_xent(z, 0.1))
    same, _ = run(np.ones((4, 2, 3), np.float32))
    np.testing.assert_allclose(same, np.log(7), rtol=1e-5)
    perfect, correct = run(np.repeat(np.eye(4, dtype=np.float32)[:, None], 2, axis=1))
    np.testing.assert_allclose(perfect, np.log(1 + 6 * np.exp(-10)), rtol=1e-2)
    np.testing.assert_array_equal(correct, 1)


def test_held_out_images_are_contrasted_with_their_mirror_images():
    image = batch_of(MASKED)["image"]
    pairs = np.stack([image, image[:, :, ::-1]], axis=1)
    loss, metrics = held_out_loss(CONTRASTIVE, {"image": image})
    expected, _ = held_out_loss(CONTRASTIVE, {"image": pairs})
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert set(metrics) == {"loss", "accuracy"}


@OBJECTIVES
def test_a_few_steps_lower_the_loss_and_every_parameter_gets_a_gradient(objective):
    optimizer, batch = optax.adam(3e-3), batch_of(objective)

    @jax.jit
    def train(params):
        def step(carry, index):
            params, state = carry
            (loss, _), gradient = jax.value_and_grad(
                lambda p: objective.loss({"params": p}, batch, jax.random.fold_in(jax.random.key(0), index), True)[:2],
                has_aux=True,
            )(params)
            updates, state = optimizer.update(gradient, state)
            sizes = jax.tree.map(lambda g: abs(g).max(), gradient)
            return (optax.apply_updates(params, updates), state), (loss, sizes)

        return jax.lax.scan(step, (params, optimizer.init(params)), np.arange(40))[1]

    losses, sizes = train(variables_of(objective)["params"])
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    for path, size in jax.tree_util.tree_leaves_with_path(sizes):
        assert size.max() > 1e-6, path


@OBJECTIVES
def test_a_classifier_starts_from_the_encoder(objective):
    classifier = Classification(model=VIT)
    started = classifier.start_from(variables_of(classifier), objective, variables_of(objective))
    taken = variables_of(objective)["params"]["encoder"]
    assert set(started["params"]) == {*taken, "head"}
    jax.tree.map(np.testing.assert_array_equal, {k: v for k, v in started["params"].items() if k != "head"}, taken)
    batch = {"image": batch_of(MASKED)["image"]}
    outputs = jax.jit(objective.outputs)(variables_of(objective), batch)
    np.testing.assert_allclose(outputs["features"], jax.jit(classifier.outputs)(started, batch)["features"], atol=1e-5)


def test_an_encoder_with_batch_norm_keeps_its_statistics():
    encoder = dataclasses.replace(RESNET_SIZES["cifar-20"], image_size=8, channels=1, depths=(1, 1), widths=(4, 8))
    objective = ContrastiveViews(model=SimCLR(encoder, projection_width=4))
    variables = variables_of(objective)
    _, _, updates = jax.jit(lambda v, b: objective.loss(v, b, jax.random.key(0), True))(variables, batch_of(objective))
    assert set(updates) == {"batch_stats"}
    assert jax.tree.map(np.shape, updates["batch_stats"]) == jax.tree.map(np.shape, variables["batch_stats"])
    model, trunk = objective.trunk(variables)
    features = jax.jit(lambda v, x: model.apply(v, x, method="features"))(trunk, batch_of(MASKED)["image"] / 255.0)
    assert features.shape[0] == 6


@OBJECTIVES
def test_configs_survive_json_and_flops_are_counted(objective):
    assert from_json(to_json(objective)) == objective
    objective.validate()
    assert objective.flops_conventions()["3 x forward"] > 1e5
    assert objective.family == ("mae" if objective is MASKED else "simclr")


def test_bad_configs_are_one_line_errors():
    images = SimpleNamespace(image_shape=(8, 8, 1), views=1)
    with pytest.raises(ValueError, match="ContrastiveViews takes 2 views of an image, but data.views=1"):
        CONTRASTIVE.check_data(images)
    with pytest.raises(ValueError, match="MaskedAutoencoding takes 1 view of an image, but data.views=2"):
        MASKED.check_data(SimpleNamespace(image_shape=(8, 8, 1), views=2))
    MASKED.check_data(images)
    with pytest.raises(ValueError, match="temperature=0 must be positive"):
        dataclasses.replace(CONTRASTIVE, temperature=0).validate()
    with pytest.raises(ValueError, match="projection_width must be at least 1"):
        dataclasses.replace(CONTRASTIVE, model=SimCLR(VIT, projection_width=0)).validate()

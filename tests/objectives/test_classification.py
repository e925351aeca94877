"""Classification and distillation: losses against NumPy, mixing, and what a run takes from another."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.models.mixer import Mixer
from genlab.models.resnet import ResNet
from genlab.models.vit import ViT
from genlab.objectives.classification import Classification, Distillation
from genlab.objectives.pixels import Pixels, mix

K, RNG = 12, np.random.default_rng(0)
MODEL = ViT(num_classes=K, image_size=4, channels=1, patch_size=2, width=8, depth=2, num_heads=2)
OBJECTIVE = Classification(model=MODEL)
BATCH = {"image": RNG.integers(0, 256, (6, 4, 4, 1), np.uint8), "label": RNG.integers(0, K, 6).astype(np.int32)}


def random_variables(objective=OBJECTIVE, seed=0):
    """Variables of the right shapes, drawn by NumPy: an initialiser takes a second to compile."""
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(objective.init, jax.random.key(0))
    return jax.tree.map(lambda s: np.abs(random.normal(0.1, 0.5, s.shape)).astype(np.float32), shapes)


@functools.cache
def loss_function(objective=OBJECTIVE, train=False):
    return jax.jit(lambda variables, batch, key: objective.loss(variables, batch, key, train))


def loss_of(objective, variables, batch=None, train=False, key=0):
    return loss_function(objective, train)(variables, BATCH if batch is None else batch, jax.random.key(key))


@functools.cache
def log_probabilities():
    logits = jax.jit(MODEL.apply)(random_variables(), Pixels().normalize(BATCH["image"]))
    logits = np.asarray(logits, np.float64)
    return logits, logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_held_out_metrics_are_the_textbook_ones_and_leave_out_padding():
    weight = np.array([1, 1, 0, 1, 1, 0], np.float32)
    loss, metrics, updates = loss_of(OBJECTIVE, random_variables(), BATCH | {"example_weight": weight})
    logits, log_p = log_probabilities()
    picked = log_p[np.arange(6), BATCH["label"]]
    right = logits.argmax(-1) == BATCH["label"]
    in_top = (np.argsort(-logits)[:, :5] == BATCH["label"][:, None]).any(-1)
    np.testing.assert_allclose(loss, -(picked * weight).sum() / 4, rtol=1e-5)
    for name, values in {"loss": -picked, "accuracy": right, "error": ~right, "top5_accuracy": in_top}.items():
        np.testing.assert_allclose(metrics[name].mean(), (values * weight).sum() / 4, rtol=1e-5, err_msg=name)
    assert updates == {}


def test_label_smoothing_is_for_training_only():
    smooth = dataclasses.replace(OBJECTIVE, label_smoothing=0.3)
    _, log_p = log_probabilities()
    targets = 0.7 * np.eye(K)[BATCH["label"]] + 0.3 / K
    np.testing.assert_allclose(
        loss_of(smooth, random_variables(), train=True)[0], -(targets * log_p).sum(-1).mean(), rtol=1e-5
    )
    assert loss_of(smooth, random_variables())[0] == loss_of(OBJECTIVE, random_variables())[0]


def test_sigmoid_loss_is_the_sum_of_the_classes_binary_cross_entropies():
    logits, _ = log_probabilities()
    p, targets = 1 / (1 + np.exp(-logits)), np.eye(K)[BATCH["label"]]
    expected = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum(-1).mean()
    sigmoid = dataclasses.replace(OBJECTIVE, loss_function="sigmoid")
    np.testing.assert_allclose(loss_of(sigmoid, random_variables())[0], expected, rtol=1e-5)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_mixed_images_and_targets_have_the_same_shares(mixup, cutmix):
    """Image b is all pixels b, so its mean says how much of which image is in it."""
    B = 16
    images = np.broadcast_to(np.arange(B, dtype=np.float32)[:, None, None, None], (B, 8, 8, 1))
    mixed, targets = jax.jit(mix, static_argnums=(3, 4))(images, np.eye(B), jax.random.key(1), mixup, cutmix)
    np.testing.assert_allclose(targets.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.mean(mixed, axis=(1, 2, 3)), targets @ np.arange(B), rtol=1e-5)
    shares = targets[np.arange(B), np.arange(B)]
    assert len(np.unique(np.round(shares, 6))) > B // 2, "every example draws its own share"
    np.testing.assert_allclose(targets[np.arange(B), B - 1 - np.arange(B)], 1 - shares, atol=1e-6)
    if not mixup:
        own = np.arange(B)[:, None, None, None]
        assert np.all((mixed == own) | (mixed == own[::-1])), "CutMix pastes, it does not blend"


def test_the_shares_of_mixup_follow_the_beta_distribution():
    images = np.zeros((4_000, 1, 1, 1), np.float32)
    _, targets = jax.jit(mix, static_argnums=(3, 4))(
        images, np.eye(2)[np.arange(4_000) // 2_000], jax.random.key(0), 0.2, 0.0
    )
    shares = np.asarray(targets[:2_000, 0])
    np.testing.assert_allclose([shares.mean(), shares.var()], [0.5, 1 / (4 * 1.4)], atol=0.02)


def test_models_with_batch_norm_update_their_statistics_in_training_only():
    model = ResNet(num_classes=K, image_size=4, channels=1, depths=(1,), widths=(4,), stem="small")
    objective = Classification(model=model)
    variables = random_variables(objective)
    _, _, updates = loss_of(objective, variables, train=True)
    assert set(updates) == {"batch_stats"}
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), updates["batch_stats"], variables["batch_stats"])
    assert min(jax.tree.leaves(moved)) > 0
    assert loss_of(objective, variables)[2] == {}


def distillation(**settings):
    student = ViT(num_classes=K, image_size=4, channels=1, patch_size=4, width=4, depth=1, num_heads=1)
    return Distillation(model=student, teacher=OBJECTIVE, **settings)


def test_distillation_is_the_divergence_from_the_teacher_by_hand():
    objective = distillation(temperature=2.0, teacher_weight=0.7)
    variables = random_variables(objective, seed=3) | {"teacher": random_variables()}
    student = {"params": variables["params"]}
    logits = np.asarray(jax.jit(objective.model.apply)(student, Pixels().normalize(BATCH["image"])), np.float64)
    told, log_p = log_probabilities()[0] / 2, logits / 2
    told = told - np.log(np.exp(told).sum(-1, keepdims=True))
    log_p = log_p - np.log(np.exp(log_p).sum(-1, keepdims=True))
    kl = 4 * (np.exp(told) * (told - log_p)).sum(-1)
    labels = -(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))[np.arange(6), BATCH["label"]]
    expected = (0.7 * kl + 0.3 * labels).mean()
    np.testing.assert_allclose(loss_of(objective, variables, train=True)[0], expected, rtol=1e-5)
    np.testing.assert_allclose(loss_of(objective, variables)[0], labels.mean(), rtol=1e-5)


def test_a_student_with_the_teachers_parameters_has_nothing_to_learn():
    objective = Distillation(model=MODEL, teacher=OBJECTIVE, mixup=0.3)
    variables = {"params": random_variables()["params"], "teacher": random_variables()}
    gradient = jax.jit(
        jax.grad(lambda p: objective.loss(variables | {"params": p}, BATCH, jax.random.key(0), True)[0])
    )(variables["params"])
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient)) < 1e-6


def test_a_run_starts_with_anothers_trunk_and_a_fresh_head():
    source, found = Classification(model=dataclasses.replace(MODEL, num_classes=3)), random_variables(seed=1)
    fresh = OBJECTIVE.start_from(random_variables(seed=2), source, found)
    assert fresh["params"]["head"]["kernel"].shape == (8, K)
    np.testing.assert_array_equal(
        fresh["params"]["head"]["kernel"], random_variables(seed=2)["params"]["head"]["kernel"]
    )
    trunk = {name: value for name, value in fresh["params"].items() if name != "head"}
    jax.tree.map(np.testing.assert_array_equal, trunk, {name: found["params"][name] for name in trunk})


def test_positions_are_resampled_for_another_image_size():
    larger = Classification(model=dataclasses.replace(MODEL, image_size=8))
    taken = larger.start_from(random_variables(larger, seed=2), OBJECTIVE, random_variables())
    assert taken["params"]["position_embedding"].shape == (1 + 16, 8)
    np.testing.assert_array_equal(
        taken["params"]["position_embedding"][0], random_variables()["params"]["position_embedding"][0]
    )


@pytest.mark.parametrize(("source", "message"), [
    (Mixer(num_classes=K, image_size=4, channels=1, patch_size=2, width=8, depth=2),
     "the run to start from is of another family: a Mixer, while this model is a ViT"),
    (dataclasses.replace(MODEL, depth=3), "has params/transformer/block_2, which this model has not"),
    (dataclasses.replace(MODEL, depth=1), "has no parameters params/transformer/block_1"),
    (dataclasses.replace(MODEL, mlp_width=16), "mlp/.* is .* in the run to start from, and"),
])  # fmt: skip
def test_a_run_of_another_shape_is_a_one_line_error(source, message):
    other = Classification(model=source)
    with pytest.raises(ConfigError, match=message) as raised:
        OBJECTIVE.start_from(random_variables(), other, random_variables(other))
    assert "\n" not in str(raised.value)


def data(shape=(4, 4, 1), num_classes=K):
    return SimpleNamespace(image_shape=shape, num_classes=num_classes, source=SimpleNamespace())


@pytest.mark.parametrize(("objective", "images", "message"), [
    (OBJECTIVE, data((4, 4, 3)), "colour .3 channels. images into a model of grey .1 channel. ones: set "
     "model.channels=3"),
    (Classification(model=dataclasses.replace(MODEL, channels=3)), data(),
     "grey .1 channel. images into a model of colour"),
    (OBJECTIVE, data((8, 8, 1)), "the images are 8 x 8, but model.image_size is 4"),
    (OBJECTIVE, data(num_classes=10), "the data have 10 classes, but model.num_classes is 12"),
    (OBJECTIVE, data(num_classes=0), "has no labels; classification needs some"),
    (OBJECTIVE, SimpleNamespace(sequence_length=8), "classification needs images, not SimpleNamespace"),
])  # fmt: skip
def test_data_that_do_not_fit_are_a_one_line_error(objective, images, message):
    with pytest.raises(ConfigError, match=message):
        objective.check_data(images)


@pytest.mark.parametrize(("objective", "message"), [
    (dataclasses.replace(OBJECTIVE, label_smoothing=1.0), "label_smoothing=1.0 is no share"),
    (dataclasses.replace(OBJECTIVE, cutmix=-1.0), "cutmix=-1.0 must not be negative"),
    (dataclasses.replace(OBJECTIVE, pixels=Pixels((0.5, 0.5), (1.0,))),
     "pixels.mean has 2 numbers; images of 1 channels take 1 or 1"),
    (dataclasses.replace(OBJECTIVE, model=dataclasses.replace(MODEL, patch_size=3)),
     "image_size 4 is not divisible by patch_size 3"),
    (distillation(temperature=0.0), "temperature=0.0 must be positive"),
    (Distillation(model=dataclasses.replace(MODEL, num_classes=3), teacher=OBJECTIVE),
     "the teacher's num_classes is 12, the student's 3"),
])  # fmt: skip
def test_a_config_that_cannot_run_is_a_one_line_error(objective, message):
    with pytest.raises(ConfigError, match=message):
        objective.validate()

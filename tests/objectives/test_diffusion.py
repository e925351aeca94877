"""Denoising score matching: the loss against what it must be in closed form, and what is drawn anew for whom."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.data import Digits, Images, Points
from genlab.diffusion import times
from genlab.diffusion.denoiser import Prediction
from genlab.diffusion.paths import EDM, VE, VP, Flow, SubVP
from genlab.objectives.diffusion import ImageDiffusion, PointDiffusion
from genlab.objectives.grey_levels import GreyLevels
from genlab.training.plans import choose_plan

KEY = jax.random.key(0)
PATHS = {"VP": VP(), "sub-VP": SubVP(), "VE": VE(), "EDM": EDM(), "flow": Flow()}


class Says(nn.Module):
    """A network that says `slope` x + `offset` whatever it is told, or the label, or the noise level."""

    dimensions: int = 2
    image_size: int = 8
    channels: int = 1
    num_classes: int = 0
    says: str = "x"
    slope: float = 0.0
    offset: float = 0.0
    dtype: str = "float32"

    def validate(self):
        pass

    @nn.compact
    def __call__(self, x, noise_level, label=None, train=False):
        unused = self.param("unused", nn.initializers.ones, ())
        if self.says == "label":
            classes = self.num_classes if label is None else label[:, None]
            return jnp.zeros_like(x) + classes
        if self.says == "noise level":
            return jnp.zeros_like(x) + noise_level[:, None]
        return self.slope * x + self.offset * unused


def batch(count, std=1.0, seed=0):
    return {"point": np.random.default_rng(seed).normal(0, std, (count, 2)).astype(np.float32),
            "label": np.arange(count) % 10}


def mean_loss(objective, examples, train=False):
    variables = objective.init(KEY)
    loss, metrics, updates = jax.jit(objective.loss, static_argnums=3)(variables, examples, jax.random.key(5), train)
    assert updates == {} and metrics["loss"].total.shape == (len(examples["point"]),)
    np.testing.assert_allclose(loss, metrics["loss"].mean(), rtol=1e-6)
    return float(loss)


@pytest.mark.parametrize("name", PATHS)
def test_who_says_nothing_of_the_noise_loses_its_variance(name):
    objective = PointDiffusion(model=Says(), path=PATHS[name])
    assert mean_loss(objective, batch(4_000)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("name", PATHS)
def test_the_target_of_edm_has_variance_one_at_every_time(name):
    prediction = Prediction("edm", 0.7)
    objective = PointDiffusion(model=Says(), path=PATHS[name], prediction=prediction, weighting="prediction")
    for least, most in ((0.0, 0.3), (0.7, 1.0)):
        path = PATHS[name]
        width = path.end - path.start
        x_0 = jnp.asarray(batch(8_000, std=0.7)["point"])
        t = path.start + width * jnp.linspace(least, most, len(x_0))
        target = objective.prediction.target(path, x_0, jax.random.normal(KEY, x_0.shape), t)
        assert float(jnp.square(target).mean()) == pytest.approx(1.0, abs=0.04)
    assert mean_loss(objective, batch(8_000, std=0.7)) == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize("kind", ["data", "score", "velocity", "edm"])
@pytest.mark.parametrize("weighting", ["noise", "data", "likelihood"])
def test_a_weighting_is_of_what_is_known_and_not_of_what_is_predicted(kind, weighting):
    """Two networks that say the same of x_t in two ways lose the same."""
    path = VP()
    truth = PointDiffusion(model=Says(slope=0.4), path=path, weighting=weighting, times=times.UniformLogSnr())

    class Other(Says):
        @nn.compact
        def __call__(self, x, noise_level, label=None, train=False):
            unused = self.param("unused", nn.initializers.ones, ())
            t = noise_level / 1_000
            said = Prediction("noise").denoised(path, x, t, 0.4 * x)
            return Prediction(kind).target(path, said.data, said.noise, t) * unused

    other = dataclasses.replace(truth, model=Other(), prediction=Prediction(kind))
    assert mean_loss(other, batch(64)) == pytest.approx(mean_loss(truth, batch(64)), rel=2e-3)


@pytest.mark.parametrize("name", PATHS)
def test_the_likelihood_weighting_is_half_the_range_of_the_log_snr_whatever_times_are_drawn(name):
    """The integral of g^2 / (2 sigma^2) is that of -(log SNR)' / 2, for noise that is missed by its whole variance."""
    path = PATHS[name]
    expected = 0.5 * float(path.log_snr(jnp.float32(path.start)) - path.log_snr(jnp.float32(path.end)))
    objective = PointDiffusion(model=Says(), path=path, weighting="likelihood", times=times.UniformLogSnr())
    assert mean_loss(objective, batch(8_000)) == pytest.approx(expected, rel=0.03)
    if name in ("VP", "VE"):  # For the others uniform times almost never meet where most of the integral is.
        mixed = times.Mixture((times.UniformTime(), times.UniformLogSnr()), (0.5, 0.5))
        found = mean_loss(dataclasses.replace(objective, times=mixed), batch(16_000))
        assert found == pytest.approx(expected, rel=0.05)


def test_labels_are_hidden_in_training_alone_and_as_often_as_said():
    objective = PointDiffusion(model=Says(num_classes=10, says="label"), label_dropout=0.3)
    variables, examples = objective.init(KEY) | {"params": {"unused": jnp.ones(())}}, batch(4_000)
    examples["label"] = np.full(4_000, 3)

    def said(train):
        _, metrics, _ = objective.loss(variables, examples, jax.random.key(1), train)
        return np.asarray(metrics["loss"].total)

    # Hidden is class 10: (10 - noise)^2 against (3 - noise)^2.
    assert (said(True) > 45).mean() == pytest.approx(0.3, abs=0.03)
    assert (said(False) > 45).mean() < 0.001


def test_every_example_and_step_draws_its_own_time_and_noise():
    objective = PointDiffusion(model=Says(says="noise level"))
    same = {"point": np.ones((64, 2), np.float32)}
    variables = objective.init(KEY)
    first, again, other = (np.asarray(objective.loss(variables, same, jax.random.key(k), True)[1]["loss"].total)
                           for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) == 64 and not np.isin(first, other).any()


@pytest.mark.parametrize(("noise_level", "expected"), [("time", 500.0), ("log_noise", math.log(2.0) / 4)])
def test_the_network_is_told_the_time_or_a_quarter_of_the_log_noise(noise_level, expected):
    path = EDM() if noise_level == "log_noise" else VP()
    objective = PointDiffusion(model=Says(says="noise level"), path=path, noise_level=noise_level,
                               prediction=Prediction("data"))
    t = 2.0 if noise_level == "log_noise" else 0.5
    said = objective.denoiser(objective.init(KEY))(jnp.zeros((3, 2)), t)
    np.testing.assert_allclose(said.data, expected, rtol=1e-5)


def test_scaled_inputs_have_variance_one():
    objective = PointDiffusion(model=Says(slope=1.0), path=EDM(), prediction=Prediction("data", 0.5), scale_inputs=True)
    t = jnp.float32(3.0)
    data, noise = (jax.random.normal(jax.random.key(k), (5_000, 2)) for k in (0, 1))
    x_t = objective.path.perturb(0.5 * data, noise, t)
    seen = objective.denoiser(objective.init(KEY))(x_t, t).data
    assert float(seen.std()) == pytest.approx(1.0, abs=0.03)


def test_guidance_extrapolates_from_no_class_to_the_class():
    objective = PointDiffusion(model=Says(num_classes=10, says="label"), label_dropout=0.1)
    variables, x, t = objective.init(KEY), jnp.ones((4, 2)), jnp.float32(0.5)
    labels = jnp.array([0, 1, 2, 3])
    noise = {scale: objective.denoiser(variables, labels, scale)(x, t).noise[:, 0] for scale in (0.0, 1.0, 3.0)}
    np.testing.assert_allclose(noise[1.0], labels, atol=1e-5)
    np.testing.assert_allclose(noise[0.0], 10, atol=1e-5)
    np.testing.assert_allclose(noise[3.0], 10 + 3 * (labels - 10.0), atol=1e-4)


def test_images_are_drawn_from_their_levels_in_training_and_in_the_held_out_loss():
    objective = ImageDiffusion(model=Says(), pixels=GreyLevels(17))
    examples = {"image": np.full((32, 8, 8, 1), 255, np.uint8)}
    drawn = np.asarray(objective.examples(examples, KEY))
    assert drawn.min() >= 1 - 2 / 17 - 1e-6 and len(np.unique(drawn)) > 1_000
    middle = objective.examples(examples, None)
    np.testing.assert_allclose(middle, 1 - 1 / 17, rtol=1e-6)
    np.testing.assert_array_equal(objective.decode(middle), examples["image"])
    plain = dataclasses.replace(objective, dequantize=False)
    np.testing.assert_allclose(plain.examples(examples, KEY), 1 - 1 / 17, rtol=1e-6)


def test_eight_devices_compute_as_one_and_draw_different_noise():
    objective = PointDiffusion(model=Says(slope=0.3, offset=0.1))
    variables = objective.init(KEY)

    def losses(variables, batches):
        examples = jax.tree.map(lambda x: x[0], batches)
        return objective.loss(variables, examples, jax.random.key(1), True)[1]["loss"].total

    def on(devices):
        return np.asarray(jax.jit(losses)(variables, choose_plan(16, devices=devices).put(
            {"point": np.ones((1, 16, 2), np.float32)})))

    np.testing.assert_allclose(on(1), on(8), rtol=1e-5)
    assert len(np.unique(on(8))) == 16


@pytest.mark.parametrize(("objective", "message"), [
    (PointDiffusion(model=Says(), label_dropout=0.1), "hides labels, but the network reads none: set model.num_"),
    (PointDiffusion(model=Says(), label_dropout=1.0), "label_dropout=1.0 is no share"),
    (PointDiffusion(model=Says(), weighting="snr"), "weighting must be one of noise, prediction, data, likelihood"),
])  # fmt: skip
def test_a_config_that_cannot_run_is_a_one_line_error(objective, message):
    with pytest.raises(ConfigError, match=message):
        objective.validate()


def test_guidance_of_a_run_that_cannot_be_guided_is_a_one_line_error():
    with pytest.raises(ConfigError, match="guidance=2.0 asks for a class, but this run is unconditional"):
        PointDiffusion(model=Says()).check_guidance(2.0)
    with pytest.raises(ConfigError, match="guidance=2.0 needs a network that was also trained without labels"):
        PointDiffusion(model=Says(num_classes=10)).check_guidance(2.0)
    PointDiffusion(model=Says()).check_guidance(1.0)


def test_data_that_do_not_fit_are_a_one_line_error():
    images = ImageDiffusion(model=Says(num_classes=7))
    with pytest.raises(ConfigError, match="the data have 10 classes, but model.num_classes is 7; 0 learns without"):
        images.check_data(Images(source=Digits()))
    with pytest.raises(ConfigError, match="needs images, not Points"):
        images.check_data(Points())
    with pytest.raises(ConfigError, match="Says of 3 dimensions needs such points, not Points"):
        PointDiffusion(model=Says(dimensions=3)).check_data(Points())

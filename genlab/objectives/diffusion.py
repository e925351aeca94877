"""Denoising score matching on any Gaussian path: a network learns what is data and what is noise in x_t."""

import dataclasses
import functools
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoised, Denoiser, Prediction
from genlab.diffusion.dequantization import Uniform
from genlab.diffusion.grids import starting_at
from genlab.diffusion.guidance import classifier_free_batched
from genlab.diffusion.paths import VP, Path, expand
from genlab.diffusion.times import Times, UniformTime, stratified
from genlab.models.placement import place
from genlab.objectives.grey_levels import GreyLevels
from genlab.objectives.image_model import ImageObjective
from genlab.objectives.metric import Metric
from genlab.randomness import per_example
from genlab.scaling.counting.compute import count_flops

Weighting = Literal["noise", "prediction", "data", "likelihood"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreMatching:
    """The mean over dimensions and times of w(t) |error of the noise|^2.

    Song et al. 2020 (arXiv 2011.13456), equation 7. Every example draws its own time, noise and, in training, whether
    it keeps its label. A subclass says what the data are. Weightings of the squared error of the noise, which is
    sigma^2 times that of the score:

        noise        1: the paper's lambda(t) = sigma^2 for all its SDEs, DDPM's simple loss
        prediction   what makes it the squared error of what the network predicts: flow matching's loss of a velocity,
                     EDM's lambda(sigma) of its preconditioned output
        data         (sigma / alpha)^2
        likelihood   g^2 / (2 sigma^2) over the density that times are drawn with: nats per dimension of the bound on
                     the negative log-likelihood (Song et al. 2021, arXiv 2101.09258, equation 7); times.UniformLogSnr
                     gives it the least variance

    Attributes:
      model: the network, (x, noise_level, label, train) -> [B, ...].
      path: from data to noise.
      prediction: what the network predicts.
      weighting: of the loss.
      times: how training times are drawn; in strata, one of each example's own.
      noise_level: what the network is told of the time: "time" 1,000 t, or "log_noise" log(sigma / alpha) / 4, EDM's.
      scale_inputs: whether the network sees x_t / sqrt(alpha^2 data_std^2 + sigma^2), EDM's c_in, in place of x_t.
      label_dropout: share of training examples whose label is hidden, which classifier-free guidance needs (Ho and
        Salimans 2022, arXiv 2207.12598, algorithm 1).
      sampling_start: the time that samples end at, where that is later than the path's start, from which times are
        trained and likelihoods taken; none for the path's start.
    """

    model: Any
    path: Path = VP()
    prediction: Prediction = Prediction()
    weighting: Weighting = "noise"
    times: Times = UniformTime()
    noise_level: Literal["time", "log_noise"] = "time"
    scale_inputs: bool = False
    label_dropout: float = 0.0
    sampling_start: float | None = None

    embedding_parameters: ClassVar[tuple[str, ...]] = ()

    @property
    def family(self) -> str:
        """The family of the network, for the run record."""
        return type(self.model).__name__.lower()

    @property
    def dtype(self) -> str:
        """The type that matmuls run in: what the device's peak rate is looked up by."""
        return self.model.dtype

    def validate(self) -> None:
        """Raises ConfigError, in one line, for a config that cannot run."""
        self.model.validate()
        for name, allowed in (("weighting", ("noise", "prediction", "data", "likelihood")),
                              ("noise_level", ("time", "log_noise"))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        if not 0 <= self.label_dropout < 1:
            raise ConfigError(f"label_dropout={self.label_dropout} is no share; it lies in [0, 1)")
        if self.label_dropout and not self.model.num_classes:
            raise ConfigError(f"label_dropout={self.label_dropout} hides labels, but the network reads none: set "
                              "model.num_classes, or label_dropout=0")
        self.sampling_path()

    def example_shape(self) -> tuple[int, ...]:
        """The shape of one example of x."""
        raise NotImplementedError

    def examples(self, batch, key):
        """Returns x_0, float32 [B, ...], of a batch; without a key, without random dequantisation."""
        raise NotImplementedError

    def decode(self, x):
        """Returns examples as data of x [B, ...]: `examples` undone."""
        return x

    def init(self, key) -> dict:
        """Returns fresh variables."""
        return self.model.init(key, jnp.zeros((1, *self.example_shape())), jnp.zeros((1,)), None)

    def loss(self, variables, batch, key, train: bool):
        """Returns (weighted squared error per dimension, {"loss"} per example, {}).

        Held out, labels are never hidden. `batch` may hold "label" [B] and "example_weight" [B] (0 for padding).
        """
        keys = jax.random.split(jax.random.key(0) if key is None else key, 5)
        x_0 = self.examples(batch, keys[0])
        t_B, density_B = self.times.sample(self.path, stratified(keys[1], len(x_0)))
        noise = per_example(jax.random.normal, keys[2], x_0.shape)
        label_B = self._label(batch)
        if train and label_B is not None and self.label_dropout:
            hidden_B = per_example(jax.random.bernoulli, keys[3], label_B.shape, p=self.label_dropout)
            label_B = jnp.where(hidden_B, self.model.num_classes, label_B)
        x_t = self.path.perturb(x_0, noise, t_B)
        output = self._network(variables, x_t, t_B, label_B, train, keys[4])
        error = output - self.prediction.target(self.path, x_0, noise, t_B)
        squares_B = jnp.square(error).reshape(len(x_0), -1).mean(axis=-1)
        losses_B = squares_B * self._weight(t_B, density_B)
        weight_B = batch.get("example_weight", jnp.ones(losses_B.shape, jnp.float32))
        loss = Metric(losses_B * weight_B, weight_B)
        return loss.mean(), {"loss": loss}, {}

    def denoiser(self, variables, label_B=None, guidance: float = 1.0) -> Denoiser:
        """Returns the network as samplers and likelihoods know it.

        Args:
          variables: of the network.
          label_B: classes, int32 [B], or None for none.
          guidance: scale of classifier-free guidance, 1 for none; `check_guidance` says where it makes sense.
        """
        def denoise(x, t, label_B=label_B) -> Denoised:
            x = place(x, "B" + "-" * (x.ndim - 1))
            t_B = jnp.broadcast_to(jnp.asarray(t, jnp.float32), (len(x),))
            return self.prediction.denoised(self.path, x, t_B, self._network(variables, x, t_B, label_B))

        if guidance == 1.0:
            return denoise
        return classifier_free_batched(lambda label: functools.partial(denoise, label_B=label), label_B,
                                       self.model.num_classes, guidance)

    def sampling_path(self, start: float | None = None) -> Path:
        """Returns the path that samples follow, down to `start`, or to where this objective has them end.

        Raises:
          ConfigError: a start outside the path (grids.starting_at).
        """
        return starting_at(self.path, self.sampling_start if start is None else start)

    def check_guidance(self, guidance: float) -> None:
        """Raises ConfigError, in one line, where a run cannot be guided."""
        if guidance == 1.0:
            return
        if not self.model.num_classes:
            raise ConfigError(f"guidance={guidance} asks for a class, but this run is unconditional: train one with "
                              "model.num_classes and label_dropout, or leave guidance at 1")
        if not self.label_dropout:
            raise ConfigError(f"guidance={guidance} needs a network that was also trained without labels: train one "
                              "with label_dropout, or leave guidance at 1")

    def flops_conventions(self, data: Any = None) -> dict[str, float]:
        """Returns training FLOPs per example by the rule of thumb that a backward pass costs two forward ones."""
        variables = jax.eval_shape(self.init, jax.random.key(0))
        forward = count_flops(lambda v, b: self.loss(v, b, None, False)[0], variables, self.dummy_batch(1, data)).flops
        return {"3 x forward": 3.0 * forward}

    def _label(self, batch):
        return batch["label"].astype(jnp.int32) if self.model.num_classes else None

    def _network(self, variables, x, t_B, label_B, train=False, key=None):
        level_B = 1_000 * t_B if self.noise_level == "time" else -self.path.log_snr(t_B) / 8
        if self.scale_inputs:
            alpha_B, sigma_B = self.path.alpha(t_B), self.path.sigma(t_B)
            x = x / expand(jnp.hypot(alpha_B * self.prediction.data_std, sigma_B), x)
        rngs = {"dropout": key} if train else None
        return self.model.apply(variables, x, level_B, label_B, train=train, rngs=rngs)

    def _weight(self, t_B, density_B):
        """w(t) of the squared error of what the network predicts; see `Weighting`."""
        if self.weighting == "prediction":
            return jnp.ones_like(t_B)
        c_0, c_1 = self.prediction.coefficients(self.path, t_B)
        alpha_B, sigma_B = self.path.alpha(t_B), self.path.sigma(t_B)
        determinant_B = alpha_B * c_1 - sigma_B * c_0
        if self.weighting == "data":
            return jnp.square(sigma_B / determinant_B)
        of_noise_B = jnp.square(alpha_B / determinant_B)
        if self.weighting == "noise":
            return of_noise_B
        return of_noise_B * jnp.square(self.path.diffusion(t_B) / sigma_B) / (2 * density_B)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageDiffusion(ScoreMatching, ImageObjective):
    """Diffusion of images: a batch holds "image" uint8 [B, I, J, C].

    Attributes:
      pixels: how bytes become floats: the levels they have.
      dequantize: whether training images are drawn from their levels' intervals, as the likelihood sees them, and not
        the middle of each.
    """

    model: Any
    pixels: GreyLevels = GreyLevels()
    dequantize: bool = True

    def check_data(self, data: Any) -> None:
        """Raises ConfigError, in one line, for data that this network cannot learn."""
        super().check_data(data)
        if self.model.num_classes and data.num_classes != self.model.num_classes:
            raise ConfigError(f"the data have {data.num_classes} classes, but model.num_classes is "
                              f"{self.model.num_classes}; 0 learns without labels")

    def example_shape(self) -> tuple[int, ...]:
        """See `ScoreMatching`."""
        return (self.model.image_size, self.model.image_size, self.model.channels)

    def examples(self, batch, key):
        """See `ScoreMatching`."""
        if self.dequantize and key is not None:
            return self.pixels.dequantize(batch["image"], key)
        return self.pixels.normalize(batch["image"])

    def dequantization(self, variables) -> Uniform:
        """Returns how the likelihood makes levels continuous."""
        return Uniform(self.pixels.count)

    def decode(self, x):
        """Returns uint8 images: see `ScoreMatching`."""
        return self.pixels.to_bytes(x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointDiffusion(ScoreMatching):
    """Diffusion of points: a batch holds "point" float32 [B, D]."""

    def check_data(self, data: Any) -> None:
        """Raises ConfigError, in one line, for data that are no points of the network's dimension."""
        if getattr(data, "dimensions", None) != self.model.dimensions:
            raise ConfigError(f"{type(self.model).__name__} of {self.model.dimensions} dimensions needs such points, "
                              f"not {type(data).__name__}")

    def example_shape(self) -> tuple[int, ...]:
        """See `ScoreMatching`."""
        return (self.model.dimensions,)

    def dummy_batch(self, batch_size: int, data: Any = None) -> dict:
        """Returns the shapes of a batch."""
        return {"point": jax.ShapeDtypeStruct((batch_size, self.model.dimensions), jnp.float32)}

    def examples(self, batch, key):
        """See `ScoreMatching`."""
        return batch["point"]

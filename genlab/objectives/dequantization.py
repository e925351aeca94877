"""Variational dequantisation of a finished diffusion model: noise within the levels that the model finds likely."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoiser
from genlab.diffusion.dequantization import Variational
from genlab.diffusion.likelihood import bits_per_dimension, negative_log_likelihood_bound
from genlab.diffusion.paths import Path
from genlab.models.dequantizer import Dequantizer
from genlab.objectives.diffusion import ImageDiffusion
from genlab.objectives.grey_levels import GreyLevels
from genlab.objectives.image_model import ImageObjective
from genlab.objectives.metric import Metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariationalDequantization(ImageObjective):
    """A bound on bits per dimension: log q(u | levels), and the diffusion model's bound at levels + u, lowered in q.

    Ho et al. 2019 (arXiv 1902.00275, equation 11), with the bound of Kingma et al. 2021 in place of the likelihood, as
    Song et al. 2021 (arXiv 2101.09258, section 5.2) train it. The experiment's `start` names the diffusion model's run;
    its parameters are the collection "teacher", which stays as it is.

    Attributes:
      model: of q.
      teacher: the diffusion model's own objective.
    """

    model: Dequantizer
    teacher: ImageDiffusion
    pixels: GreyLevels = GreyLevels()

    needs_start: ClassVar[bool] = True

    @property
    def path(self) -> Path:
        """The diffusion model's."""
        return self.teacher.path

    def validate(self) -> None:
        """Raises ConfigError, in one line, for a config that cannot run."""
        super().validate()
        if self.pixels != self.teacher.pixels:
            raise ConfigError(f"the teacher's pixels are {self.teacher.pixels}, here they are {self.pixels}; they must "
                              "be the same")
        for name in ("image_size", "channels"):
            ours, theirs = getattr(self.model, name), getattr(self.teacher.model, name)
            if ours != theirs:
                raise ConfigError(f"the teacher's {name} is {theirs}, here it is {ours}; they must be the same")

    def init(self, key) -> dict:
        """Returns q's variables and the collection "teacher", to be taken from the diffusion model's run."""
        return super().init(key) | {"teacher": self.teacher.init(key)}

    def start_from(self, variables, source: Any, source_variables) -> dict:
        """Returns the variables with a finished run's as the diffusion model's.

        Raises:
          ConfigError: that run is not the teacher's.
        """
        if source != self.teacher:
            raise ConfigError("the run to start from is not of objective.teacher, which must be that run's objective")
        return variables | {"teacher": source_variables}

    def loss(self, variables, batch, key, train: bool):
        """Returns (bits per dimension, {"loss"} per example, {})."""
        level_key, bound_key = jax.random.split(jax.random.key(0) if key is None else key)
        label_B = batch["label"].astype(jnp.int32) if self.teacher.model.num_classes else None
        drawn = self.dequantization(variables).draw(self.pixels.levels(batch["image"]), level_key)
        nats_B = drawn.log_density + negative_log_likelihood_bound(
            self.path, self.denoiser(variables, label_B), drawn.x, bound_key)
        bits_B = bits_per_dimension(-nats_B, math.prod(drawn.x.shape[1:]), self.pixels.count)
        weight_B = batch.get("example_weight", jnp.ones(bits_B.shape, jnp.float32))
        loss = Metric(bits_B * weight_B, weight_B)
        return loss.mean(), {"loss": loss}, {}

    def dequantization(self, variables) -> Variational:
        """Returns q."""
        own = {name: value for name, value in variables.items() if name != "teacher"}
        return Variational(self.pixels.count, lambda x: self.model.apply(own, x))

    def denoiser(self, variables, label_B=None) -> Denoiser:
        """Returns the diffusion model's."""
        return self.teacher.denoiser(variables["teacher"], label_B)

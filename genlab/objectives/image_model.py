"""What all objectives on images share: an image model, its pixels, its checks, and starting from another run."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.objectives.pixels import Pixels
from genlab.scaling.counting.compute import count_flops


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageObjective:
    """An objective whose batches hold "image", uint8 [B, I, J, C].

    Attributes:
      model: a Linen module of genlab/models with fields `image_size`, `channels` and `dtype`.
      pixels: how bytes become floats.
    """

    model: Any
    pixels: Pixels = Pixels()

    embedding_parameters: ClassVar[tuple[str, ...]] = ()
    needs_start: ClassVar[bool] = False

    @property
    def family(self) -> str:
        """The family of the model, for the run record."""
        return type(self.model).__name__.lower()

    @property
    def dtype(self) -> str:
        """The type that matmuls run in: what the device's peak rate is looked up by."""
        return self.model.dtype

    def validate(self) -> None:
        """Raises ValueError, in one line, for a config that cannot run."""
        self.model.validate()
        self.pixels.check(self.model.channels)

    def check_data(self, data: Any) -> None:
        """Raises ValueError, in one line, for data that this model cannot read."""
        if not hasattr(data, "image_shape"):
            raise ConfigError(f"{type(self).__name__.lower()} needs images, not {type(data).__name__}")
        I, J, C = data.image_shape
        if self.model.channels != C:
            raise ConfigError(f"{_kind(C)} images into a model of {_kind(self.model.channels)} ones: set "
                              f"model.channels={C}")
        if {I, J} != {self.model.image_size}:
            raise ConfigError(f"the images are {I} x {J}, but model.image_size is {self.model.image_size}; set one to "
                              "the other (data.image_size resizes)")

    @property
    def couples_examples(self) -> bool:
        """Whether an example's loss depends on the others of its batch, as through BatchNorm's statistics."""
        return "batch_stats" in jax.eval_shape(self.init, jax.random.key(0))

    def dummy_batch(self, batch_size: int, data: Any = None) -> dict:
        """Returns the shapes of a batch."""
        I = self.model.image_size
        return {"image": jax.ShapeDtypeStruct((batch_size, I, I, self.model.channels), jnp.uint8),
                "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32)}

    def flops_conventions(self, data: Any = None) -> dict[str, float]:
        """Returns training FLOPs per example by the rule of thumb that a backward pass costs two forward ones."""
        variables = jax.eval_shape(self.init, jax.random.key(0))
        forward = count_flops(lambda v, b: self.loss(v, b, None, False)[0], variables, self.dummy_batch(1, data)).flops
        return {"3 x forward": 3.0 * forward}

    def init(self, key) -> dict:
        """Returns fresh variables: "params" and, of models with BatchNorm, "batch_stats"."""
        I = self.model.image_size
        return self.model.init(key, jnp.zeros((1, I, I, self.model.channels)))

    def apply(self, variables, images, key, train: bool, **arguments):
        """Returns (the model's output, the collections that the forward pass updated, {} unless training)."""
        if not train:
            return self.model.apply(variables, images, **arguments), {}
        changing = [name for name in variables if name != "params"]
        return self.model.apply(variables, images, train=True, rngs={"dropout": key}, mutable=changing, **arguments)

    def start_from(self, variables, source: Any, source_variables) -> dict:
        """Returns fresh variables with all but the head taken from a finished run.

        A model that can adapt what depends on the image's size has `adapt(params, model)`, which takes another
        model's parameters to its own shapes.

        Args:
          variables: fresh ones, as of `init`.
          source: the objective of the finished run; it has `trunk(variables) -> (model, variables)`.
          source_variables: that run's.

        Raises:
          ConfigError: that run's model is of another family, or of another shape.
        """
        if not hasattr(source, "trunk"):
            raise ConfigError(f"{type(self).__name__} cannot start from a run of {type(source).__name__}")
        if source.pixels != self.pixels:
            raise ConfigError(f"the run to start from reads pixels with {source.pixels}, this one with {self.pixels}: "
                              "set objective.pixels to the same")
        model, trunk = source.trunk(source_variables)
        if type(model) is not type(self.model):
            raise ConfigError(f"the run to start from is of another family: a {type(model).__name__}, while this model "
                              f"is a {type(self.model).__name__}")
        params = trunk["params"]
        if hasattr(self.model, "adapt"):
            params = self.model.adapt(params, model)
        taken = {"params": {name: value for name, value in params.items() if name != "head"}}
        taken |= {name: value for name, value in trunk.items() if name != "params"}
        return _overlay(variables, taken)


def _kind(channels: int) -> str:
    return {1: "grey (1 channel)", 3: "colour (3 channels)"}.get(channels, f"{channels}-channel")


def _overlay(fresh: dict, taken: dict, path: str = "") -> dict:
    """`fresh` with the leaves of `taken`, which must have its shapes; only a head may be missing."""
    for name in taken:
        if name not in fresh:
            raise ConfigError(f"the run to start from has {path}/{name}, which this model has not: another shape")
    result = {}
    for name, value in fresh.items():
        where = f"{path}/{name}" if path else name
        if name not in taken:
            if where != "params/head":
                raise ConfigError(f"the run to start from has no parameters {where}: its model has another shape")
            result[name] = value
        elif isinstance(value, dict):
            result[name] = _overlay(value, taken[name], where)
        elif value.shape != taken[name].shape:
            raise ConfigError(f"{where} is {taken[name].shape} in the run to start from, and {value.shape} here: its "
                              "model has another shape")
        else:
            result[name] = taken[name]
    return result

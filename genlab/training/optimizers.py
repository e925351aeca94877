"""Optimizer configs: what optax does, with a schedule matched to the run's length.

Every number that a sweep may vary between runs of one shape (`Optimizer.hyperparameters`) is an
array in the training state and not a constant of the compiled program.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from genlab.configuration import ConfigError, check_choice
from genlab.training.layers import layer_multipliers
from genlab.training.schedules import Decay, learning_rate_at

PyTree = Any

MomentType = Literal["float32", "bfloat16"]
_UNDECAYED = ("bias", "scale")  # Linen's names for the offsets and gains of layers and norms.


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Fields that all optimizers share.

    Attributes:
      learning_rate: peak of the schedule.
      decay: shape of the schedule after the warm-up.
      warmup_steps: least number of warm-up updates.
      warmup_fraction: warm-up as a share of the run; the larger of the two counts.
      final_fraction: last learning rate over peak.
      decay_fraction: share of the run that decays, for "warmup_stable_decay".
      weight_decay: decoupled, multiplied by the learning rate; biases and norms' scales are spared.
      clip_norm: gradients are scaled down to this global norm (Pascanu 2012); none for no clipping.
      moment_dtype: in which averages of gradients are kept between updates, which compute in float32; in bfloat16 they
        take half the bytes.
      layer_decay: for fine-tuning: each layer's learning rate over that of the layer above it
        (genlab/training/layers.py); 0 freezes all but the head.
    """

    learning_rate: float = 1e-3
    decay: Decay = "cosine"
    warmup_steps: int = 20
    warmup_fraction: float = 0.05
    final_fraction: float = 0.05
    decay_fraction: float = 0.2
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    layer_decay: float = 1.0
    moment_dtype: MomentType = "float32"

    def __post_init__(self):
        for name in ("warmup_fraction", "final_fraction", "decay_fraction", "layer_decay"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"optimizer.{name}={getattr(self, name)} is no share; it lies in [0, 1]")
        for name in ("learning_rate", "weight_decay", "warmup_steps"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"optimizer.{name}={getattr(self, name)} must be a number from 0 up")
        check_choice("optimizer.moment_dtype", self.moment_dtype, get_args(MomentType))

    def hyperparameters(self, steps: int) -> dict[str, float]:
        """The numbers that enter the compiled step as arrays, for a run of `steps` updates."""
        return {
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "warmup_steps": float(min(max(self.warmup_steps, round(self.warmup_fraction * steps)), steps)),
            "total_steps": float(steps),
            "final_fraction": self.final_fraction,
            "decay_fraction": self.decay_fraction,
        }

    def without_hyperparameters(self) -> "Optimizer":
        """This config with everything reset that `hyperparameters` carries: the key of a program."""
        return dataclasses.replace(
            self, learning_rate=0.0, weight_decay=0.0, warmup_steps=0, warmup_fraction=0.0,
            final_fraction=0.0, decay_fraction=0.0,
        )

    def learning_rate_at(self, step: jax.Array, hyperparameters: dict[str, jax.Array]) -> jax.Array:
        """Learning rate after `step` updates, from the traced hyper-parameters."""
        h = hyperparameters
        return learning_rate_at(
            step, decay=self.decay, peak=h["learning_rate"], warmup_steps=h["warmup_steps"],
            total_steps=h["total_steps"], final_fraction=h["final_fraction"],
            decay_fraction=h["decay_fraction"],
        )

    def transform(self, learning_rate: jax.Array, weight_decay: jax.Array) -> optax.GradientTransformation:
        """The optax transformation whose two numbers may be traced; it clips first."""
        clip = optax.clip_by_global_norm(self.clip_norm) if self.clip_norm else optax.identity()
        rule = self.rule(learning_rate, weight_decay)
        if self.layer_decay == 1.0:
            return optax.chain(clip, rule)
        return optax.chain(clip, rule, optax.stateless(
            lambda updates, _: jax.tree.map(jnp.multiply, updates, layer_multipliers(updates, self.layer_decay))))

    def rule(self, learning_rate: jax.Array, weight_decay: jax.Array) -> optax.GradientTransformation:
        """The update rule proper."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2017, algorithm 2).

    `second_moment_dtype` is that of the averages of squared gradients. A bfloat16 has 8 bits: what falls by less than
    2^-8 of itself a step may be rounded back to where it was. So with beta2 .999 a second moment would never fall: for
    gradients of standard deviation 1 it settles at 2.2 in place of 1, and stays there when they are a hundredth. With
    .995, .98 and .95 it errs by 2, .5 and less than .1 % (measured: 2,000 entries of normal gradients) and falls as it
    should; DeepSeek-V3 keeps both moments in bfloat16 with beta2 .95 (arXiv 2412.19437, section 3.3.3).
    """

    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-9
    second_moment_dtype: MomentType = "float32"

    def __post_init__(self):
        super().__post_init__()
        check_choice("optimizer.second_moment_dtype", self.second_moment_dtype, get_args(MomentType))
        if self.second_moment_dtype == "bfloat16" and 1 - self.beta2 < 2**-8:
            raise ConfigError(f"optimizer.second_moment_dtype=bfloat16 rounds away what beta2={self.beta2} takes off a "
                              "second moment, which would never fall; take beta2 of at most .996, or float32")

    def rule(self, learning_rate, weight_decay):
        """See `Optimizer.rule`."""
        adam = kept_as(optax.scale_by_adam(self.beta1, self.beta2, self.epsilon), mu=self.moment_dtype,
                       nu=self.second_moment_dtype)
        return optax.chain(adam, optax.add_decayed_weights(weight_decay, decay_mask),
                           optax.scale_by_learning_rate(learning_rate))


@dataclass(frozen=True, kw_only=True)
class Lion(Optimizer):
    """Sign of an interpolated momentum (Chen et al. 2023, algorithm 2)."""

    beta1: float = 0.9
    beta2: float = 0.99

    def rule(self, learning_rate, weight_decay):
        """See `Optimizer.rule`."""
        lion = kept_as(optax.scale_by_lion(self.beta1, self.beta2), mu=self.moment_dtype)
        return optax.chain(lion, optax.add_decayed_weights(weight_decay, decay_mask),
                           optax.scale_by_learning_rate(learning_rate))


@dataclass(frozen=True, kw_only=True)
class Muon(Optimizer):
    """Momentum orthogonalised by Newton-Schulz for hidden matrices, AdamW for the rest (Jordan 2024).

    Matrices are the kernels: two-dimensional, or stacked ones under a scan over layers. Embeddings,
    heads, biases and scales are Adam's. `consistent_rms` 0.2 matches the update's root mean square to
    AdamW's (Liu et al. 2025, section 2.2), so that one learning rate serves both.
    """

    momentum: float = 0.95
    newton_schulz_steps: int = 5
    beta1: float = 0.9
    beta2: float = 0.98
    consistent_rms: float | None = 0.2

    def rule(self, learning_rate, weight_decay):
        """See `Optimizer.rule`."""
        # Not contrib.muon whole: its Adam half takes Nesterov steps and ignores the mask of the decay.
        muon = contrib.scale_by_muon(ns_steps=self.newton_schulz_steps, beta=self.momentum,
                                     weight_dimension_numbers=_muon_dimensions)
        matrices = optax.chain(
            kept_as(muon, mu=self.moment_dtype),
            optax.stateless(lambda updates, _: jax.tree.map(self._scale_by_shape, updates)))
        rest = kept_as(optax.scale_by_adam(self.beta1, self.beta2), mu=self.moment_dtype)
        return optax.chain(optax.partition({"matrix": matrices, "rest": rest}, _muon_labels),
                           optax.add_decayed_weights(weight_decay, decay_mask),
                           optax.scale_by_learning_rate(learning_rate))

    def _scale_by_shape(self, update):
        fan_in, fan_out = update.shape[-2:]
        if self.consistent_rms is None:
            return update * max(1.0, fan_out / fan_in) ** 0.5
        return update * max(fan_in, fan_out) ** 0.5 * self.consistent_rms


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent with (Nesterov) momentum (Sutskever 2013) and decoupled decay."""

    momentum: float = 0.9
    nesterov: bool = False

    def rule(self, learning_rate, weight_decay):
        """See `Optimizer.rule`."""
        trace = optax.identity()
        if self.momentum:
            trace = kept_as(optax.trace(self.momentum, self.nesterov), trace=self.moment_dtype)
        return optax.chain(trace, optax.add_decayed_weights(weight_decay, decay_mask),
                           optax.scale_by_learning_rate(learning_rate))


@dataclass(frozen=True, kw_only=True)
class Adafactor(Optimizer):
    """Factored second moments (Shazeer & Stern 2018); weight decay multiplied by the learning rate."""

    decay_rate: float = 0.8
    min_dim_size_to_factor: int = 128
    multiply_by_parameter_scale: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.moment_dtype != "float32":
            raise ConfigError(f"optimizer.moment_dtype={self.moment_dtype}: Adafactor keeps no averages of gradients")

    def rule(self, learning_rate, weight_decay):
        """See `Optimizer.rule`."""
        return optax.chain(
            optax.adafactor(
                learning_rate=None, min_dim_size_to_factor=self.min_dim_size_to_factor,
                decay_rate=self.decay_rate,
                multiply_by_parameter_scale=self.multiply_by_parameter_scale,
            ),
            # optax.adafactor ends with a change of sign; the decay goes in with the same sign.
            optax.add_decayed_weights(-weight_decay, decay_mask),
            optax.scale(learning_rate),
        )


def kept_as(rule: optax.GradientTransformation, **dtypes: str) -> optax.GradientTransformation:
    """Returns `rule` with fields of its state kept in these types between updates, which compute in float32.

    optax's own mu_dtype multiplies the moment by its decay rate before it leaves bfloat16, which rounds twice.
    """
    def cast(state, **dtypes):
        return state._replace(**{name: jax.tree.map(lambda x, dtype=dtype: x.astype(dtype), getattr(state, name))
                                 for name, dtype in dtypes.items()})

    def update(updates, state, params=None):
        updates, state = rule.update(updates, cast(state, **dict.fromkeys(dtypes, "float32")), params)
        return updates, cast(state, **dtypes)

    return optax.GradientTransformation(lambda params: cast(rule.init(params), **dtypes), update)


def decay_mask(params: PyTree) -> PyTree:
    """True for the leaves that weight decay applies to: all but biases and norms' scales."""
    return jax.tree_util.tree_map_with_path(lambda path, _: _name(path[-1]) not in _UNDECAYED, params)


def _muon_labels(params: PyTree) -> PyTree:
    def label(path, leaf):
        in_head = any(_name(key) == "head" for key in path)
        return "matrix" if _name(path[-1]) == "kernel" and leaf.ndim >= 2 and not in_head else "rest"

    return jax.tree_util.tree_map_with_path(label, params)


def _muon_dimensions(params: PyTree) -> PyTree:
    return jax.tree.map(lambda _: contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1), params)


def _name(key: Any) -> str:
    return str(getattr(key, "key", getattr(key, "name", key)))


def initial_optimizer_state(optimizer: Optimizer, params: PyTree) -> PyTree:
    """The optimizer's state before the first update."""
    return optimizer.transform(jnp.float32(0), jnp.float32(0)).init(params)

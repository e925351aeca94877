"""Parameters and initialisation of the layers every family shares: Dense, Norm, AdaptiveNorm, Mlp."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from genlab.models import ops

Initialization = Literal["fan_in", "gpt2"]


def kernel_initializer(initialization: Initialization = "fan_in", scale: float = 1.0):
    """Returns a normal initializer of [D, F] kernels, standard deviation scale / sqrt(D).

    For "gpt2" it is scale * .02, GPT-2's constant (equal at width 2,500). Residual outputs take
    scale = 1 / sqrt(2 depth), so that the residual stream's variance does not grow with depth
    (Radford et al. 2019, section 2.3).
    """
    if initialization == "gpt2":
        return nn.initializers.normal(0.02 * scale)
    return nn.initializers.variance_scaling(scale**2, "fan_in", "normal")


class Dense(nn.Module):
    """A linear layer with a float32 kernel [D, features], computed in the type of its input [..., D]."""

    features: int
    use_bias: bool = False
    kernel_init: jax.nn.initializers.Initializer = kernel_initializer()

    @nn.compact
    def __call__(self, x):
        """Returns [..., features] for x [..., D]."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return ops.dense(x, kernel, bias)


class Norm(nn.Module):
    """LayerNorm or RMSNorm over the last axis, with a float32 scale and statistics."""

    kind: Literal["layernorm", "rmsnorm"] = "layernorm"
    use_bias: bool = False
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x):
        """Returns the normalised x [..., D], in the type of x."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        norm = ops.layer_norm if self.kind == "layernorm" else ops.rms_norm
        return norm(x, scale, bias, self.epsilon)


class AdaptiveNorm(nn.Module):
    """norm(x) (1 + scale) + shift, without parameters of its own: a vector of each example decides them (adaLN).

    Scale, shift and, if `gated`, the gate of the branch that reads the output are one linear layer of the SiLU of that
    vector, which starts at zero (Peebles and Xie 2022, arXiv 2212.09748, section 3.2, adaLN-Zero): the norm starts
    plain, and the branch at nothing. Two branches' layers together are the paper's one of 6 D.
    """

    kind: Literal["layernorm", "rmsnorm"] = "layernorm"
    epsilon: float = 1e-6
    gated: bool = True

    @nn.compact
    def __call__(self, x_BTD, condition_BD):
        """Returns (the normalised and modulated x [B, T, D], the gate [B, 1, D] or None), in the type of x."""
        D = x_BTD.shape[-1]
        modulation = Dense((3 if self.gated else 2) * D, True, nn.initializers.zeros, name="modulation")
        shift, scale, *gate = jnp.split(modulation(jax.nn.silu(condition_BD))[:, None], 3 if self.gated else 2, axis=-1)
        norm = ops.layer_norm if self.kind == "layernorm" else ops.rms_norm
        # float32 up to the end: 1 + scale would keep 8 bits of it in bfloat16.
        normalised_BTD = norm(x_BTD.astype(jnp.float32), jnp.ones(D), None, self.epsilon)
        h_BTD = normalised_BTD * (1 + scale.astype(jnp.float32)) + shift
        return h_BTD.astype(x_BTD.dtype), gate[0] if gate else None


class Mlp(nn.Module):
    """Two linear layers with GELU (tanh) between, or SwiGLU with gate and up in one kernel."""

    width: int
    kind: Literal["gelu", "swiglu"] = "gelu"
    use_bias: bool = False
    initialization: Initialization = "fan_in"
    output_scale: float = 1.0

    @nn.compact
    def __call__(self, x):
        """Returns [..., D] for x [..., D], through `width` hidden units."""
        init = kernel_initializer(self.initialization)
        hidden = self.width if self.kind == "gelu" else 2 * self.width
        h = Dense(hidden, self.use_bias, init, name="up")(x)
        h = ops.gelu(h) if self.kind == "gelu" else ops.swiglu(h)
        init = kernel_initializer(self.initialization, self.output_scale)
        return Dense(x.shape[-1], self.use_bias, init, name="down")(h)

"""What a network says of x_t, in every form: noise, data, velocity, score, and EDM's preconditioned output.

Each is a linear combination c_0 x_0 + c_1 noise with coefficients that depend on the time alone, so with
x_t = alpha x_0 + sigma noise each is got from any other by solving two equations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.paths import Path, expand


class Denoised(NamedTuple):
    """The expected data and noise in x_t: data = E[x_0 | x_t], noise = (x_t - alpha data) / sigma; [B, ...] each."""

    data: jax.Array
    noise: jax.Array

    def score(self, path: Path, t):
        """Returns grad log p_t(x_t) = -noise / sigma, by Tweedie's formula."""
        return -self.noise / expand(path.sigma(t), self.noise)

    def velocity(self, path: Path, t):
        """Returns dx/dt of the probability-flow ODE: alpha' data + sigma' noise, which is f x - g^2 score / 2.

        Song et al. 2020, equation 13.
        """
        return (expand(path.alpha_rate(t), self.data) * self.data
                + expand(path.sigma_rate(t), self.data) * self.noise)


# (x [B, ...], t [] or [B]) -> Denoised. Samplers, guidance and likelihood know a model as this alone.
Denoiser = Callable[[jax.Array, jax.Array], Denoised]


def from_data(path: Path, x, t, data) -> Denoised:
    """Returns what a prediction of the data says."""
    return Denoised(data, (x - expand(path.alpha(t), x) * data) / expand(path.sigma(t), x))


def from_noise(path: Path, x, t, noise) -> Denoised:
    """Returns what a prediction of the noise says."""
    return Denoised((x - expand(path.sigma(t), x) * noise) / expand(path.alpha(t), x), noise)


def from_score(path: Path, x, t, score) -> Denoised:
    """Returns what a score says."""
    return from_noise(path, x, t, -expand(path.sigma(t), x) * score)


@dataclass(frozen=True)
class Prediction:
    """What a network predicts, of which x_0 and the noise are got back.

    Attributes:
      kind: "noise"; "data"; "score" (-noise / sigma); "velocity", dx/dt over the path's `speed`, which for VP is
        alpha noise - sigma data (Salimans and Ho 2022, arXiv 2202.00512, appendix D) and for the straight path
        noise - data; "edm", F of Karras et al. 2022 (equation 7 and table 1), whose target has variance 1 at every time
        if the data has data_std.
      data_std: EDM's sigma_data, that of the data.
    """

    kind: Literal["noise", "data", "score", "velocity", "edm"] = "noise"
    data_std: float = 0.5

    def __post_init__(self):
        if self.kind not in ("noise", "data", "score", "velocity", "edm"):
            raise ConfigError('prediction.kind must be "noise", "data", "score", "velocity" or "edm", '
                              f'not "{self.kind}"')
        if self.data_std <= 0:
            raise ConfigError(f"prediction.data_std={self.data_std} must be positive: the data's standard deviation")

    def coefficients(self, path: Path, t):
        """Returns (c_0, c_1), of t's shape: the target is c_0 x_0 + c_1 noise.

        EDM's c_skip and c_out, with the noise-to-signal ratio s = sigma / alpha and d = data_std, make the target
        (x_0 - c_skip (x_0 + s noise)) / c_out = (s / d x_0 - d noise) / sqrt(s^2 + d^2).
        """
        one, zero = jnp.ones_like(t), jnp.zeros_like(t)
        if self.kind == "noise":
            return zero, one
        if self.kind == "data":
            return one, zero
        if self.kind == "score":
            return zero, -1 / path.sigma(t)
        if self.kind == "velocity":
            speed = path.speed(t)
            return path.alpha_rate(t) / speed, path.sigma_rate(t) / speed
        ratio = path.sigma(t) / path.alpha(t)
        norm = jnp.hypot(ratio, self.data_std)
        return ratio / (self.data_std * norm), -self.data_std / norm

    def target(self, path: Path, x_0, noise, t):
        """Returns what the network should say of alpha x_0 + sigma noise."""
        c_0, c_1 = (expand(c, x_0) for c in self.coefficients(path, t))
        return c_0 * x_0 + c_1 * noise

    def denoised(self, path: Path, x, t, output) -> Denoised:
        """Returns what the network's output [B, ...] says of x_t [B, ...]: the two linear equations solved."""
        c_0, c_1 = self.coefficients(path, t)
        alpha, sigma = path.alpha(t), path.sigma(t)
        determinant = alpha * c_1 - sigma * c_0
        data_of_x, data_of_output = expand(c_1 / determinant, x), expand(-sigma / determinant, x)
        noise_of_x, noise_of_output = expand(-c_0 / determinant, x), expand(alpha / determinant, x)
        return Denoised(data_of_x * x + data_of_output * output, noise_of_x * x + noise_of_output * output)

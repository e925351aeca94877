"""Linear inverse problems: samples of x_0 given y = A x_0 + noise_std n, from a model that never saw A.

A method makes of a denoiser what any sampler takes: a denoiser given y, or a constraint after each step, or both. What
each gets right on Gaussian data, where everything is known in closed form, is in its docstring and tested.
"""

import abc
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoiser, from_data
from genlab.diffusion.guidance import add_score, vjp_of_data
from genlab.diffusion.operators import Operator
from genlab.diffusion.paths import Path, expand
from genlab.diffusion.samplers import AdaptiveOde, Sampler, Samples


class Method(abc.ABC):
    """How a measurement enters sampling."""

    @property
    def takes_noise(self) -> bool:
        """Whether it knows of noise in the measurement; otherwise it takes y as exact."""
        return False

    @abc.abstractmethod
    def condition(self, path: Path, denoiser: Denoiser, operator: Operator, y, noise_std: float = 0.0):
        """Returns (denoiser, constraint): what `Sampler.sample` takes to respect y [B or 1, *measurement_shape]."""


@dataclass(frozen=True)
class Replacement(Method):
    """After each step the measured part of x_t is replaced by that of y, noised as the time asks.

    Song et al. 2020 (arXiv 2011.13456, appendix I.2). It costs no network call; the free part only follows what it
    sees of x_t, so it is biased: of two Gaussian numbers correlated .8, one known to be 1.5, the other is given the
    mean .75 in place of 1.2 and the standard deviation .71 in place of .6.
    """

    def condition(self, path, denoiser, operator, y, noise_std=0.0):
        """See `Method`."""
        def constraint(x, t, key):
            noise = operator.apply(jax.random.normal(key, x.shape, x.dtype))
            return operator.project(x, jnp.where(_is_data(path, t), y, path.perturb(y, noise, t)))

        return denoiser, constraint


@dataclass(frozen=True)
class NullSpace(Method):
    """The expected data is projected on what agrees with y: DDNM (Wang et al. 2022, arXiv 2212.00490, equation 9).

    It costs no network call and is exact for white Gaussian data. In the example of `Replacement`: mean .75, standard
    deviation .74.
    """

    def condition(self, path, denoiser, operator, y, noise_std=0.0):
        """See `Method`."""
        def denoise(x, t):
            return from_data(path, x, t, operator.project(denoiser(x, t).data, y))

        return denoise, None


@dataclass(frozen=True)
class PseudoInverse(Method):
    """The score of N(y; A E[x_0 | x_t], r^2 A A^T + noise_std^2 I): PiGDM (Song et al. 2023, ICLR, section 3.2).

    r^2 = data_std^2 sigma^2 / (sigma^2 + alpha^2 data_std^2) is the variance of x_0 given x_t for white Gaussian data,
    for which the method is exact; the paper has data_std 1. Its heuristic factor of r^2 is left out. It costs a
    backward pass a call. In the example of `Replacement`: mean 1.15, standard deviation .62. Data far from normal, and
    a network's Jacobian, can make it diverge: on scikit-learn's digits it did where `NullSpace` read well.

    Attributes:
      data_std: of the data, in its own units.
      scale: factor of this score; 1 is exact where the covariance is.
    """

    data_std: float = 1.0
    scale: float = 1.0

    def __post_init__(self):
        if self.data_std <= 0:
            raise ConfigError(f"data_std={self.data_std} must be positive: the data's standard deviation")

    @property
    def takes_noise(self) -> bool:
        """See `Method`."""
        return True

    def condition(self, path, denoiser, operator, y, noise_std=0.0):
        """See `Method`."""
        def denoise(x, t):
            denoised, pull_back = vjp_of_data(denoiser, x, t)
            alpha, variance = path.alpha(t), jnp.square(path.sigma(t))
            r_squared = self.data_std**2 * variance / (variance + jnp.square(alpha * self.data_std))
            residual = y - operator.apply(denoised.data)
            gradient = pull_back(operator.adjoint(operator.whiten(residual, r_squared, noise_std**2)))
            return add_score(path, denoised, t, self.scale * gradient)

        return denoise, None


@dataclass(frozen=True)
class TweedieCovariance(Method):
    """`PseudoInverse` with the covariance that the denoiser itself implies, sigma^2 / alpha times its Jacobian J.

    Boys et al. 2023 (arXiv 2310.06721); as in Rozet et al. 2024 (arXiv 2405.13712) the linear system
    (A J A^T + alpha / sigma^2 noise_std^2 I) v = y - A E[x_0 | x_t] is solved by conjugate gradients, a backward pass
    each. Exact for all Gaussian data, given as many iterations as J's restriction has distinct eigenvalues.
    """

    iterations: int = 4

    def __post_init__(self):
        if self.iterations < 1:
            raise ConfigError(f"conjugate gradients need 1 iteration or more, not {self.iterations}")

    @property
    def takes_noise(self) -> bool:
        """See `Method`."""
        return True

    def condition(self, path, denoiser, operator, y, noise_std=0.0):
        """See `Method`."""
        def denoise(x, t):
            denoised, pull_back = vjp_of_data(denoiser, x, t)
            noise_part = path.alpha(t) * jnp.square(noise_std / path.sigma(t))

            def system(v):
                return operator.apply(pull_back(operator.adjoint(v))) + expand(noise_part, v) * v

            # What of y is outside the range of A no x explains, and conjugate gradients would chase it.
            residual = operator.apply(operator.pseudo_inverse(y)) - operator.apply(denoised.data)
            shift = pull_back(operator.adjoint(conjugate_gradients(system, residual, self.iterations)))
            return from_data(path, x, t, denoised.data + shift)

        return denoise, None


@dataclass(frozen=True)
class PosteriorSampling(Method):
    """After each step x_t goes `step` down the gradient of |y - A E[x_0 | x_t]|: DPS (Chung et al. 2022).

    arXiv 2209.14687, algorithm 1 and section 3.2, with the gradient where x_t has arrived and not where it left, so
    that it fits any solver at the price of a call and a backward pass a step. The right `step` depends on the number
    of steps and on the data; the paper's are about 1 for 1,000 steps.
    """

    step: float = 1.0

    def __post_init__(self):
        if self.step <= 0:
            raise ConfigError(f"step={self.step} must be positive")

    @property
    def takes_noise(self) -> bool:
        """See `Method`: the noise's size is in `step`."""
        return True

    def condition(self, path, denoiser, operator, y, noise_std=0.0):
        """See `Method`."""
        def moved(x, t):
            denoised, pull_back = vjp_of_data(denoiser, x, t)
            residual = y - operator.apply(denoised.data)
            norm = jnp.sqrt(_dot(residual, residual))
            return x + self.step * pull_back(operator.adjoint(residual / jnp.maximum(norm, 1e-12)))

        def constraint(x, t, key):
            return jax.lax.cond(_is_data(path, t), lambda x, t: x, moved, x, t)

        return denoiser, constraint


def _is_data(path: Path, t):
    """Whether x is the expected data already: samplers then impose a constraint at a time before the path's start."""
    return t < 0.5 * path.start


def solve_inverse(sampler: Sampler | AdaptiveOde, path: Path, denoiser: Denoiser, operator: Operator, y, key,
                  shape: tuple[int, ...], method: Method = PseudoInverse(), noise_std: float = 0.0,
                  **options) -> Samples:
    """Returns samples of x_0 given y; to be jitted by the caller.

    Without noise the samples end by being projected, so that A x = y to rounding.

    Args:
      sampler: any; the adaptive ODE takes no method that works by a constraint.
      path: of the denoiser.
      denoiser: of x_0 without y.
      operator: A.
      y: [B, *measurement_shape], or [1, ...] for B samples of one image.
      key: of the sampler.
      shape: of the samples, [B, ...].
      method: see this module.
      noise_std: of the noise in y, in the units of y.
      **options: of `sampler.sample`, such as `intermediates`.

    Raises:
      ConfigError: A does not apply to such images, y has another shape, or the method takes no noise.
    """
    expected = operator.measurement_shape(shape[1:])
    if y.shape[1:] != expected or y.shape[0] not in (1, shape[0]):
        raise ConfigError(f"measurements of {shape[0]} images {list(shape[1:])} need the shape "
                          f"{[shape[0], *expected]}, or 1 for {shape[0]}; y has {list(y.shape)}")
    if noise_std < 0:
        raise ConfigError(f"noise_std={noise_std} must not be negative")
    if noise_std and not method.takes_noise:
        raise ConfigError(f"{type(method).__name__} takes measurements as exact; noise_std={noise_std} needs "
                          "PseudoInverse or TweedieCovariance")
    conditioned, constraint = method.condition(path, denoiser, operator, y, noise_std)
    samples = sampler.sample(path, conditioned, key, shape, constraint=constraint, **options)
    if noise_std:
        return samples
    x, film = operator.project(samples.x, y), samples.trajectory
    return samples._replace(x=x, trajectory=film if film is None else film.at[-1].set(x))


def _dot(a, b):
    """The inner product of each example, [B, 1, ...]."""
    return jnp.sum(a * b, axis=tuple(range(1, a.ndim)), keepdims=True)


def conjugate_gradients(system, target, iterations: int):
    """Returns v with system(v) = target, [B, ...], each example by itself; `system` is linear, symmetric, positive.

    An example stops where it is solved or where the system shows itself not positive, as a network's Jacobian may.
    """
    floor = jnp.finfo(target.dtype).eps ** 2 * _dot(target, target)

    def iterate(_, state):
        v, residual, direction, square = state
        image = system(direction)
        curvature = _dot(direction, image)
        goes_on = (square > floor) & (curvature > 0)
        length = jnp.where(goes_on, square / jnp.where(goes_on, curvature, 1), 0)
        residual = residual - length * image
        new_square = _dot(residual, residual)
        ratio = jnp.where(goes_on, new_square / jnp.where(goes_on, square, 1), 0)
        return v + length * direction, residual, residual + ratio * direction, jnp.where(goes_on, new_square, 0)

    start = (jnp.zeros_like(target), target, target, _dot(target, target))
    return jax.lax.fori_loop(0, iterations, iterate, start)[0]

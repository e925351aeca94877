"""Power laws of training compute, y = k C^a, through points of known or unknown spread."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class PowerLaw:
    """y = constant * C**exponent, with what draws of its points make of it.

    Attributes:
      exponent: a.
      log_constant: log k.
      samples: (exponent, log constant) of refits to drawn points, [draws, 2]; [0, 2] without.
    """

    exponent: float
    log_constant: float
    samples: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2)))

    @property
    def constant(self) -> float:
        """k."""
        return float(np.exp(self.log_constant))

    def __call__(self, flops) -> np.ndarray:
        """y at a training compute."""
        return np.exp(self.log_constant + self.exponent * np.log(flops))

    def interval(self, flops, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Percentile interval of y at a training compute; NaN without draws."""
        log_flops = np.log(np.asarray(flops, dtype=np.float64))
        if not len(self.samples):
            return np.full(log_flops.shape, np.nan), np.full(log_flops.shape, np.nan)
        drawn = self.samples[:, 1].reshape((-1,) + (1,) * log_flops.ndim) + np.multiply.outer(
            self.samples[:, 0], log_flops
        )
        return tuple(np.exp(np.percentile(drawn, _tails(level), axis=0)))

    def exponent_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of the exponent; NaN without draws."""
        if not len(self.samples):
            return (np.nan, np.nan)
        low, high = np.percentile(self.samples[:, 0], _tails(level))
        return float(low), float(high)

    def to_json(self) -> dict[str, Any]:
        """The exponent, the constant and the interval, without the draws."""
        return {
            "exponent": self.exponent,
            "constant": self.constant,
            "exponent_interval_95": list(self.exponent_interval()),
        }


def power_law(flops, values, std=None, drawn=None, draws: int = 1000, seed: int = 0) -> PowerLaw:
    """The power law of least squares in the logarithms, weighted by 1/std^2 where std is given.

    So Porian et al. 2024 (arXiv 2406.19146) weight the best sizes of isoFLOP curves: of their published
    pairs, `power_law(pairs.flops, pairs.n, pairs.n_star_std).exponent` is the published exponent.

    Args:
      flops: training compute, [points].
      values: y, [points].
      std: standard deviation of each log y, [points].
      drawn: what y could as well have been, [draws, points]; by default normal draws of width `std`.
      draws: how many of them; 0 for none.
      seed: of the default draws.

    The draws' refits are spread by a further max(1, sqrt(chi^2 / (points - 2))) where the points scatter
    about the line by more than the draws say, the scale factor by which the Particle Data Group widens
    averages of measurements that disagree.

    Raises:
      ValueError: fewer than two different FLOPs, lengths that differ, or a number that is not positive.
    """
    log_flops, log_values = _logarithms(flops, values)
    weights = np.ones_like(log_flops)
    if std is not None:
        std = np.asarray(std, dtype=np.float64)
        if std.shape != log_flops.shape or not (np.isfinite(std) & (std > 0)).all():
            raise ValueError(f"std must be {len(log_flops)} positive numbers, one for each point")
        weights = std**-2.0
    at = _line(log_flops, log_values[None], weights)[0]
    if drawn is None and (std is None or not draws):
        return PowerLaw(*map(float, at))
    if drawn is None:
        noise = np.random.default_rng([seed, 3]).standard_normal((draws, len(std)))
        drawn = np.exp(log_values + std * noise)
    log_drawn = np.log(drawn)
    samples = _line(log_flops, log_drawn, weights)
    spread = np.maximum(log_drawn.std(axis=0), 1e-12)
    samples = at + (samples - at) * _scale_factor(log_values - (at[0] * log_flops + at[1]), spread, weights)
    return PowerLaw(float(at[0]), float(at[1]), samples)


def _logarithms(flops, values) -> tuple[np.ndarray, np.ndarray]:
    flops, values = (np.asarray(v, dtype=np.float64) for v in (flops, values))
    if flops.shape != values.shape or flops.ndim != 1:
        raise ValueError(f"a power law needs as many values as FLOPs, not {values.shape} and {flops.shape}")
    if not ((flops > 0) & (values > 0) & np.isfinite(flops) & np.isfinite(values)).all():
        raise ValueError("a power law needs positive FLOPs and values: drop the others first")
    if len(np.unique(flops)) < 2:
        raise ValueError("a power law needs points at two or more different FLOPs")
    return np.log(flops), np.log(values)


def _line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted least squares of each row of y, [rows, points] -> (slope, intercept) [rows, 2]."""
    share = weights / weights.sum()
    centre = share @ x
    slope = (y * share) @ (x - centre) / (share @ (x - centre) ** 2)
    return np.stack([slope, y @ share - slope * centre], axis=-1)


def _scale_factor(residuals: np.ndarray, spread: np.ndarray, weights: np.ndarray) -> float:
    """By how much more the points scatter than their spread says, at least 1.

    Generalised to weights other than 1/spread^2: the weighted sum of squares over its expectation.
    """
    freedom = len(residuals) - 2
    if freedom < 1:
        return 1.0
    expected = (weights @ spread**2) * freedom / len(residuals)
    return float(np.sqrt(max(1.0, weights @ residuals**2 / expected)))


def _tails(level: float) -> list[float]:
    return [50.0 * (1.0 - level), 50.0 * (1.0 + level)]

"""Points of the plane from distributions that are known: the toys that generative models are tried on first."""

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from genlab.configuration import ConfigError
from genlab.data.sources import InMemory, Splits


class PointSource(Protocol):
    """A frozen config of a distribution on the plane; it may say how good points are as samples of it.

    That is `measures(points) -> {name: bool [N]}`.
    """

    def sample(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Independent points, float64 [count, 2]."""
        ...


@dataclass(frozen=True)
class TwoMoons:
    """Two interleaved half circles of radius 1 with normal noise (scikit-learn's make_moons), centred on the origin."""

    noise: float = 0.05

    def sample(self, random: np.random.Generator, count: int) -> np.ndarray:
        """See `PointSource`."""
        angle, lower = random.uniform(0, np.pi, count), random.random(count) < 0.5
        upper_moon = np.stack([np.cos(angle) - 0.5, np.sin(angle) - 0.25], axis=-1)
        points = np.where(lower[:, None], -upper_moon, upper_moon)
        return points + random.normal(0, self.noise, points.shape)


@dataclass(frozen=True)
class EightGaussians:
    """Eight normal distributions of equal weight, evenly spaced on a circle around the origin."""

    radius: float = 2.0
    std: float = 0.1

    @property
    def means(self) -> np.ndarray:
        """Of the modes, [8, 2]."""
        angles = np.arange(8) * np.pi / 4
        return self.radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)

    def sample(self, random: np.random.Generator, count: int) -> np.ndarray:
        """See `PointSource`."""
        return self.means[random.integers(8, size=count)] + random.normal(0, self.std, (count, 2))

    def modes(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(index of the nearest mode, distance to its mean in standard deviations), [N] each."""
        distances = np.linalg.norm(points[:, None] - self.means, axis=-1)
        return distances.argmin(axis=-1), distances.min(axis=-1) / self.std

    def measures(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """Whether points lie within 4 standard deviations of a mode, of any and of each."""
        mode, distance = self.modes(points)
        within = distance < 4
        return {"within_4_sigma": within} | {f"in_mode_{k}": within & (mode == k) for k in range(8)}


@dataclass(frozen=True)
class Checkerboard:
    """Uniform on the black half of a board of 4 x 4 squares from -2 to 2 (Grathwohl et al. 2018, arXiv 1810.01367)."""

    def sample(self, random: np.random.Generator, count: int) -> np.ndarray:
        """See `PointSource`."""
        column, row = random.integers(4, size=count), random.integers(2, size=count)
        corner = np.stack([column, 2 * row + column % 2], axis=-1) - 2.0
        return corner + random.random((count, 2))

    def on_support(self, points: np.ndarray) -> np.ndarray:
        """Whether each point [N, 2] lies on a black square: bool [N]."""
        squares = np.floor(points).astype(int)
        return (squares.sum(axis=-1) % 2 == 0) & (np.abs(points) <= 2).all(axis=-1)

    def measures(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """Whether points lie on the support."""
        return {"on_support": self.on_support(points)}


@dataclass(frozen=True)
class Points:
    """Points {"point": float32 [2]} drawn once, by seed, so that a run has a held-out split like any other.

    Attributes:
      source: their distribution.
      examples, held_out_examples: how many.
      seed: of the draws; held-out points are of another stream.
    """

    source: PointSource = TwoMoons()
    examples: int = 100_000
    held_out_examples: int = 10_000
    seed: int = 0

    def __post_init__(self):
        for name in ("examples", "held_out_examples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} must be at least 1")

    @property
    def tokens_per_example(self) -> None:
        """None: points are counted as examples."""
        return

    @property
    def num_classes(self) -> int:
        """0: points have no labels."""
        return 0

    @property
    def dimensions(self) -> int:
        """Of a point."""
        return 2

    def load(self) -> Splits:
        """The splits."""
        counts = {"train": self.examples, "held_out": self.held_out_examples}
        splits = {}
        for stream, (split, count) in enumerate(counts.items()):
            random = np.random.default_rng([self.seed, stream])
            splits[split] = InMemory(point=self.source.sample(random, count).astype(np.float32))
        digest = hashlib.sha256(b"".join(split.arrays["point"].tobytes() for split in splits.values()))
        description: dict[str, Any] = {"data_hash": digest.hexdigest(), "source": type(self.source).__name__}
        return Splits(**splits, description=description | {f"{name}_examples": n for name, n in counts.items()})

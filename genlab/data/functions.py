"""Prompts of a random function's points, to learn it from in context: x_1, f(x_1), x_2, f(x_2), ...

Garg et al. 2022 (arXiv 2208.01066), section 2: every prompt has a function of its own. How well the next value can be
told from k points is known here in closed form, so that a model's error has something to be held to.
"""

import functools
import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from scipy.special import ndtri

from genlab.configuration import ConfigError, to_json
from genlab.data.draws import row_keys, stream_keys, uniforms
from genlab.data.sources import Example, Splits


class FunctionSource(Protocol):
    """A frozen config of a distribution over functions of points of so many `dimensions`.

    `name` is the task's in records, `target` what a function says: a "value" or a "class" (-1 or +1). `chance` has by
    metric what one knows of a target who has seen no point (objectives/in_context.py).
    """

    name: ClassVar[str]
    target: ClassVar[Literal["value", "class"]]
    dimensions: int

    def draw(self, keys_N: np.ndarray, points: int, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
        """Prompts of keys (genlab/data/draws.py): points [N, K, D] and targets [N, K]."""
        ...

    def predictions(self, x_NKD: np.ndarray, y_NK: np.ndarray) -> dict[str, np.ndarray]:
        """By name, what to say of x_k from the k points before it, [N, K], the first name the best there is."""
        ...

    def chance(self) -> dict[str, float]:
        """See the class."""
        ...


@dataclass(frozen=True)
class LinearFunctions:
    """y = w . x + noise with w and x from N(0, I).

    Garg et al. 2022, section 3; with noise, Raventos et al. 2023 (arXiv 2306.15063), section 2. Given k points, the
    best prediction is by the posterior mean of w, ridge regression with ridge noise^2: nothing has a lower expected
    squared error, which is at least noise^2.

    Attributes:
      dimensions: of x.
      noise: its standard deviation.
      tasks: how many w there are to train on, each of many prompts; 0 for a new one every time. Held-out prompts always
        have new ones (Raventos et al. 2023, section 2: the number of tasks decides if a model learns to regress).
    """

    name: ClassVar[str] = "linear_regression"
    target: ClassVar[Literal["value", "class"]] = "value"

    dimensions: int = 8
    noise: float = 0.5
    tasks: int = 0

    def __post_init__(self):
        if self.dimensions < 1:
            raise ConfigError(f"dimensions {self.dimensions} must be at least 1")
        for name in ("noise", "tasks"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} {getattr(self, name)} must not be negative")

    def draw(self, keys_N: np.ndarray, points: int, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
        """See `FunctionSource`."""
        D, N = self.dimensions, len(keys_N)
        x_NKD = normals(stream_keys(keys_N, "points"), points * D).reshape(N, points, D)
        if self.tasks and not held_out:
            (share_N,) = uniforms(stream_keys(keys_N, "task"), 1)
            w_ND = _pool(self.tasks, D)[(share_N * self.tasks).astype(int)]
        else:
            w_ND = normals(stream_keys(keys_N, "function"), D)
        y_NK = np.einsum("nkd,nd->nk", x_NKD, w_ND)
        return x_NKD, y_NK + self.noise * normals(stream_keys(keys_N, "noise"), points)

    def predictions(self, x_NKD: np.ndarray, y_NK: np.ndarray) -> dict[str, np.ndarray]:
        """Ridge regression, least squares of least norm, and of a pool of tasks the posterior mean over it."""
        found = {"ridge": ridge_predictions(x_NKD, y_NK, self.noise**2),
                 "least_squares": ridge_predictions(x_NKD, y_NK, 0.0)}
        if self.tasks and self.noise:
            found["pool"] = pool_predictions(x_NKD, y_NK, _pool(self.tasks, self.dimensions), self.noise)
        return found

    def chance(self) -> dict[str, float]:
        """The expected squared error of who says 0."""
        return {"squared_error": self.dimensions + self.noise**2}


@dataclass(frozen=True)
class GaussianClasses:
    """Two classes around m and -m, m from N(0, separation^2 I), as likely one as the other, points with covariance I.

    Given k points, m is normal with mean s^2 / (1 + k s^2) sum y_i x_i and variance v = s^2 / (1 + k s^2), so that
    the log-odds of a point are 2 mean . x / (1 + v): the Bayes classifier, whose accuracy none exceeds.

    Attributes:
      dimensions: of x.
      separation: s.
    """

    name: ClassVar[str] = "gaussian_classes"
    target: ClassVar[Literal["value", "class"]] = "class"

    dimensions: int = 8
    separation: float = 0.5

    def __post_init__(self):
        if self.dimensions < 1:
            raise ConfigError(f"dimensions {self.dimensions} must be at least 1")
        if not self.separation > 0:
            raise ConfigError(f"separation {self.separation} must be above 0")

    def draw(self, keys_N: np.ndarray, points: int, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
        """See `FunctionSource`."""
        D, N = self.dimensions, len(keys_N)
        mean_ND = self.separation * normals(stream_keys(keys_N, "function"), D)
        y_NK = np.where(uniforms(stream_keys(keys_N, "classes"), points).T < 0.5, -1.0, 1.0)
        noise_NKD = normals(stream_keys(keys_N, "points"), points * D).reshape(N, points, D)
        return y_NK[..., None] * mean_ND[:, None] + noise_NKD, y_NK

    def predictions(self, x_NKD: np.ndarray, y_NK: np.ndarray) -> dict[str, np.ndarray]:
        """The log-odds of class +1 by the Bayes classifier."""
        sums_NKD = _before(np.cumsum(y_NK[..., None] * x_NKD, axis=1))
        variance_K = 1 / (1 / self.separation**2 + np.arange(x_NKD.shape[1]))
        means_NKD = variance_K[:, None] * sums_NKD
        return {"bayes": 2 * (means_NKD * x_NKD).sum(axis=-1) / (1 + variance_K)}

    def chance(self) -> dict[str, float]:
        """Of who tosses a coin."""
        return {"multiple_choice_grade": 0.5, "log_probability": -float(np.log(2)), "brier_score": 0.5}


@dataclass(frozen=True)
class Functions:
    """Prompts {"x": float32 [K, D], "y": float32 [K]}, each a pure function of (seed, split, index).

    Attributes:
      functions: their distribution.
      points: K, of each function; the k-th is to be told from the k before it, k = 0 to K - 1.
      examples, held_out_examples: how many prompts; so many training prompts that no run sees one twice.
      seed: of the draws; held-out prompts are of another stream.
    """

    functions: FunctionSource = LinearFunctions()
    points: int = 16
    examples: int = 1_000_000_000
    held_out_examples: int = 4_096
    seed: int = 0

    def __post_init__(self):
        for name in ("points", "examples", "held_out_examples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} must be at least 1")

    @property
    def tokens_per_example(self) -> None:
        """None: prompts are counted as examples."""
        return

    @property
    def num_classes(self) -> int:
        """0: a prompt has no label of its own."""
        return 0

    @property
    def dimensions(self) -> int:
        """Of a point."""
        return self.functions.dimensions

    def load(self) -> Splits:
        """The splits."""
        counts = {"train": self.examples, "held_out": self.held_out_examples}
        splits = {name: _Prompts(self, name, count) for name, count in counts.items()}
        digest = hashlib.sha256(repr(to_json(self)).encode())
        for split in splits.values():
            digest.update(b"".join(array.tobytes() for array in split.gather(np.arange(1)).values()))
        description: dict[str, Any] = {"data_hash": digest.hexdigest(), "source": type(self.functions).__name__}
        return Splits(**splits, description=description | {f"{name}_examples": n for name, n in counts.items()})


class _Prompts:
    """One split of `Functions`: a source whose examples are made when they are asked for."""

    def __init__(self, data: Functions, split: str, count: int):
        self._data, self._split, self._count = data, split, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self._count:
            raise IndexError(f"there is no example {index} among {self._count}")
        return {name: array[0] for name, array in self.gather(np.array([index])).items()}

    def gather(self, indices: np.ndarray) -> Example:
        """Prompts at `indices` [n]."""
        keys = stream_keys(row_keys(self._data.seed, indices), self._split)
        x_NKD, y_NK = self._data.functions.draw(keys, self._data.points, held_out=self._split == "held_out")
        return {"x": x_NKD.astype(np.float32), "y": y_NK.astype(np.float32)}


def normals(keys_N: np.ndarray, count: int) -> np.ndarray:
    """Standard normal numbers by the inverse of their distribution, float64 [N, count]."""
    return ndtri(uniforms(keys_N, count).T + 2.0**-54)  # Half a step up: never the 0 whose normal is -infinity.


def ridge_predictions(x_NKD: np.ndarray, y_NK: np.ndarray, ridge: float) -> np.ndarray:
    """w_k . x_k with w_k = (X^T X + ridge I)^-1 X^T y of the k points before x_k, float64 [N, K].

    With ridge 0 the solution of least norm: of fewer points than dimensions, the one that passes through them all.
    """
    x_NKD, y_NK = x_NKD.astype(np.float64), y_NK.astype(np.float64)
    gram_NKDD = _before(np.cumsum(x_NKD[..., :, None] * x_NKD[..., None, :], axis=1))
    moment_NKD = _before(np.cumsum(y_NK[..., None] * x_NKD, axis=1))
    if ridge:
        w_NKD = np.linalg.solve(gram_NKDD + ridge * np.eye(x_NKD.shape[-1]), moment_NKD[..., None])[..., 0]
    else:
        w_NKD = np.einsum("nkde,nke->nkd", np.linalg.pinv(gram_NKDD, rcond=1e-10, hermitian=True), moment_NKD)
    return (w_NKD * x_NKD).sum(axis=-1)


def pool_predictions(x_NKD: np.ndarray, y_NK: np.ndarray, pool_MD: np.ndarray, noise: float) -> np.ndarray:
    """The mean prediction over a pool of w, by its posterior given the k points before x_k, float64 [N, K].

    Raventos et al. 2023, section 2 (dMMSE): weights exp(-|y - X w|^2 / (2 noise^2)), y and X those of the k points.
    """
    told_NKM = x_NKD @ pool_MD.T
    scores_NKM = _before(np.cumsum(-np.square(y_NK[..., None] - told_NKM) / (2 * noise**2), axis=1))
    weights_NKM = np.exp(scores_NKM - scores_NKM.max(axis=-1, keepdims=True))
    return (weights_NKM * told_NKM).sum(axis=-1) / weights_NKM.sum(axis=-1)


def _before(sums_NK: np.ndarray) -> np.ndarray:
    """Sums over points up to the k-th [N, K, ...] as sums over those before it."""
    return np.concatenate([np.zeros_like(sums_NK[:, :1]), sums_NK[:, :-1]], axis=1)


@functools.lru_cache(maxsize=4)
def _pool(tasks: int, dimensions: int) -> np.ndarray:
    """The w of so many tasks, [M, D]; larger pools begin with smaller ones."""
    return normals(stream_keys(row_keys(0, np.arange(tasks)), "pool"), dimensions)

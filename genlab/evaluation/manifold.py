"""What lies near what: precision, recall, density and coverage, and the nearest training examples.

All compare every sample with every reference, on the default device, in blocks of rows: besides the two feature sets
(50,000 x 2,048 in float32 are 410 MB) this takes 3 blocks of 134 MB, and while their mean is taken off three times the
larger set.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError
from genlab.evaluation.score import Score, checked_pair, proportion

_BLOCK_NUMBERS = 2**25  # squared distances in a block
# |x|^2 + |y|^2 - 2 x.y in float32 errs by about 1e-7 of |x|^2 + |y|^2 at D = 64, 1e-6 at 2,048: less than this is 0.
_ROUNDING = 4e-6
_CANDIDATES = 4  # by float32, of which float64 finds the nearest


class PrecisionRecall(NamedTuple):
    """How two sets cover each other, by balls around examples that reach to their k-th nearest neighbour.

    Precision and density speak of the samples' quality, recall and coverage of their diversity. The standard errors are
    those of a draw of the examples that are counted; the balls are taken as given.
    """

    precision: Score
    recall: Score
    density: Score
    coverage: Score


class Neighbours(NamedTuple):
    """The nearest reference of each sample: its index, int [N], and distance, float64 [N], in units of the features."""

    index: np.ndarray
    distance: np.ndarray


class Memorisation(NamedTuple):
    """Whether samples lie nearer to training examples than unseen data does.

    Attributes:
      ratio: mean distance of samples to their nearest training example over that of held-out data; far below 1 is
        memorisation. The standard error is that of a ratio of means, for the draw of samples and held-out data.
      near_copies: the share of samples that are nearer than all but the nearest 1 % of held-out data; .01 is what
        independent data reads. It sees a few copies that the mean hides.
    """

    ratio: Score
    near_copies: Score


def precision_recall(samples_ND: np.ndarray, references_MD: np.ndarray, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall, density and coverage.

    Precision is the share of samples inside a reference's ball, recall that of references inside a sample's ball
    (Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2, where k = 3). Density counts the references' balls around
    a sample, over k; coverage is the share of references with a sample in their ball (Naeem et al. 2020,
    arXiv 2002.09797). All depend on N and M: compare at equal numbers.

    Raises:
      ConfigError: different widths, k below 1, or k not below the number of either.
    """
    if k < 1:
        raise ConfigError(f"k={k} must be at least 1")
    samples_ND, references_MD = checked_pair(samples_ND, references_MD)
    for name, features in (("samples", samples_ND), ("references", references_MD)):
        if k >= len(features):
            raise ConfigError(f"k={k} must be below the number of {name}, {len(features)}")
    x_ND, y_MD = _centred(samples_ND, references_MD)
    x_radius_N, y_radius_M = _radii(x_ND, k), _radii(y_MD, k)
    y_MD = jnp.asarray(y_MD)  # moved once, not with every block
    balls_N, reached_M, covered_M = [], np.zeros(len(y_MD), bool), np.zeros(len(y_MD), bool)
    for start, stop, block in _row_blocks(x_ND, len(y_MD)):
        radius = np.pad(x_radius_N[start:stop], (0, len(block) - (stop - start)), constant_values=-1.0)
        valid = np.arange(len(block)) < stop - start
        balls, reached, covered = _counts(block, y_MD, radius, y_radius_M, valid)
        balls_N.append(np.asarray(balls)[:stop - start])
        reached_M |= np.asarray(reached)
        covered_M |= np.asarray(covered)
    balls_N = np.concatenate(balls_N)
    density = Score(float(balls_N.mean() / k), float(balls_N.std(ddof=1) / k / np.sqrt(len(balls_N))))
    return PrecisionRecall(proportion(balls_N > 0), proportion(reached_M), density, proportion(covered_M))


def nearest(samples_ND: np.ndarray, references_MD: np.ndarray) -> Neighbours:
    """The nearest reference of each sample in Euclidean distance.

    Float32 finds 4 candidates, float64 the nearest of these and its distance: a copy is at distance 0 exactly.

    Raises:
      ConfigError: different widths, or no samples or references.
    """
    samples_ND, references_MD = checked_pair(samples_ND, references_MD, at_least=1)
    x_ND, y_MD = _centred(samples_ND, references_MD)
    y_MD = jnp.asarray(y_MD)  # moved once, not with every block
    index, distance = [], []
    for start, stop, block in _row_blocks(x_ND, len(y_MD)):
        candidates_NK = np.asarray(_closest(block, y_MD, min(_CANDIDATES, len(y_MD)))[1])[:stop - start]
        # One candidate at a time: all at once would take 4 times the memory.
        squares_KN = [_squares(samples_ND[start:stop], references_MD[each]) for each in candidates_NK.T]
        squares_NK = np.stack(squares_KN, axis=1)
        best_N = squares_NK.argmin(axis=1)
        index.append(np.take_along_axis(candidates_NK, best_N[:, None], axis=1)[:, 0])
        distance.append(np.sqrt(squares_NK.min(axis=1)))
    return Neighbours(np.concatenate(index), np.concatenate(distance))


def memorisation(samples_ND: np.ndarray, train_MD: np.ndarray, held_out_HD: np.ndarray) -> Memorisation:
    """Compares samples' distances to their nearest training example with those of held-out data.

    Raises:
      ConfigError: different widths, fewer than 2 of either, or held-out data that all is in the training set.
    """
    checked_pair(samples_ND, train_MD, names=("samples", "training examples"))
    checked_pair(held_out_HD, train_MD, names=("held-out examples", "training examples"))
    return compare_distances(nearest(samples_ND, train_MD).distance, nearest(held_out_HD, train_MD).distance)


def compare_distances(samples_N: np.ndarray, held_out_H: np.ndarray) -> Memorisation:
    """`memorisation`, of distances to the nearest training example."""
    (mean, mean_error), (held_out, held_out_error) = (
        (each.mean(), each.std(ddof=1) / np.sqrt(len(each))) for each in (samples_N, held_out_H))
    if held_out == 0:
        raise ConfigError("every held-out example is in the training set; held-out data must be unseen")
    ratio = mean / held_out
    error = float(np.hypot(mean_error, ratio * held_out_error) / held_out)
    near = proportion(samples_N < np.quantile(held_out_H, 0.01))
    threshold_error = np.sqrt(0.01 * 0.99 / len(held_out_H))  # of the quantile, in units of probability
    return Memorisation(Score(float(ratio), error),
                        Score(near.value, float(np.hypot(near.standard_error, threshold_error))))


def _squares(x_ND: np.ndarray, y_ND: np.ndarray) -> np.ndarray:
    return np.square(x_ND.astype(np.float64) - y_ND).sum(axis=1)


def _centred(*sets: np.ndarray) -> tuple[np.ndarray, ...]:
    """Float32, moved by one mean, which distances do not see and rounding does."""
    mean_D = sets[-1].mean(axis=0, dtype=np.float64)
    return tuple((each - mean_D).astype(np.float32) for each in sets)


def _row_blocks(x_ND: np.ndarray, columns: int):
    """Yields (start, stop, rows), rows padded with zeros so that one compilation serves all."""
    size = min(len(x_ND), max(1, _BLOCK_NUMBERS // columns))
    for start in range(0, len(x_ND), size):
        block = x_ND[start:start + size]
        yield start, start + len(block), np.pad(block, ((0, size - len(block)), (0, 0)))


def _radii(x_ND: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each example to its k-th nearest other one, float32 [N]."""
    all_ND = jnp.asarray(x_ND)
    radii = [np.asarray(_closest(block, all_ND, k + 1)[0])[:stop - start, k]  # the nearest is itself
             for start, stop, block in _row_blocks(x_ND, len(x_ND))]
    return np.concatenate(radii)


def _squared_distances(x_ND: jax.Array, y_MD: jax.Array) -> jax.Array:
    sizes_NM = jnp.square(x_ND).sum(axis=1)[:, None] + jnp.square(y_MD).sum(axis=1)
    squares_NM = sizes_NM - 2 * jnp.matmul(x_ND, y_MD.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(squares_NM < _ROUNDING * sizes_NM, 0.0, squares_NM)


@functools.partial(jax.jit, static_argnames="count")
def _closest(x_ND, y_MD, count: int):
    """(squared distances, indices) of the nearest `count`, [N, count], the nearest first."""
    negative, index = jax.lax.top_k(-_squared_distances(x_ND, y_MD), count)
    return -negative, index


@jax.jit
def _counts(x_ND, y_MD, x_radius_N, y_radius_M, valid_N):
    """(balls of references around each sample, references in a sample's ball, references' balls with a sample)."""
    squares_NM = _squared_distances(x_ND, y_MD)
    inside_NM = (squares_NM <= y_radius_M) & valid_N[:, None]
    reached_M = ((squares_NM <= x_radius_N[:, None]) & valid_N[:, None]).any(axis=0)
    return inside_NM.sum(axis=1), reached_M, inside_NM.any(axis=0)

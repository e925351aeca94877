"""Distances between two sets of features that assume no Gaussian: kernel distance and sliced Wasserstein."""

import numpy as np

from genlab.configuration import ConfigError
from genlab.evaluation.score import Score, checked_pair

_SLICE_NUMBERS = 2**24  # of projections of both sets in a block: 128 MB in float64


def kernel_distance(samples_ND: np.ndarray, references_MD: np.ndarray, block_size: int = 1_000, seed: int = 0) -> Score:
    """The unbiased squared maximum mean discrepancy with kernel (x.y / D + 1)^3: KID, if D are Inception's features.

    Binkowski et al. 2018, arXiv 1801.01401, which takes subsets of 1,000 that overlap. Here the sets are
    shuffled and cut into disjoint blocks of `block_size`, or less so that there are 10 blocks at least, whose estimates
    are independent: their mean is unbiased (0 on average for equal distributions, hence sometimes negative) and their
    spread gives the standard error, for the draws of both sets.

    Raises:
      ConfigError: fewer than 20 of either, different widths, or a block size below 2.
    """
    samples_ND, references_MD = checked_pair(samples_ND, references_MD, at_least=20)
    if block_size < 2:
        raise ConfigError(f"block_size={block_size} must be at least 2")
    smaller = min(len(samples_ND), len(references_MD))
    size = min(block_size, smaller // 10)
    random = np.random.default_rng(seed)
    x_order, y_order = random.permutation(len(samples_ND)), random.permutation(len(references_MD))
    estimates = [_unbiased_mmd(samples_ND[x_order[i:i + size]], references_MD[y_order[i:i + size]])
                 for i in range(0, smaller - size + 1, size)]
    return Score(float(np.mean(estimates)), float(np.std(estimates, ddof=1) / np.sqrt(len(estimates))))


def _unbiased_mmd(x_ND: np.ndarray, y_ND: np.ndarray) -> float:
    N, D = x_ND.shape
    x_ND, y_ND = x_ND.astype(np.float64), y_ND.astype(np.float64)

    def pairs(a_ND, b_ND):
        return (a_ND @ b_ND.T / D + 1) ** 3

    within = sum(kernel.sum() - np.trace(kernel) for kernel in (pairs(x_ND, x_ND), pairs(y_ND, y_ND)))
    return within / (N * (N - 1)) - 2 * pairs(x_ND, y_ND).mean()


def sliced_wasserstein(samples_ND: np.ndarray, references_MD: np.ndarray, power: int = 2, projections: int = 256,
                       seed: int = 0) -> Score:
    """(mean over directions of W_p^p of the projections)^(1/p), in units of the features; p is `power`, 1 or 2.

    Bonneel et al. 2015 ("Sliced and Radon Wasserstein barycenters of measures"), directions uniform on the
    sphere. In one dimension W_p^p is the integral of |F^-1(u) - G^-1(u)|^p over (0, 1), taken exactly for any N and M.

    The standard error is that of the delta method, for the draws of samples, references and directions: the
    influence of an example is its Kantorovich potential (del Barrio and Loubes 2019, arXiv 1705.01299). It is too large
    where the two distributions are one. Finite sets bias the distance upwards (two draws of 1,000 points of two moons
    are .035 apart with p = 1, .047 with p = 2): compare with what real data reads at the same N and M.

    Raises:
      ConfigError: fewer than 2 of either, different widths, another power, or fewer than 2 projections.
    """
    samples_ND, references_MD = checked_pair(samples_ND, references_MD)
    if power not in (1, 2):
        raise ConfigError(f"power={power} must be 1 or 2")
    if projections < 2:
        raise ConfigError(f"projections={projections} must be at least 2")
    (N, D), M = samples_ND.shape, len(references_MD)
    directions_PD = np.random.default_rng(seed).normal(size=(projections, D))
    directions_PD /= np.linalg.norm(directions_PD, axis=1, keepdims=True)
    plan = _monotone_plan(N, M)
    costs, x_influence_N, y_influence_M = [], np.zeros(N), np.zeros(M)
    block = max(1, _SLICE_NUMBERS // (N + M))
    for start in range(0, projections, block):
        slices = directions_PD[start:start + block].T
        for x_N, y_M in zip((samples_ND @ slices).T, (references_MD @ slices).T, strict=True):
            cost, x_potential_N, y_potential_M = _transport(x_N, y_M, plan, power)
            costs.append(cost)
            x_influence_N += x_potential_N
            y_influence_M += y_potential_M
    mean = float(np.mean(costs))
    variance = np.var(costs, ddof=1) / projections
    variance += sum(np.var(each / projections) / len(each) for each in (x_influence_N, y_influence_M))
    value = mean ** (1 / power)
    return Score(value, float(np.sqrt(variance) * value / (power * mean)) if mean else 0.0)


def _monotone_plan(N: int, M: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(weights, index into N, index into M), [K] each, K <= N + M - 1: the pairs of quantiles of two sorted sets.

    In units of 1 / (N M) the breakpoints are integers, so that none is lost or doubled by rounding.
    """
    edges_K = np.union1d(np.arange(1, N + 1) * M, np.arange(1, M + 1) * N)
    starts_K = np.concatenate([[0], edges_K[:-1]])
    return (edges_K - starts_K) / (N * M), starts_K // M, starts_K // N


def _transport(x_N, y_M, plan, power: int) -> tuple[float, np.ndarray, np.ndarray]:
    """W_p^p of two sets of numbers and each number's potential, in the order given."""
    weight_K, i_K, j_K = plan
    x_order, y_order = np.argsort(x_N), np.argsort(y_M)
    x_sorted_N, y_sorted_M = x_N[x_order], y_M[y_order]
    gap_K = x_sorted_N[i_K] - y_sorted_M[j_K]
    slope_K = weight_K * (np.sign(gap_K) if power == 1 else 2 * gap_K)
    cost = float(weight_K @ np.abs(gap_K) ** power)
    return (cost, _potential(x_sorted_N, x_order, np.bincount(i_K, slope_K)),
            _potential(y_sorted_M, y_order, np.bincount(j_K, -slope_K)))


def _potential(sorted_N, order, slope_N) -> np.ndarray:
    """Integrates the mean slope of the cost at each sorted number; `slope_N` carries the weight 1 / N of each."""
    slope_N = slope_N * len(slope_N)
    steps = np.diff(sorted_N) * (slope_N[1:] + slope_N[:-1]) / 2
    potential_N = np.empty(len(sorted_N))
    potential_N[order] = np.concatenate([[0.0], np.cumsum(steps)])
    return potential_N - potential_N.mean()

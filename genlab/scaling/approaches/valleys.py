"""Minima of loss against size at one compute, for many drawn losses at once: parabola and Akima spline.

Sizes and losses are logarithms throughout, as in Hoffmann et al. 2022 (section 3.2) and Porian et al. 2024
(arXiv 2406.19146; their code interpolates log loss over log N by Akima's spline).
"""

from collections.abc import Sequence

import numpy as np

_ENOUGH_REPEATS = 5  # deviations of repeated runs from their mean that make an estimate of noise
_ENOUGH_DIFFERENCES = 4
_SAME_SIZE = 0.1  # of the mean distance of sizes: closer ones are one, or a spline would run off along their noise


def parabola_minima(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minima of least-squares parabolas.

    Args:
      x: log sizes, [points].
      y: log losses, [points, draws].

    Returns:
      (log size of each minimum [draws], NaN where the parabola opens downwards or its minimum lies
      outside the sizes; coefficients [3, draws], highest power first).
    """
    centre = x.mean()
    a, b, c = np.polyfit(x - centre, y, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        best = centre - b / (2 * a)
    best = np.where((a > 0) & (best > x.min()) & (best < x.max()), best, np.nan)
    return best, np.stack([a, b - 2 * a * centre, c - b * centre + a * centre**2])


def akima_spline(x: np.ndarray, y: np.ndarray):
    """Akima's spline through points, `scipy.interpolate.Akima1DInterpolator` (Akima 1970, J. ACM 17).

    Args:
      x: ascending and all different, [points].
      y: [points, ...].
    """
    from scipy.interpolate import Akima1DInterpolator  # 0.3 s: only where it is asked for

    return Akima1DInterpolator(x, y)


def akima_minima(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest points of Akima's splines through the points, exact: roots of each cubic's derivative.

    Args:
      x: log sizes, ascending and all different, [points].
      y: log losses, [points, draws].

    Returns:
      (log size of each minimum [draws], NaN where it is the smallest or largest size; log loss there).
    """
    cubic, square, linear, constant = akima_spline(x, y).c  # [intervals, draws] each, in x - left end
    widths = np.diff(x)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        half = -square - np.where(square >= 0, 1.0, -1.0) * np.sqrt(square**2 - 3 * cubic * linear)
        roots = np.stack([half / (3 * cubic), linear / half])
    at = np.where((roots > 0) & (roots < widths), roots, 0.0)  # else the interval's left end
    values = ((cubic * at + square) * at + linear) * at + constant
    draws = y.shape[1]
    places = np.concatenate([(x[:-1, None] + at).reshape(-1, draws), np.full((1, draws), x[-1])])
    values = np.concatenate([values.reshape(-1, draws), y[-1:]])
    lowest = values.argmin(axis=0)
    best, loss = (np.take_along_axis(v, lowest[None], axis=0)[0] for v in (places, values))
    return np.where((best > x[0]) & (best < x[-1]), best, np.nan), loss


def polynomial_minimum(x: np.ndarray, y: np.ndarray, degree: int) -> float:
    """The lowest local minimum of the least-squares polynomial, [points] each; NaN where it has none inside."""
    if len(np.unique(x)) <= degree:
        return np.nan
    centre, width = x.mean(), np.ptp(x) / 2
    coefficients = np.polyfit((x - centre) / width, y, degree)
    roots = np.roots(np.polyder(coefficients))
    at = roots.real[(np.abs(roots.imag) < 1e-9) & (np.abs(roots.real) < 1)]
    at = at[np.polyval(np.polyder(coefficients, 2), at) > 0]
    return float(centre + width * at[np.argmin(np.polyval(coefficients, at))]) if len(at) else np.nan


def same_sizes(x: np.ndarray) -> np.ndarray:
    """Which size each point has, [points], numbered from 0 in ascending order.

    Points closer to each other than a tenth of the mean distance of the log sizes [points] have one: repeats, or
    sizes that were read off a plot.
    """
    different, member = np.unique(x, return_inverse=True)
    gaps = np.diff(different)
    return np.concatenate([[0], np.cumsum(gaps > _SAME_SIZE * gaps.mean())])[member] if len(gaps) else member


def merge_repeats(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(different log sizes ascending, the mean log loss of each [sizes, ...], how many points each has)."""
    member = same_sizes(x)
    points = [np.flatnonzero(member == i) for i in range(member.max() + 1)]
    sizes = np.array([x[here[0]] + np.mean(x[here] - x[here[0]]) for here in points])
    return sizes, np.array([y[here].mean(axis=0) for here in points]), np.array([len(here) for here in points])


def estimate_noise(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Standard deviation of the noise in log losses, from the curves themselves.

    From repeated sizes where there are enough; else from what is left of the losses of four neighbouring
    sizes beside a parabola (their third difference, scaled to the noise's own deviation), the root mean
    square over all fours with the lowest size among them: wide curves are steep and crooked at their ends.

    Args:
      curves: (log sizes, log losses) of each budget.

    Returns:
      NaN where no four sizes share a budget.
    """
    squares, freedom, differences = 0.0, 0, []
    for x, y in curves:
        sizes, means, count = merge_repeats(x, y)
        squares += float(np.sum((y - means[same_sizes(x)]) ** 2))
        freedom += len(y) - len(sizes)
        lowest = int(means.argmin())
        for i in range(max(0, lowest - 3), min(lowest, len(sizes) - 4) + 1):
            here, weight = sizes[i : i + 4], count[i : i + 4] ** -0.5
            # The vector orthogonal to every parabola at these four sizes.
            free = np.linalg.svd(np.vander(here - here.mean(), 3).T)[2][-1]
            differences.append(free @ means[i : i + 4] / np.linalg.norm(free * weight))
    if freedom >= _ENOUGH_REPEATS:
        return float(np.sqrt(squares / freedom))
    if len(differences) < _ENOUGH_DIFFERENCES:
        return np.nan
    return float(np.sqrt(np.mean(np.square(differences))))

"""How sharp a rise is: the largest share of it within one doubling of compute.

A smooth ability spreads its rise over many doublings. One that comes suddenly makes half of it, or more, within one; a
jump that falls on a scale of the table is seen as two halves, so the line is drawn a little below, at .45. A logistic
curve whose middle 80 % take d doublings makes tanh(ln 9 / 2 d) of its rise in one: .8 at d = 1, .45 at 2.3, .27 at 4.
Where a table's scales are further apart than a factor of two, one step between scales takes the doubling's place, and
what is found is no finer than that. Values are first made monotone (isotonic regression), those below chance count as
at it. Where runs have a history, each run is a curve and the median over runs counts: the mean over runs that jump at
different times is smooth. Where a run is a point, the curve goes through the means of the scales, a doubling at a time
in a table of many models with one run each.
"""

import dataclasses

import numpy as np

from genlab.scaling.emergence.scales import Scales

SHARP_SHARE = 0.45  # of the rise, within one doubling
_DOUBLING = np.log(2.0)
_MANY = 24  # scales of single runs: more are binned by doubling
_LEVEL = 0.9


@dataclasses.dataclass(frozen=True)
class Sharpness:
    """How sharp a rise is.

    Attributes:
      index: the largest share of the rise within `factor` of compute, 0 to 1.
      interval: 90 % bootstrap interval, over runs and within the errors of single ones.
      agreement: the share of the resamples in which it is on the same side of the line between sharp and smooth.
      factor: the window; 2, or the typical ratio between neighbouring scales if that is more.
      start, end: where the steepest window lies, FLOPs.
      rise: from the lowest to the highest of the curve, as a share of the way from chance to always right.
      top: the highest of the curve.
      levelled: whether the curve's upper half shows: more than half of the way is made, or the last window adds little.
      hidden: whether a step wider than the window holds half of the rise: scales in between could show it sharp.
      curves: how many were judged.
    """

    index: float
    interval: tuple[float, float]
    agreement: float
    factor: float
    start: float
    end: float
    rise: float
    top: float
    levelled: bool
    hidden: bool
    curves: int


def sharpness(
    scales: Scales, least_rise: float = 0.1, line: float = SHARP_SHARE, resamples: int = 200, seed: int = 0
) -> Sharpness | None:
    """How sharply a metric rises; None where it does not by `least_rise` of the way from chance to always right.

    Args:
      scales: of the metric.
      least_rise: see above.
      line: the share from which on it is sharp.
      resamples, seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    histories = [curve for curve in scales.histories if np.nanmax(curve.share) >= least_rise]
    if not histories:
        found = _of_points(scales, line, resamples, rng) if not scales.histories else None
        return found if found is not None and found.rise >= least_rise else None
    each = [found for curve in histories if (found := _of_points(curve, line, resamples, rng)).rise >= least_rise]
    if len(each) < 2:
        return each[0] if each else None
    indices = np.array([found.index for found in each])
    middle = each[int(np.argsort(indices)[len(indices) // 2])]
    drawn = np.median(indices[rng.integers(0, len(indices), (resamples, len(indices)))], axis=1)
    tops = [found.top for found in each]
    return dataclasses.replace(
        middle,
        index=float(np.median(indices)),
        interval=_interval(drawn),
        agreement=float(np.mean((drawn >= line) == (np.median(indices) >= line))),
        top=float(np.max(tops)),
        levelled=any(found.levelled for found in each),
        hidden=bool(np.median([found.hidden for found in each]) > 0.5),
        curves=len(each),
    )


def _of_points(scales: Scales, line: float, resamples: int, rng: np.random.Generator) -> Sharpness:
    x, y, weights, drawn = _curve(scales, resamples, rng)
    x, keep = x, np.isfinite(y)
    x, y, weights, drawn = x[keep], y[keep], weights[keep], drawn[:, keep]
    window = max(_DOUBLING, float(np.median(np.diff(x)))) if len(x) > 1 else _DOUBLING
    smooth = isotonic(np.maximum(y, 0.0), weights)
    starts, shares = window_shares(x, smooth, window)
    best = int(np.argmax(shares))
    many = window_shares(x, isotonic(np.maximum(drawn, 0.0), weights), window)[1].max(axis=-1)
    steps = np.diff(smooth)
    wide = np.diff(x) > 1.01 * window
    rise = float(smooth[-1] - smooth[0])
    last = window_shares(x, smooth, window, np.array([x[-1] - window]))[1][-1] if len(x) > 1 else 0.0
    return Sharpness(
        index=float(shares[best]),
        interval=_interval(many),
        agreement=float(np.mean((many >= line) == (shares[best] >= line))),
        factor=float(np.exp(window)),
        start=float(np.exp(starts[best])),
        end=float(np.exp(starts[best] + window)),
        rise=rise,
        top=float(smooth[-1]),
        levelled=bool(smooth[-1] > 0.5 or last < 0.2),
        hidden=bool(shares[best] < line and np.any(wide & (steps >= line * rise)) and rise > 0),
        curves=1,
    )


def _curve(scales: Scales, resamples: int, rng: np.random.Generator):
    """Log compute [B], mean shares [B], their weights [B], and means of resampled runs [resamples, B]."""
    logs = np.log(scales.flops)
    group = np.cumsum(np.concatenate([[False], np.diff(logs) > np.log(1.05)]))
    if group[-1] >= _MANY and scales.run.shape[1] == 1 and not scales.histories:
        group = np.unique(np.floor(logs / _DOUBLING), return_inverse=True)[1]
    bins = int(group[-1]) + 1
    scale, place = np.nonzero(np.isfinite(scales.share))
    share, error, member = scales.share[scale, place], scales.error[scale, place], group[scale]
    x = np.bincount(group, logs, bins) / np.bincount(group, minlength=bins)
    weights = np.bincount(member, minlength=bins).astype(float)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(member, share, bins) / weights
    drawn = np.empty((resamples, bins))
    single = weights[member] == 1
    spread = _spread(mean, weights, error[single])
    for b in range(bins):
        mine = np.flatnonzero(member == b)
        if len(mine) > 1:
            drawn[:, b] = share[mine][rng.integers(0, len(mine), (resamples, len(mine)))].mean(axis=1)
        elif len(mine):
            own = error[mine[0]] if np.isfinite(error[mine[0]]) else spread
            drawn[:, b] = mean[b] + own * rng.standard_normal(resamples)
    return x, mean, weights, drawn


def _spread(mean: np.ndarray, weights: np.ndarray, errors: np.ndarray) -> float:
    """The error of a single run that nobody knows: how far means lie from a monotone curve."""
    good = np.isfinite(mean)
    residual = mean[good] - isotonic(mean[good], weights[good])
    return float(np.sqrt(np.mean(residual**2))) if good.sum() > 3 else 0.0


def isotonic(y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The non-decreasing curve nearest to y in weighted squares, [..., B] -> [..., B].

    By the min-max formula (Robertson, Wright and Dykstra 1988, theorem 1.4.4), all curves at once.
    """
    total, sums = np.cumsum(weights), np.cumsum(weights * y, axis=-1)
    zero = np.zeros_like(sums[..., :1])
    sums = np.concatenate([zero, sums], axis=-1)
    total = np.concatenate([[0.0], total])
    width = np.maximum(total[None, 1:] - total[:-1, None], 1e-300)  # [first, last]
    means = (sums[..., None, 1:] - sums[..., :-1, None]) / width
    places = np.arange(len(weights))
    least = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]  # over last >= i, and first <= i:
    least = np.where(places[:, None] <= places[None, :], least, -np.inf)
    return least.max(axis=-2)


def window_shares(x: np.ndarray, y: np.ndarray, window: float, starts: np.ndarray | None = None):
    """Shares of the rise of curves y [..., B] over x [B] within windows: their starts [W], and the shares [..., W].

    The steepest window of a piecewise linear curve begins or ends at a point of it.
    """
    if starts is None:
        starts = np.concatenate([x, x - window])
    low, high = _interpolation(x, starts), _interpolation(x, starts + window)
    rise = y[..., -1:] - y[..., :1]
    return starts, (y @ (high - low).T) / np.where(rise > 0, rise, np.inf)


def _interpolation(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The matrix [W, B] that interpolates linearly between points x [B] at places [W], constant outside."""
    if len(x) == 1:
        return np.ones((len(at), 1))
    right = np.clip(np.searchsorted(x, at, side="right"), 1, len(x) - 1)
    part = np.clip((at - x[right - 1]) / (x[right] - x[right - 1]), 0.0, 1.0)
    matrix = np.zeros((len(at), len(x)))
    matrix[np.arange(len(at)), right - 1] = 1 - part
    matrix[np.arange(len(at)), right] += part
    return matrix


def _interval(drawn: np.ndarray) -> tuple[float, float]:
    tail = 50 * (1 - _LEVEL)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high)

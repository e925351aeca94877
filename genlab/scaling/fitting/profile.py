"""Profile-likelihood intervals: how far a parameter can be moved, all others refitted, before the fit suffers.

With S(t) the least objective at parameter = t, and S its minimum, the interval of level q is where

    2 (S(t) - S) / lambda  <=  F_q(1, n - p),     lambda = E psi^2 / E psi'

n rows, p free parameters, F the quantile of Fisher's distribution. For squared residuals lambda is the residual
variance and this is the profile-t interval (Bates and Watts 1988, Nonlinear Regression Analysis, section 6.1),
exact for a linear law with normal residuals. For other losses it is the robust likelihood-ratio test of
Schrader and Hettmansperger 1980 (Biometrika 67, 93-101). It takes rows to be independent and, up to their
weights, alike; the bootstrap does not.

The moments are estimated from the residuals: E psi^2 as sum w psi^2 / (n - p), and E psi' as the mean slope of psi
over a band of 1.06 s n^(-1/5) about each residual (s their standard deviation; the band of Silverman 1986,
equation 3.28) rather than at it: a Huber loss much narrower than the residuals has psi' = 1 on a handful of rows only.
The p residuals that a fit brings to about zero are taken out of that mean.
"""

from collections.abc import Sequence

import numpy as np

from genlab.scaling.fitting.derivatives import Table, row_terms
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.fitting.minimize import Minima, follow, free_parameters
from genlab.scaling.fitting.robust import Robust
from genlab.scaling.fitting.rows import rows_of, table_of
from genlab.scaling.law import Law
from genlab.scaling.runs import Runs

_TOLERANCE = 1e-5  # of the root of the test statistic: of half the interval's width
_MOST_STEPS = 60


def profile_interval(fit: Fit, runs: Runs, name: str, level: float = 0.95) -> tuple[float, float]:
    """The profile-likelihood interval of one parameter.

    Args:
      fit: of the law to `runs`.
      runs: the table that was fitted.
      name: the parameter.
      level: of the interval.

    Returns:
      its ends; a bound of the parameter where the interval reaches that, NaN where a refit did not converge.

    Raises:
      ValueError: no such parameter, a level that is not between 0 and 1, or another table than the fit's.
    """
    return profile_intervals(fit, runs, (name,), level)[name]


def profile_intervals(
    fit: Fit, runs: Runs, names: Sequence[str] | None = None, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """The profile-likelihood intervals of several parameters (by default all), as `profile_interval`."""
    law = fit.law
    names = law.parameter_names if names is None else tuple(names)
    for name in names:
        if name not in law.parameter_names:
            there = ", ".join(law.parameter_names)
            raise ValueError(f"{law.name} has no parameter {name!r}; there are: {there}")
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval is {level:g}; it must be between 0 and 1, e.g. 0.95")
    table = table_of(law, rows_of(fit, runs))
    weights = np.ones(len(table)) if fit.weights is None else fit.weights
    ends = _Profile(law, table, Robust(fit.loss, fit.delta), weights, fit).ends(names, level)
    ends.update({name: (value, value) for name, value in law.fixed.items() if name in names})
    return {name: ends[name] for name in names}


def dispersion(loss: Robust, residuals: np.ndarray, weights: np.ndarray, free: int) -> float:
    """lambda of the module's formula, from residuals [rows] and weights with mean 1 [rows]."""
    rows = len(residuals)
    freedom = max(rows - free, 1)
    psi = loss.psi(residuals)
    spread = np.sqrt(np.mean(residuals**2))
    middle = 1.349 * spread if rows < 4 else np.subtract(*np.percentile(residuals, [75, 25]))
    band = max(1.06 * min(spread, middle / 1.349) * rows**-0.2, 1e-12)
    slope = (loss.psi(residuals + band) - loss.psi(residuals - band)) / (2 * band)
    at_zero = float(loss.psi(np.array(band))) / band
    curvature = (np.sum(weights * slope) - free * at_zero) / freedom
    least = 0.1 * float(np.mean(weights * slope))
    return float(np.sum(weights * psi**2) / freedom / max(curvature, least, 1e-300))


class _Profile:
    """The least objective as a function of single parameters of one fit."""

    def __init__(self, law: Law, table: Table, loss: Robust, weights: np.ndarray, fit: Fit):
        self.law, self.table, self.loss, self.weights = law, table, loss, weights
        self.free = free_parameters(law)
        self.at = np.clip(law.coordinates(fit.values), *law.bounds)
        terms = row_terms(law, table, loss, self.at)
        self.least = float(np.sum(weights * loss.rho(terms.residual)))
        self.dispersion = dispersion(loss, terms.residual, weights, int(self.free.sum()))
        hessian = np.einsum("n,nij->ij", weights, terms.hessian)
        self.inverse = np.zeros_like(hessian)
        self.inverse[np.ix_(self.free, self.free)] = np.linalg.pinv(
            hessian[np.ix_(self.free, self.free)], rcond=1e-14, hermitian=True
        )

    def refit(self, which: np.ndarray, values: np.ndarray) -> Minima:
        """The minima with parameter `which` [problems] held at coordinate `values` [problems]."""
        problems = np.arange(len(which))
        bounds = np.repeat(self.law.bounds[:, None], len(which), axis=1)
        bounds[:, problems, which] = values
        # Others start where the quadratic model has them.
        slope = self.inverse[which] / np.maximum(self.inverse[which, which], 1e-300)[:, None]
        start = self.at + slope * (values - self.at[which])[:, None]
        weights = np.repeat(self.weights[None], len(which), axis=0)
        return follow(self.law, self.table, start, weights, self.loss, near=True, bounds=bounds)

    def ends(self, names: Sequence[str], level: float) -> dict[str, tuple[float, float]]:
        """Both ends for each free parameter, by the secant method on the root of the statistic."""
        from scipy.special import fdtri  # scipy takes as long to import as a law to fit

        freedom = max(len(self.table) - int(self.free.sum()), 1)
        target = np.sqrt(fdtri(1.0, freedom, level))
        wanted = [k for k, name in enumerate(self.law.parameter_names) if name in names and self.free[k]]
        which, side = np.repeat(wanted, 2), np.tile([-1.0, 1.0], len(wanted))
        found = self._solve(which, side, target)
        values = np.repeat(self.at[None], len(found), axis=0)
        values[np.arange(len(found)), which] = found
        ends = self.law.values(values)[np.arange(len(found)), which]
        return {
            self.law.parameter_names[k]: (float(ends[2 * i]), float(ends[2 * i + 1])) for i, k in enumerate(wanted)
        }

    def _statistic(self, which: np.ndarray, values: np.ndarray) -> np.ndarray:
        """sqrt(2 (S(t) - S) / lambda); NaN where a refit did not converge."""
        found = self.refit(which, values)
        risen = np.maximum(found.objective - self.least, 0.0)
        return np.where(found.converged, np.sqrt(2.0 * risen / max(self.dispersion, 1e-300)), np.nan)

    def _solve(self, which: np.ndarray, side: np.ndarray, target: float) -> np.ndarray:
        """Coordinates at which the statistic reaches a target, on either side of the minimum."""
        limit = np.where(side < 0, self.law.bounds[0][which], self.law.bounds[1][which])
        low, low_value = self.at[which].copy(), np.full(len(which), -target)
        high, high_value = np.full(len(which), np.nan), np.full(len(which), np.nan)
        width = np.sqrt(np.maximum(self.dispersion * self.inverse[which, which], 1e-24)) * target
        trial = low + side * width
        end, active = np.full(len(which), np.nan), np.arange(len(which))
        for _ in range(_MOST_STEPS):
            trial[active] = _between(trial[active], limit[active], side[active])
            value = np.full(len(which), np.nan)
            value[active] = self._statistic(which[active], trial[active]) - target
            done = active[np.abs(value[active]) <= _TOLERANCE * target]
            stopped = active[(value[active] < 0) & (trial[active] == limit[active])]
            end[done], end[stopped] = trial[done], limit[stopped]
            failed = active[~np.isfinite(value[active])]
            active = np.setdiff1d(active, np.concatenate([done, stopped, failed]))
            if not len(active):
                break
            outside = active[value[active] > 0]
            inside = active[value[active] < 0]
            # Illinois: an end that stays twice counts half, so neither end gets stuck.
            low_value[outside] *= np.where(np.isfinite(high[outside]), 0.5, 1.0)
            high_value[inside] *= 0.5
            high[outside], high_value[outside] = trial[outside], value[outside]
            low[inside], low_value[inside] = trial[inside], value[inside]
            secant = low - low_value * (high - low) / (high_value - low_value)
            wider = trial + 1.5 * np.abs(trial - self.at[which]) * side
            trial = np.where(np.isfinite(high), secant, wider)
        return end


def _between(trial: np.ndarray, limit: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Trials that stop at the parameter's bound."""
    return np.where(side < 0, np.maximum(trial, limit), np.minimum(trial, limit))

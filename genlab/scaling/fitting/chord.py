"""Minima of many weightings of one large table, all near a known minimum: chord Newton steps.

Over n rows, a resample's minimum lies within about 1/sqrt(n) of the whole table's, where the Hessian hardly
differs. So the Hessian of each resample is taken once, at the whole table's minimum (for all resamples by one
matrix product with the rows' own Hessians), and re-used: every further step needs a gradient alone, at a tenth
of the price. Ortega and Rheinboldt 1970, section 7.1, call it the simplified Newton method; it converges
linearly, here by a factor of 100 or more a step.

The criterion is that of `minimize`; what does not meet it within a few steps is left to `follow`.
"""

import numpy as np

from genlab.scaling.fitting.derivatives import Gradients, Table, row_terms
from genlab.scaling.fitting.minimize import Minima, held
from genlab.scaling.fitting.robust import Robust
from genlab.scaling.law import Law

LARGE = 5_000  # rows from which on it pays: on 240 rows a resample's minimum is too far away
_STEPS = 8
_TOLERANCE = 2e-14  # a fifth of that of `minimize`: the Hessian is not that of the very point


class Chord:
    """Steps from one minimum of a table to those of its resamples."""

    def __init__(self, law: Law, table: Table, loss: Robust, at: np.ndarray):
        """Takes every row's gradient and Hessian at coordinates [P]."""
        self.bounds, self.at = law.bounds, at
        terms = row_terms(law, table, loss, at)
        count = len(at)
        self._upper = np.triu_indices(count)
        hessians = terms.hessian[:, self._upper[0], self._upper[1]]
        self._moments = np.concatenate([terms.gradient, hessians], axis=1)
        self._gradients = Gradients(law, table, loss)

    def __call__(self, weights: np.ndarray) -> Minima:
        """The minima of several weightings of the rows, [problems, rows].

        Those that are at a bound or not reached within a few steps are returned as not converged.
        """
        problems, count = len(weights), len(self.at)
        moments = weights @ self._moments
        gradient, hessian = moments[:, :count], np.zeros((problems, count, count))
        hessian[:, self._upper[0], self._upper[1]] = moments[:, count:]
        hessian[:, self._upper[1], self._upper[0]] = moments[:, count:]
        free = self.bounds[0] < self.bounds[1]
        inverse, curved = _inverse(hessian, free)
        at = np.repeat(self.at[None], problems, axis=0)
        value, converged = np.full(problems, np.inf), np.zeros(problems, dtype=bool)
        gradient, active = gradient.copy(), np.flatnonzero(curved)
        iterations = np.zeros(problems, dtype=int)
        for _ in range(_STEPS):
            at[active] -= np.einsum("bij,bj->bi", inverse[active], gradient[active])
            inside = ((at[active] > self.bounds[0]) & (at[active] < self.bounds[1]) | ~free).all(axis=1)
            active = active[inside]
            if not len(active):
                break
            value[active], gradient[active] = self._gradients(at[active], weights, active)
            decrement = 0.5 * np.einsum("bi,bij,bj->b", gradient[active], inverse[active], gradient[active])
            converged[active] = decrement <= _TOLERANCE * value[active]
            iterations[active] += 1
            active = active[~converged[active] & np.isfinite(value[active])]
        gradient = np.where(held(at, gradient, *self.bounds), 0.0, gradient)
        return Minima(at, value, gradient, hessian, iterations, converged)


def _inverse(hessian: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(inverse over the free parameters, 0 elsewhere; whether positive definite there), batched."""
    size = np.sqrt(np.abs(np.einsum("bii->bi", hessian)))
    size = np.where(free & (size > 0), size, 1.0)
    scaled = np.where(free[:, None] & free, hessian / (size[:, :, None] * size[:, None, :]), np.eye(len(free)))
    curved = np.isfinite(scaled).all(axis=(1, 2))
    scaled = np.where(curved[:, None, None], scaled, np.eye(len(free)))
    curved &= np.linalg.eigvalsh(scaled)[:, 0] > 1e-13
    scaled = np.where(curved[:, None, None], scaled, np.eye(len(free)))
    inverse = np.linalg.inv(scaled) / (size[:, :, None] * size[:, None, :])
    return np.where(free[:, None] & free, inverse, 0.0), curved

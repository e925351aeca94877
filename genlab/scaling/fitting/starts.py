"""Starting points of a fit: drawn at random, with the parameters that enter linearly solved for."""

import itertools
from types import SimpleNamespace

import numpy as np

from genlab.scaling.fitting.derivatives import Table
from genlab.scaling.law import Law, Positive

_LEAST_SHARE = 1e-3  # of the response that a log-scaled linear term starts with at least


def starting_points(law: Law, table: Table, count: int, seed: int) -> np.ndarray:
    """Draws starting points, [count, P] in the coordinates of the fit.

    Nonlinear parameters are drawn from the law's start ranges (log-uniformly where log). Linear ones are
    then the least-squares solution for relative errors, or for errors as they are of a law whose
    `response_scale` is linear (variable projection, Golub and Pereyra 1973), so that every start already
    has the right magnitudes. Parameters that `Law.fix` holds keep their values.
    """
    rng = np.random.default_rng(seed)
    values = {}
    for parameter in law.parameters:
        low, high = parameter.start
        draws = rng.uniform(size=count)
        logarithmic = parameter.scale == "log"
        values[parameter.name] = (
            low * (high / low) ** draws if logarithmic else low + (high - low) * draws
        )
    x = SimpleNamespace(**dict(zip(law.inputs, map(Positive, table.log_inputs), strict=True)))
    response = np.exp(table.response) if law.response_scale == "log" else table.response
    if law.guess is not None:
        values.update(law.guess(rng, count, x, response))
    values.update({name: np.full(count, value) for name, value in law.fixed.items()})
    if set(law.linear) - set(law.fixed):
        values.update(_project(law, values, x, response))
    lower, upper = law.bounds
    stacked = np.stack([values[name] for name in law.parameter_names], axis=-1)
    return np.clip(law.coordinates(stacked), lower, upper)


def _project(law: Law, values: dict, x, response: np.ndarray) -> dict:
    """Replaces the free linear parameters by their best values at the given others."""
    free = [name for name in law.linear if name not in law.fixed]
    count = len(values[free[0]])

    def at(linear: dict) -> np.ndarray:
        p = SimpleNamespace(**{name: value[:, None] for name, value in {**values, **linear}.items()})
        with np.errstate(over="ignore", invalid="ignore"):
            return np.broadcast_to(law.formula(p, x), (count, len(response)))

    none = {name: np.zeros(count) for name in free}
    rest = at(none)  # what the fixed ones, and a constant, contribute
    unit = response if law.response_scale == "log" else np.ones_like(response)
    columns = [at({**none, name: np.ones(count)}) - rest for name in free]
    design = np.stack(columns, axis=-1) / unit[:, None]
    size = np.maximum(np.abs(design).mean(axis=1), 1e-300)
    signed = np.array([dict(zip(law.parameter_names, law.bounds[0] < 0, strict=True))[name] for name in free])
    logarithmic = np.array([dict(zip(law.parameter_names, law.is_log, strict=True))[name] for name in free])
    shares = _least_squares(design / size[:, None], (response - rest) / unit, signed & ~logarithmic)
    scale = np.abs((response - rest) / unit).mean(axis=1, keepdims=True)
    shares = np.where(logarithmic, np.maximum(shares, _LEAST_SHARE * scale), shares)
    return {name: shares[:, k] / size[:, k] for k, name in enumerate(free)}


def _least_squares(design: np.ndarray, target: np.ndarray, signed: np.ndarray) -> np.ndarray:
    """argmin over c of |design c - target|^2, for [problems, rows, K] and [problems, rows].

    Entries of c are not negative but for those that are `signed` [K]: every support is tried.
    """
    problems, _, columns = design.shape
    gram = np.einsum("brk,brl->bkl", design, design)
    moment = np.einsum("brk,br->bk", design, target)
    best, lowest = np.zeros((problems, columns)), np.zeros(problems)
    for size in range(1, columns + 1):
        for support in map(list, itertools.combinations(range(columns), size)):
            part = gram[:, support][:, :, support]
            trace = np.maximum(np.trace(part, axis1=1, axis2=2), 1.0)
            part = part + 1e-14 * trace[:, None, None] * np.eye(size)
            found = np.linalg.solve(part, moment[:, support, None])[..., 0]
            lower = -np.sum(found * moment[:, support], axis=1)  # of |design c|^2 - 2 design c . target
            better = ((found >= 0) | signed[support]).all(axis=1) & (lower < lowest)
            lowest = np.where(better, lower, lowest)
            candidate = np.zeros((problems, columns))
            candidate[:, support] = found
            best = np.where(better[:, None], candidate, best)
    return best

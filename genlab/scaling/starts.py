"""Starting points of a fit: drawn at random, with the parameters that enter linearly solved for."""

import itertools
from types import SimpleNamespace

import numpy as np

from genlab.scaling.derivatives import Table
from genlab.scaling.law import Law, Positive

_LEAST_SHARE = 1e-3  # of the response that a log-scaled linear term starts with at least


def starting_points(law: Law, table: Table, count: int, seed: int) -> np.ndarray:
    """Draws starting points, [count, P] in the coordinates of the fit.

    Nonlinear parameters are drawn from the law's start ranges (log-uniformly where log). Linear ones are
    then the non-negative least-squares solution for relative errors (variable projection, Golub and
    Pereyra 1973), so that every start already has the right magnitudes.
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
    if law.linear:
        values.update(_project(law, values, x, response))
    lower, upper = law.bounds
    stacked = np.stack([values[name] for name in law.parameter_names], axis=-1)
    return np.clip(law.coordinates(stacked), lower, upper)


def _project(law: Law, values: dict, x, response: np.ndarray) -> dict:
    """Replaces the linear parameters by their best values at the given nonlinear ones."""
    p = {name: value[:, None] for name, value in values.items()}
    columns = []
    for name in law.linear:
        unit = {other: np.array(float(other == name)) for other in law.linear}
        column = law.formula(SimpleNamespace(**{**p, **unit}), x)
        columns.append(np.broadcast_to(column, (len(values[name]), len(response))))
    design = np.stack(columns, axis=-1) / response[:, None]
    size = np.maximum(np.abs(design).mean(axis=1), 1e-300)
    shares = _nonnegative_least_squares(design / size[:, None])
    logarithmic = dict(zip(law.parameter_names, law.is_log, strict=True))
    for column, name in enumerate(law.linear):
        if logarithmic[name]:
            shares[:, column] = np.maximum(shares[:, column], _LEAST_SHARE)
    return {name: shares[:, k] / size[:, k] for k, name in enumerate(law.linear)}


def _nonnegative_least_squares(design: np.ndarray) -> np.ndarray:
    """argmin over c >= 0 of |design c - 1|^2, for [problems, rows, K]: every support is tried."""
    problems, _, columns = design.shape
    gram = np.einsum("brk,brl->bkl", design, design)
    target = design.sum(axis=1)
    best, lowest = np.zeros((problems, columns)), np.zeros(problems)
    for size in range(1, columns + 1):
        for support in map(list, itertools.combinations(range(columns), size)):
            part = gram[:, support][:, :, support]
            ridge = 1e-14 * np.trace(part, axis1=1, axis2=2)[:, None, None] * np.eye(size)
            found = np.linalg.solve(part + ridge, target[:, support, None])[..., 0]
            lower = -np.sum(found * target[:, support], axis=1)  # of |design c|^2 - 2 sum(design c)
            better = (found >= 0).all(axis=1) & (lower < lowest)
            lowest = np.where(better, lower, lowest)
            candidate = np.zeros((problems, columns))
            candidate[:, support] = found
            best = np.where(better[:, None], candidate, best)
    return best

"""How much each row of a table counts in a fit, and which rows belong together in its bootstrap."""

import numpy as np
import pandas as pd

from genlab.scaling.runs import _EXPRESSION_ERRORS as EXPRESSION_ERRORS
from genlab.scaling.runs import Runs

_FEWEST_GROUPS = 3
FEW_GROUPS = 30  # below this, intervals from resampled groups are too narrow: see `row_groups`


def row_weights(runs: Runs, weights: np.ndarray | str | None) -> np.ndarray | None:
    """The weight of each row, scaled to mean 1; None where all rows count the same.

    Only ratios of weights matter: a fit does not change when all are multiplied by one number. With mean 1
    the objective is comparable to that of an unweighted fit.

    Args:
      runs: the rows that are fitted.
      weights: [rows], the name of a column, or a pandas expression such as "1/std**2".

    Raises:
      ValueError: a bad expression, another number of weights than rows, or a weight that is not positive and
        finite.
    """
    if weights is None:
        return None
    if isinstance(weights, str):
        what = f"the weight {weights!r}"
        values = _evaluated(runs, weights)
    else:
        what = "the weight"
        values = np.asarray(weights, dtype=np.float64)
        if values.shape != (len(runs),):
            raise ValueError(f"weights have the shape {values.shape}, not one for each of {len(runs)} rows")
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(wrong):
        row = runs.names[wrong[0]]
        raise ValueError(f"{what} of row {row} is {values[wrong[0]]:g}; weights must be positive and finite")
    return values / values.mean()


def row_groups(runs: Runs, groups: str) -> np.ndarray | None:
    """The group of each row, numbered from 0 [rows]; None where every row is its own.

    With few groups, intervals from resampling them are too narrow: Cameron, Gelbach and Miller 2008
    ("Bootstrap-based improvements for inference with clustered errors") speak of few below about 30.

    Args:
      runs: the rows that are fitted.
      groups: columns whose values together make a group, "seed" or "name,seed"; "" for none.

    Raises:
      ValueError: no such column, a row without a value, or fewer than three groups.
    """
    names = [name.strip() for name in groups.split(",") if name.strip()]
    if not names:
        return None
    for name in names:
        if name not in runs.frame:
            there = ", ".join(str(column) for column in runs.frame.columns[:12])
            raise ValueError(f"groups={groups!r}: {runs.source} has no column {name!r}; there are: {there}")
        missing = runs.frame[name].isna().to_numpy()
        if missing.any():
            row = runs.names[int(missing.argmax())]
            raise ValueError(f"groups={groups!r}: row {row} has no {name}; every row needs a group")
    members = runs.frame.groupby(names, sort=False).ngroup().to_numpy()
    count = int(members.max()) + 1
    if count < _FEWEST_GROUPS:
        raise ValueError(
            f"groups={groups!r} makes {count} group{'s' * (count > 1)} of {len(runs)} rows; a bootstrap over groups "
            f"needs at least {_FEWEST_GROUPS}, and {FEW_GROUPS} to be worth something"
        )
    return members


def _evaluated(runs: Runs, expression: str) -> np.ndarray:
    """A column, or an expression of columns, as numbers [rows]."""
    if expression in runs.frame:
        return runs.column(expression)
    try:
        found = runs.frame.eval(expression, local_dict={}, global_dict={}, engine="python")
    except EXPRESSION_ERRORS as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        there = ", ".join(str(column) for column in runs.frame.columns[:12])
        raise ValueError(f"cannot evaluate the weights {expression!r}: {why}; there are: {there}") from None
    truth = pd.api.types.is_bool_dtype(found)
    if np.shape(found) == (len(runs),) and pd.api.types.is_numeric_dtype(found) and not truth:
        return np.asarray(found, dtype=np.float64)
    if isinstance(found, int | float) and not isinstance(found, bool):
        return np.full(len(runs), float(found))
    raise ValueError(f"the weights {expression!r} are not a number for each row")

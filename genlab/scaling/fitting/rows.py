"""From a table of runs to the rows of a fit: which can be used, their logarithms, their weights."""

import dataclasses

import numpy as np

from genlab.scaling.fitting.derivatives import Table
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.fitting.minimize import free_parameters
from genlab.scaling.fitting.weighting import row_weights
from genlab.scaling.law import Law
from genlab.scaling.runs import Runs

_WEIGHT = "weight in the fit"
_ENOUGH_ROWS = 2_000


def usable_rows(law: Law, runs: Runs) -> Runs:
    """The rows that have everything the law reads; the others are noted as left out.

    Raises:
      ValueError: a missing column, or a value that is not positive.
    """
    return runs.require((*law.inputs, law.response))


def weighted_rows(
    law: Law, runs: Runs, weights: np.ndarray | str | None
) -> tuple[Runs, np.ndarray | None]:
    """The rows that can be fitted and their weights (None: all the same); errors as for `fit_law`."""
    if weights is not None and not isinstance(weights, str):
        weights = np.asarray(weights, dtype=np.float64)
        if weights.shape != (len(runs),):
            raise ValueError(f"weights have the shape {weights.shape}, not one for each of {len(runs)} rows")
        marked = dataclasses.replace(runs, frame=runs.frame.assign(**{_WEIGHT: weights}))
        usable = usable_rows(law, marked)
        weights = usable.frame[_WEIGHT].to_numpy()
        usable = dataclasses.replace(usable, frame=usable.frame.drop(columns=_WEIGHT))
    else:
        usable = usable_rows(law, runs)
    return usable, row_weights(usable, weights)


def rows_of(fit: Fit, runs: Runs) -> Runs:
    """The rows of a table that a fit used, in its order.

    Raises:
      ValueError: the table has other rows.
    """
    usable = usable_rows(fit.law, runs)
    if usable.names != list(fit.rows_used):
        raise ValueError(
            f"{runs.source} is not what {fit.law.name} was fitted to: {len(usable)} usable rows, the fit has "
            f"{len(fit.rows_used)}"
        )
    return usable


def table_of(law: Law, runs: Runs) -> Table:
    """Logarithms of the columns a law reads."""
    inputs = np.stack([np.log(runs.column(name)) for name in law.inputs])
    return Table(inputs, law.respond(runs.column(law.response)))


def some_rows(count: int, seed: int) -> np.ndarray:
    """All of up to 4,000 row numbers; of more, 2,000 drawn at random: enough to find out where minima are."""
    if count <= 2 * _ENOUGH_ROWS:
        return np.arange(count)
    return np.random.default_rng([seed, 2]).permutation(count)[:_ENOUGH_ROWS]


def check_identifiable(law: Law, runs: Runs) -> None:
    """Refuses tables that cannot say anything about a law.

    Raises:
      ValueError: as for `fit_law`.
    """
    count = int(free_parameters(law).sum())
    if len(runs) <= count:
        free = " to fit" if law.fixed else ""
        raise ValueError(
            f"{law.name} has {count} parameters{free} and {runs.source} only {len(runs)} usable rows; "
            f"at least {count + 1} are needed"
        )
    for name in (*law.inputs, law.response):
        values = runs.column(name)
        if np.ptp(values) <= 1e-12 * np.abs(values).max():
            needed = "there is nothing to fit" if name == law.response else f"it needs runs of several {name}"
            raise ValueError(
                f"all {len(runs)} rows of {runs.source} have the same {name} ({values[0]:g}): "
                f"{law.name} cannot be fitted, {needed}"
            )
    _check_floor(law, runs)


def _check_floor(law: Law, runs: Runs) -> None:
    """Refuses an irreducible loss that is held above most losses; a few may lie below it by noise."""
    floor, values = law.fixed.get("E", -np.inf), runs.column(law.response)
    below = int(np.sum(values <= floor))
    if 2 * below > len(values):
        raise ValueError(
            f"E = {floor:g} is held, but {law.response} is below it in {below} of {len(values)} rows of {runs.source} "
            f"(down to {values.min():.4g}): no loss can be below E; is it in the same unit (nats or bits, per token or "
            "byte), of the same data and tokenizer?"
        )

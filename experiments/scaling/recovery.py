"""How often 95 % intervals hold the truth: simulated tables of every law, with known parameters and 1 % noise.

    for found in recovery():
        print(found.law.name, coverages(found))

Coverage tests the intervals, not a design, so every law gets a plan wide enough to tell all its parameters: a grid
over `RANGES` (120 rows for a law of one input, 12 x 12 for two, 6 x 6 x 6 for three), and for breaks, whose width is
seen only close to them, rows that lie closer there. The designs were fixed by the asymptotic standard deviations of
the parameters (all below 15 %), before any coverage was looked at.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from genlab.scaling import LAWS, Law, Runs, get_law, planned_grid, simulate
from genlab.scaling.simulate import Simulation

TABLES, NOISE = 200, 0.01
LOWEST, MOST = 0.90, 0.99  # share of 200 tables: 95 % and about three standard deviations

# The true parameters are the published ones; of laws without, these.
REFERENCE = {
    "busbridge": {"A": 2300.0, "B": 1e4, "E": 1.75, "alpha": 0.42, "beta": 0.43, "gamma": 0.77},
    "accuracy_of_loss": {"chance": 0.25, "ceiling": 0.95, "k": 3.0, "L_0": 2.9},
    "accuracy_of_flops": {"chance": 0.25, "ceiling": 0.95, "k": 0.6, "log_C_0": 47.0},
    "power_shift": {"beta": 150.0, "gamma": 2e-9, "c": 0.35},
    "saturating": {"E": 0.2, "L_0": 0.98, "d": 2e7, "alpha": 1.4, "c": 0.6},
    "broken_2": {"E": 0.1, "b": 8.0, "c0": 0.1, "c1": 0.4, "d1": 2e7, "f1": 0.5, "c2": -0.3, "d2": 1e9, "f2": 0.3},
}
RANGES = {
    "params": (1e6, 1e11),
    "tokens": (1e8, 1e13),
    "unique_tokens": (1e8, 1e11),
    "flops": (1e16, 1e25),
    "flops_min": (1e16, 1e25),
    "steps_min": (1e2, 1e6),
    "loss": (1.5, 8.0),
    "x": (1e4, 1e13),
}
VALUES = {1: 120, 2: 12, 3: 6}  # of each input, by the number of inputs
BREAKS = {  # law -> (from, to, rows) of x
    "zhai": ((1e-5, 1e7, 120),),  # its published d is 0.01 core-days
    "broken_1": ((10, 4e3, 150), (450, 800, 50)),
    "broken_2": ((1e2, 1e16, 200), (1e6, 1e11, 200)),
    "broken_3": ((1, 1e24, 250), (1.4e20, 2.9e20, 100)),
}


def design(law: Law) -> Runs:
    """The planned runs of a law's tables."""
    of_inputs = {name: ((*RANGES[name], VALUES[len(law.inputs)]),) for name in law.inputs}
    if law.name in BREAKS:
        of_inputs = {"x": BREAKS[law.name]}
    values = {name: np.concatenate([np.geomspace(*part) for part in parts]) for name, parts in of_inputs.items()}
    return planned_grid("; ".join(f"{name}={','.join(map(str, found))}" for name, found in values.items()))


def recovery(laws: Sequence[str] = tuple(LAWS), tables: int = TABLES, noise: float = NOISE) -> Iterator[Simulation]:
    """Simulates tables of each law and fits them as `fit_law` does by default, with 200 bootstrap refits each.

    Args:
      laws: names.
      tables: how many of each.
      noise: standard deviation of the log response; of the response itself where its scale is linear.
    """
    for law in map(get_law, laws):
        yield simulate(law, design(law), law.published or REFERENCE[law.name], noise, tables)


def coverages(found: Simulation) -> dict[str, float]:
    """Parameter -> share of the tables whose 95 % interval holds its true value."""
    return {name: found.coverage(name) for name in found.truth}

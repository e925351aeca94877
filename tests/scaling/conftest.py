"""Synthetic tables of runs with known laws."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling import get_law, read_runs


class Truth(dict):
    """Law name -> parameters; those of the paper where none are given here."""

    def __missing__(self, name):
        return get_law(name).published


TRUTH = Truth({
    "chinchilla": {"A": 480.0, "B": 2100.0, "E": 1.8, "alpha": 0.35, "beta": 0.37},
    "kaplan": {"N_c": 8.8e13, "D_c": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.103},
    "busbridge": {"A": 2300.0, "B": 1e4, "E": 1.75, "alpha": 0.42, "beta": 0.43, "gamma": 0.77},
    "accuracy_of_loss": {"chance": 0.25, "ceiling": 0.95, "k": 3.0, "L_0": 2.9},
    "accuracy_of_flops": {"chance": 0.25, "ceiling": 0.95, "k": 0.6, "log_C_0": 47.0},
    "power_shift": {"beta": 150.0, "gamma": 2e-9, "c": 0.35},
    "saturating": {"E": 0.2, "L_0": 0.98, "d": 2e7, "alpha": 1.4, "c": 0.6},
    "broken_2": {"E": 0.1, "b": 8.0, "c0": 0.1, "c1": 0.4, "d1": 2e7, "f1": 0.5, "c2": -0.3, "d2": 1e9, "f2": 0.3},
})  # fmt: skip

# What tables of real runs span, in each column that some law reads.
RANGES = {
    "params": (1e7, 1e11),
    "tokens": (1e9, 1e12),
    "unique_tokens": (1e8, 1e11),
    "flops": (1e18, 1e23),
    "flops_min": (1e18, 1e23),
    "steps_min": (1e3, 1e6),
    "loss": (2.0, 4.0),
    "x": (1e6, 1e10),
}


def table_of(name, noise=0.0, seed=0, sizes=8, data=6):
    """A grid of sizes by tokens with losses of a known law; noise is the log losses' deviation."""
    law, rng = get_law(name), np.random.default_rng(seed)
    params, tokens = (
        grid.ravel()
        for grid in np.meshgrid(np.geomspace(3e7, 1e10, sizes), np.geomspace(1e9, 3e11, data), indexing="ij")
    )
    loss = law.predict(law.vector(TRUTH[name]), params=params, tokens=tokens)
    loss = loss * np.exp(noise * rng.standard_normal(len(loss)))
    return pd.DataFrame({"params": params, "tokens": tokens, "loss": loss})


@pytest.fixture(scope="session")
def synthetic():
    """synthetic(law, noise=0.0, seed=0, sizes=8, data=6) -> Runs."""
    return lambda *args, **settings: read_runs(table_of(*args, **settings), embeddings="included")


@pytest.fixture(scope="session")
def truth():
    """Law name -> the parameters behind `synthetic`."""
    return TRUTH


@pytest.fixture(scope="session")
def points():
    """points(law, count, seed=0) -> {input: [count]}, points spread over what real tables span."""

    def draw(law, count, seed=0):
        rng = np.random.default_rng(seed)
        return {name: np.exp(rng.uniform(*np.log(RANGES[name]), count)) for name in law.inputs}

    return draw


@pytest.fixture(scope="session")
def small_grid():
    """Twelve runs of a GPT-like grid with 0.3 % noise, and a held-out run of three times the compute."""
    law = get_law("kaplan")
    rng = np.random.default_rng(3)
    widths = {16: 3, 24: 3, 32: 3, 48: 2, 64: 1}
    rows = [(w, m, "grid") for w, count in widths.items() for m in (1, 2, 4)[:count]]
    rows.append((64, 4, "held_out"))
    frame = pd.DataFrame(rows, columns=["width", "millions", "role"])
    frame["params"] = 24 * frame.width**2 + 320 * frame.width
    frame["tokens"] = frame.millions * 1.024e6
    frame["flops"] = 6.5 * frame.params**0.97 * frame.tokens
    values = np.array([3.2e5, 1.4e7, 0.2, 0.22])
    frame["loss"] = law.predict(values, params=frame.params, tokens=frame.tokens)
    frame["loss"] *= np.exp(0.003 * rng.standard_normal(len(frame)))
    frame["name"] = [f"width{w}-{m}M" for w, m, _ in rows]
    frame["status"] = "finished"
    return frame

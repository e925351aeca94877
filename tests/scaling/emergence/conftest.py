"""Made-up abilities of known kind, as a sweep's run records and as somebody's wide table."""

import json

import numpy as np
import pandas as pd
import pytest

FLOPS = 1e15 * 2.0 ** np.arange(10)
LENGTH, QUESTIONS = 5, 1000


def token_accuracy(flops, middle=1e16, width=0.6):
    """A logistic curve in the logarithm of the compute."""
    return 0.2 + 0.8 / (1 + (flops / middle) ** (-1 / width))


def metrics_at(flops: float, rng: np.random.Generator) -> dict[str, float]:
    """copy: exact match is token accuracy to the fifth; facts: smooth; parity: at chance."""
    accuracy = token_accuracy(flops)
    facts = float(np.clip(0.1 * np.log2(flops / 1e15) + 0.05, 0, 1))
    found = {}
    for task, rate, log_p, chance in (
        ("copy", accuracy**LENGTH, LENGTH * np.log(accuracy), 0.2**LENGTH),
        ("facts", facts, -5 * (1 - facts), 0.0),
        ("parity", 0.5, np.log(0.5), 0.5),
    ):
        right = rng.binomial(QUESTIONS, rate) / QUESTIONS
        floor = -5.0 if task == "facts" else np.log(0.5) if task == "parity" else LENGTH * np.log(0.2)
        found |= {f"{task}/exact_match": right, f"{task}/exact_match_se": float(np.sqrt(rate * (1 - rate) / QUESTIONS)),
                  f"{task}/exact_match/chance": chance, f"{task}/examples": QUESTIONS,
                  f"{task}/log_probability": min(log_p + 0.01 * rng.standard_normal(), 0.0),
                  f"{task}/log_probability_se": 0.01, f"{task}/log_probability/chance": floor}  # fmt: skip
    found |= {"copy/token_accuracy": accuracy, "copy/token_accuracy/chance": 0.2, "copy/answer_length": LENGTH}
    return {name: float(value) for name, value in found.items()}


def made_up_records() -> pd.DataFrame:
    """Three runs of two sizes with a history of ten evaluations each, and one that failed."""
    rng, rows = np.random.default_rng(0), []
    for name, params in (("small-0", 1e4), ("small-1", 1e4), ("large-0", 4e4)):
        history = [
            {"step": i, "flops": float(flops), "tokens": 1e6, "loss": 3.0 - 0.1 * i, "metrics": metrics_at(flops, rng)}
            for i, flops in enumerate(FLOPS)
        ]
        rows.append({"name": name, "seed": int(name[-1]), "params": params, "flops": FLOPS[-1], "tokens": 1e6,
                     "loss": 2.1, "status": "finished", "metrics": json.dumps(history[-1]["metrics"]),
                     "evaluations": json.dumps(history), "role": "grid", "family": "gpt"})  # fmt: skip
    rows.append({"name": "lost", "status": "failed", "params": 1e4})
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def records() -> pd.DataFrame:
    """See `made_up_records`; not to be changed."""
    return made_up_records()


@pytest.fixture
def wide() -> pd.DataFrame:
    """See `made_up_table`."""
    return made_up_table()


def made_up_table() -> pd.DataFrame:
    """Somebody's table: thirty models of three families, percent in one column, an unknown compute in one row."""
    rng = np.random.default_rng(1)
    flops = np.geomspace(1e20, 1e24, 30)
    shift = np.tile([-0.5, 0.0, 0.5], 10)
    rate = 1 / (1 + np.exp(-(np.log(flops / 1e22) + shift)))
    table = pd.DataFrame({
        "Model": [f"model {i}" for i in range(30)], "Family": list("abc") * 10, "C (1e21)": flops / 1e21,
        "words_exact_match": rng.binomial(2000, rate) / 2000, "words_bleu": 100 * rate**0.5,
        "acc_quiz": rng.binomial(1000, 0.25, 30) / 1000, "Percent": 100 * rng.binomial(1000, 0.25 + 0.7 * rate) / 1000,
    })  # fmt: skip
    table.loc[7, "C (1e21)"] = np.nan
    return table

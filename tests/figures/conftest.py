"""A made-up sweep of known law: sizes by budgets and by tokens, learning curves, one held-out run; its report."""

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genlab.figures import style, write_report
from genlab.scaling.analysis import Analysis
from genlab.scaling.compute_optimal import ComputeOptimal
from genlab.scaling.runs import read_runs

SIZES = {16: 11e3, 24: 20e3, 32: 33e3, 48: 68e3, 64: 115e3}
TOKENS = (0.5e6, 1e6, 2e6, 4e6)
HELD_OUT = (128, 430e3, 8e6)


def true_loss(params, tokens):
    """Kaplan's joint form, nats per byte, with exponents such as small byte-level models show."""
    return ((1.55e6 / params) ** (0.14 / 0.2) + 1.4e7 / tokens) ** 0.2


def learning_curve(params: float, tokens: float, steps: int, rng: np.random.Generator) -> str:
    """Log-spaced bins; above the law early on, as a rate that has yet to decay leaves it."""
    bins = np.unique(np.geomspace(8, steps, 24).astype(int))
    losses = np.minimum(5.5, true_loss(params, tokens * bins / steps))
    losses = losses * (1 + 0.04 * (1 - bins / steps)) * np.exp(0.01 * rng.standard_normal(len(bins)))
    return " ".join(f"{step}:{loss:.5f}" for step, loss in zip(bins, losses, strict=True))


def run_row(width: int, params: float, tokens: float, role: str, rng: np.random.Generator) -> dict:
    steps = round(tokens / 512)
    loss = true_loss(params, tokens) * np.exp(0.003 * rng.standard_normal())
    return {
        "sweep": "synthetic",
        "name": f"width={width},tokens={tokens:.0f}",
        "role": role,
        "config_hash": f"{rng.integers(16**12):012x}",
        "seed": 0,
        "family": "gpt",
        "params": params,
        "params_non_embedding": params - 320 * width,
        "batch_size": 8,
        "steps": steps,
        "steps_planned": steps,
        "examples": steps * 8,
        "tokens": tokens,
        "unique_tokens": 10.8e6,
        "epochs": tokens / 10.8e6,
        "flops": 6.6 * params * tokens,
        "flops_convention": "jaxpr",
        "loss": loss,
        "loss_se": 0.004,
        "train_loss": loss * 1.005,
        "metrics": '{"accuracy": 0.41}',
        "status": "finished",
        "error": "",
        "attempts": 1,
        "device_kind": "cpu",
        "device_count": 1,
        "seconds": 6.6 * params * tokens / 2e10,
        "compile_seconds": 1.9,
        "tokens_per_second": 2e10 / (6.6 * params),
        "curve": learning_curve(params, tokens, steps, rng),
    }


def synthetic_table() -> pd.DataFrame:
    """20 finished runs, one diverged, one failed, and the held-out run last."""
    rng = np.random.default_rng(0)
    rows = [run_row(width, params, tokens, "grid", rng) for width, params in SIZES.items() for tokens in TOKENS]
    diverged = run_row(64, SIZES[64], 3e6, "grid", rng)
    diverged.update(status="diverged", error="the loss is not finite", loss=np.nan, loss_se=np.nan)
    diverged["curve"] = " ".join(diverged["curve"].split()[:9]) + " 300:4.9 400:nan"
    failed = {"name": "width=48,tokens=3000000", "role": "grid", "status": "failed"}
    failed["error"] = "out of memory <at step 12>"
    return pd.DataFrame([*rows, diverged, failed, run_row(*HELD_OUT, "held_out", rng)])


@pytest.fixture(scope="session")
def sweep_table() -> pd.DataFrame:
    """The made-up sweep; not to be changed."""
    return synthetic_table()


@pytest.fixture(scope="session")
def sweep_analysis(sweep_table) -> Analysis:
    """What is found in it, with few starts and resamples; not to be changed."""
    laws = ("chinchilla", "kaplan")
    return ComputeOptimal(laws=laws, starts=4, resamples=20).run(read_runs(sweep_table))


@pytest.fixture(scope="session")
def sweep_report(sweep_table, sweep_analysis, tmp_path_factory) -> dict[str, Path]:
    """Its report's files, of which nothing is made up."""
    folder, extras = tmp_path_factory.mktemp("sweep"), {"config": {"width": 64}, "versions": {"jax": "9.9"}}
    return write_report(sweep_table, sweep_analysis, folder / "new", **extras)


@style.paper_style()
def drawn(figure, directory: Path, name: str) -> dict[str, Path]:
    """Stands for `style.save`: what cannot be drawn fails, but no pixel is made, which takes most of the time."""
    figure.draw_without_rendering()
    directory.mkdir(parents=True, exist_ok=True)
    paths = {f"{name}.{kind}": directory / f"{name}.{kind}" for kind in ("png", "svg")}
    for path in paths.values():
        path.write_text("<svg/>")
    return paths


@pytest.fixture(scope="session")
def drawn_report():
    """`write_report`, with figures that are drawn and not saved."""

    def write(*args, **settings) -> dict[str, Path]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(style, "save", drawn)
            return write_report(*args, **settings)

    return write


@pytest.fixture
def table(sweep_table) -> pd.DataFrame:
    """The made-up sweep, to do with as one likes."""
    return sweep_table.copy()


@pytest.fixture
def analysis(sweep_analysis) -> Analysis:
    """Its analysis, to do with as one likes."""
    return copy.deepcopy(sweep_analysis)

"""Tests run on eight simulated CPU devices, without a network, an accelerator or a persistent cache."""

import gc
import json
import os

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# XLA's optimisations, its fusions in MLIR and its many LLVM modules change rounding alone, and take most of the time.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("XLA_FLAGS", " ".join((
    "--xla_force_host_platform_device_count=8", "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)))  # fmt: skip
# The names of modules in profiles take a twelfth of tracing.
os.environ.setdefault("FLAX_PROFILE", "false")
# Tracing makes objects by the million, few of them garbage in cycles.
gc.set_threshold(200_000, 50, 50)


def pytest_collection_modifyitems(items):
    """The longest files come first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/launch", "tests/training")))


VISION_TRUTH = {  # Chinchilla's law in parameters and examples, nats per example
    "vit": {"A": 40.0, "B": 200.0, "E": 0.5, "alpha": 0.35, "beta": 0.45},
    "mixer": {"A": 60.0, "B": 150.0, "E": 0.6, "alpha": 0.30, "beta": 0.42},
}


@pytest.fixture(scope="session")
def vision_truth():
    """Family -> the parameters behind `vision_table`."""
    return VISION_TRUTH


@pytest.fixture(scope="session")
def vision_table():
    """A sweep of two families on images, 16 runs each with 0.2 % noise, one failed run, one held-out run a family.

    As the run record has it: examples and no tokens, the error rate among the metrics. Not to be changed.
    """
    import numpy as np
    import pandas as pd

    from genlab.scaling import get_law

    rng, law, rows = np.random.default_rng(0), get_law("chinchilla"), []
    for family, truth in VISION_TRUTH.items():
        plan = [(n, d, "grid") for n in (2e4, 5e4, 1.2e5, 3e5) for d in (2e4, 5e4, 1.25e5, 3e5)]
        for n, d, role in [*plan, (6e5, 6e5, "held_out")]:
            loss = float(law.predict(law.vector(truth), params=n, tokens=d)) * np.exp(0.002 * rng.standard_normal())
            error = 0.17 * loss**1.1 * np.exp(0.002 * rng.standard_normal())
            metrics = {"accuracy": 1 - error, "accuracy_se": 0.004, "error": error, "error_se": 0.004}
            rows.append({
                "sweep": "vision", "name": f"{family}-{n:.0f}-{d:.0f}", "role": role, "family": family, "params": n,
                "params_non_embedding": n, "examples": d, "tokens": None, "epochs": d / 5e4, "steps": d / 50,
                "steps_planned": d / 50, "flops": 360 * n**0.97 * d, "loss": loss, "loss_se": 0.01,
                "metrics": json.dumps(metrics), "status": "finished", "error": "", "tokens_per_second": 900.0,
            })  # fmt: skip
    rows.append({"name": "vit-failed", "family": "vit", "status": "failed", "error": "out of memory"})
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def vision_config():
    """The analysis that such a sweep is for, with few starts and resamples."""
    from genlab.scaling import ByFamily, ComputeOptimal

    each = ComputeOptimal(laws=("chinchilla",), tokens="examples", starts=4, resamples=8, sensitivity=False)
    return ByFamily(each, frontier=("loss", "error"))


@pytest.fixture(scope="session")
def vision_families(vision_table, vision_config):
    """What is found in `vision_table`; not to be changed."""
    from genlab.scaling import read_runs

    return vision_config.run(read_runs(vision_table, needed=("params", "loss")))

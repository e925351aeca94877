"""launch.benchmark attention, generate and scaling at tiny sizes."""

import io

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from genlab.models import ops
from genlab.models.gpt import GPT
from genlab.scaling.counting.devices import PEAKS
from launch.benchmarks import attention, generate, scaling


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def test_attention_times_the_sides_and_checks_that_they_agree(console, monkeypatch):
    monkeypatch.setattr(attention, "TOKENS", 64)
    results, agree = attention.run(2, 0.0, console, lengths=(16, 32))
    assert agree and [row["length"] for row in results["lengths"]] == [16, 32]
    for row in results["lengths"]:
        assert len(row["seconds"]["plain"]) == len(row["seconds"]["chosen"]) == 2
        for side in ("chosen", "block-wise"):
            assert row["ratios"][side] > 0 and row["errors"][side] < 1e-4 and row["memory"][side] > 0
        assert row["floors"] is None  # a CPU is not in the table
    assert "T=    32" in console.file.getvalue()


def test_attention_that_computes_something_else_is_found(console, monkeypatch):
    monkeypatch.setattr(attention, "TOKENS", 64)
    plain = ops.attention
    calls = []

    def wrong(q, k, v, causal):
        calls.append(q)
        return plain(q, k, v, causal=causal) * (1.01 if len(calls) > 1 else 1.0)

    monkeypatch.setattr(attention.ops, "attention", wrong)
    assert not attention.run(1, 0.0, console, lengths=(16,))[1]
    assert "do not compute the same" in console.file.getvalue()


def test_generation_is_measured_beside_its_floors(console, monkeypatch):
    gpt = GPT(vocab_size=32, context_length=64, width=16, depth=1, num_heads=2)
    results, good = generate.run(1, 0.0, console, gpt, batches=(1, 2), new=4)
    assert good and [row["batch"] for row in results["batches"]] == [1, 2]
    assert all(row["tokens_per_second"] > 0 for row in results["batches"])
    assert "floors unknown" in console.file.getvalue()
    monkeypatch.setitem(PEAKS, jax.devices()[0].device_kind, PEAKS["NVIDIA H100 80GB HBM3"])
    row = generate.run(1, 0.0, console, gpt, batches=(2,), new=4)[0]["batches"][0]
    assert row["floors"]["memory"] == pytest.approx(4 * row["bytes_per_step"] / 3350e9)
    assert row["floors"]["arithmetic"] == pytest.approx(4 * row["flops_per_step"] / 494.7e12)


def test_the_costs_of_a_step_of_generation_by_hand():
    D, V, T, B, slots = 16, 32, 64, 2, 48
    gpt = GPT(vocab_size=V, context_length=T, width=D, depth=1, num_heads=2)
    params = gpt.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    flops, num_bytes = generate.step_costs(gpt, params, B, slots)
    # Attention's and the MLP's matrices, the head, and one query against every slot: scores and their sum.
    assert flops == 2 * B * (4 * D * D + 8 * D * D + V * D + 2 * slots * D)
    weights = sum(x.size for x in jax.tree.leaves(params))
    assert num_bytes == 4 * (weights + 2 * B * slots * D)


def test_plans_are_measured_on_simulated_devices(monkeypatch):
    monkeypatch.setattr(scaling, "COUNTS", (1, 2))
    assert list(scaling.layouts(1)) == ["data"]
    assert list(scaling.layouts(8)) == ["data", "pmap", "fsdp", "tensor", "sequence"]
    layouts = scaling.layouts
    monkeypatch.setattr(scaling, "layouts", lambda count: {k: v for k, v in layouts(count).items() if k in "data fsdp"})
    rows = scaling.measure(1, 0.0, width=16, depth=1)  # The tests have eight devices.
    assert [(row["devices"], row["plan"]) for row in rows] == [
        (1, "data"), (2, "data"), (2, "fsdp")]
    assert rows[2]["flops"] == pytest.approx(rows[0]["flops"] / 2, rel=0.05)
    assert all(row["seconds"] > 0 and row["loss"] == pytest.approx(rows[0]["loss"], rel=1e-5) for row in rows)

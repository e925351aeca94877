"""Profiles of a few steps, and what is read of them."""

import re
import sys

import jax
import jax.numpy as jnp
import pytest

from genlab.configuration import ConfigError
from genlab.training.profile import Profiler, top_operations


def test_a_run_is_profiled_after_its_second_dispatch(run_regression, tmp_path):
    heard = []
    profiler = Profiler(tmp_path / "profile", dispatches=3)
    run_regression(steps=40, listeners=(profiler, lambda p: heard.append((p.step, profiler.steps))))
    assert profiler.steps == 3 * 4
    assert dict(heard)[16] == 0 and dict(heard)[20] == 12
    assert len(list((tmp_path / "profile").rglob("*.xplane.pb"))) == 1
    assert len(list((tmp_path / "profile").rglob("*.trace.json.gz"))) == 1
    operations = top_operations(tmp_path / "profile", 1000)
    assert sum(operation.share for operation in operations) == pytest.approx(1)
    assert operations == sorted(operations, key=lambda operation: -operation.seconds)
    assert "tensorflow" not in sys.modules


def test_a_run_that_ends_before_is_profiled_to_its_end_or_not_at_all(run_regression, tmp_path):
    short, shorter = Profiler(tmp_path / "a", 100), Profiler(tmp_path / "b", 100)
    run_regression("short", steps=16, listeners=(short,))
    run_regression("shorter", steps=8, listeners=(shorter,))
    assert (short.steps, shorter.steps) == (8, 0)
    assert top_operations(tmp_path / "a")
    with pytest.raises(ConfigError, match="no profile"):
        top_operations(tmp_path / "b")


def test_the_longest_operation_comes_first_with_its_source(tmp_path):
    def slow_then_fast(x):
        def body(x, _):
            return x @ x / 700.0, None

        x = jax.lax.scan(body, x, None, length=8)[0]
        return jnp.sort(x[0]).sum()

    function, x = jax.jit(slow_then_fast), jnp.ones((700, 700))
    function(x).block_until_ready()
    with jax.profiler.trace(str(tmp_path)):
        for _ in range(2):
            function(x).block_until_ready()
    first = top_operations(tmp_path)[0]
    assert first.share > 0.5 and re.search("while/body", first.source), first
    assert not any(re.match(r"while|call", operation.name) for operation in top_operations(tmp_path, 100))

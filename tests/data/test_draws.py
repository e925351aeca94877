"""Draws: SplitMix64, uniform, and by (seed, position), stream and counter alone."""

import numpy as np
from scipy import stats

from genlab.data.draws import row_keys, stream_keys, uniforms

MASK = (1 << 64) - 1


def split_mix(state):
    """SplitMix64 as published, in Python's integers: the output after one step from a state."""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_uniforms_are_split_mix():
    # The first outputs from state 1234567, which every implementation quotes.
    quoted = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert split_mix(1234567) == quoted[0]
    found = uniforms(np.array([1234567], np.uint64), 3)[:, 0]
    assert found.tolist() == [(value >> 11) / 2**53 for value in quoted]


def test_uniform_in_position_and_in_counter():
    keys = row_keys(0, np.arange(20_000))
    for name in ("crop", "flip"):
        draws = uniforms(stream_keys(keys, name), 3)
        assert all(stats.kstest(row, "uniform").pvalue > 1e-4 for row in draws)
    across = uniforms(keys[:4], 20_000)
    assert all(stats.kstest(column, "uniform").pvalue > 1e-4 for column in across.T)


def test_streams_seeds_counters_and_neighbours_are_unrelated():
    positions = np.arange(20_000)
    keys = row_keys(7, positions)
    series = [*uniforms(stream_keys(keys, "view 0"), 2), *uniforms(stream_keys(keys, "view 1"), 2), *uniforms(keys, 2),
              *uniforms(row_keys(8, positions), 1), *uniforms(row_keys(7, positions + 1), 1)]  # fmt: skip
    correlations = np.corrcoef(series)[np.triu_indices(len(series), 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(len(positions))


def test_a_draw_depends_on_nothing_else():
    keys = row_keys(3, np.arange(100))
    assert np.array_equal(row_keys(3, np.array([[41, 42]])), keys[None, 41:43])
    assert np.array_equal(uniforms(keys, 5)[:2], uniforms(keys, 2))
    assert np.array_equal(uniforms(keys[50:60], 5), uniforms(keys, 5)[:, 50:60])
    assert len(np.unique(keys)) == 100 and keys.dtype == np.uint64

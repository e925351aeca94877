"""Repeated patterns: that they repeat, by the table, and are a pure function of seed and index."""

import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.data.patterns import Patterns

DATA = Patterns("abcdef", sequence_length=20, shortest=3, longest=8, successors=2.0, held_out_examples=50)


def test_sequences_are_repetitions_of_patterns_of_every_length():
    tokens = DATA.load().train.gather(np.arange(300))["tokens"]
    assert tokens.shape == (300, 21) and not tokens[:, 0].any() and set(tokens[:, 1:].ravel()) == set(range(1, 7))
    periods = [next(p for p in range(1, 20) if (row[p:] == row[:-p]).all()) for row in tokens[:, 1:]]
    assert set(range(3, 9)) <= set(periods) and max(periods) == 8


def test_a_token_follows_another_as_often_as_the_table_says():
    table = DATA.table()
    np.testing.assert_allclose(table.sum(axis=1), 1)
    assert table.std() > 0.1 and np.ptp(Patterns().table()) == 0
    tokens = DATA.load().train.gather(np.arange(20_000))["tokens"][:, 1:4] - 1  # Before any repetition.
    counts = np.zeros((6, 6))
    np.add.at(counts, (tokens[:, :-1].ravel(), tokens[:, 1:].ravel()), 1)
    np.testing.assert_allclose(counts / counts.sum(axis=1, keepdims=True), table, atol=0.02)


def test_a_sequence_is_a_pure_function_of_seed_split_and_index():
    splits = DATA.load()
    batch = splits.train.gather(np.array([5, 10**8]))["tokens"]
    np.testing.assert_array_equal(batch[1], splits.train[10**8]["tokens"])
    assert (batch[0] != splits.held_out[5]["tokens"]).any() and len(splits.held_out) == 50
    with pytest.raises(IndexError, match="there is no example 50 among 50"):
        splits.held_out[50]
    assert DATA.load_tokenizer().decode(batch[0]) == "\0" + "".join("abcdef"[token - 1] for token in batch[0][1:])
    assert splits.description["data_hash"] != Patterns(seed=1).load().description["data_hash"]


@pytest.mark.parametrize(("settings", "message"), [
    ({"alphabet": "a"}, "alphabet 'a' must have at least 2 letters"),
    ({"alphabet": "abca"}, "an alphabet has ASCII characters"),
    ({"shortest": 1}, "shortest 1 must be at least 2"),
    ({"shortest": 9, "longest": 8}, "longest 8 must be at least shortest, 9"),
    ({"successors": 0}, "successors 0 must be above 0, or none"),
    ({"examples": 0}, "examples 0 must be at least 1"),
])  # fmt: skip
def test_bad_input_is_one_line(settings, message):
    with pytest.raises(ConfigError, match=message):
        Patterns(**settings)

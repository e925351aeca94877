"""Batches: a pure function of (seed, step), the same whoever makes them."""

import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.data.batches import BLOCK_EXAMPLES, Batches, sequential_batches
from genlab.data.sources import InMemory


def source_of(length):
    return InMemory(index=np.arange(length), twice=2 * np.arange(length))


def all_indices(batches, steps):
    return np.concatenate([batches[step]["index"] for step in range(steps)])


def test_a_batch_larger_than_the_data_is_bad_input():
    """As few labels to fine-tune on are; only a ConfigError is one line on the screen of launch.train."""
    with pytest.raises(ConfigError, match="batch_size 64 is not between 1 and the 20 training examples"):
        Batches(source_of(20), 64, seed=0)


@pytest.mark.parametrize(("length", "batch_size"), [(10, 3), (64, 64), (7, 7), (1000, 32)])
def test_each_epoch_holds_each_example_once(length, batch_size):
    batches = Batches(source_of(length), batch_size, seed=0)
    epochs = 3
    seen = all_indices(batches, -(-epochs * length // batch_size))
    orders = [seen[e * length : (e + 1) * length] for e in range(epochs)]
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(length))
    assert not np.array_equal(orders[0], orders[1])


def test_a_batch_may_straddle_epochs():
    batches = Batches(source_of(10), 6, seed=0)
    second = batches[1]["index"]  # positions 6 to 11: 4 of the first epoch, 2 of the second
    assert set(batches[0]["index"]) | set(second[:4]) == set(range(10))
    assert not set(second[4:]) & set(batches[2]["index"])


def test_batches_depend_on_seed_and_step_alone():
    forwards = Batches(source_of(500), 16, seed=3)
    backwards = Batches(source_of(500), 16, seed=3)
    steps = range(0, 2 * BLOCK_EXAMPLES // 16, 97)
    wanted = {step: forwards[step]["index"] for step in steps}
    for step in reversed(steps):
        assert np.array_equal(backwards[step]["index"], wanted[step])
    other = Batches(source_of(500), 16, seed=4)
    assert not np.array_equal(other[0]["index"], wanted[0])


def test_stack_is_the_batches_side_by_side():
    batches = Batches(source_of(100), 8, seed=1)
    block = BLOCK_EXAMPLES // 8  # so that the stack crosses from one block of indices to the next
    stack = batches.stack(block - 3, block + 2)
    assert stack["index"].shape == (5, 8)
    for offset, step in enumerate(range(block - 3, block + 2)):
        for name, array in batches[step].items():
            assert np.array_equal(stack[name][offset], array)


def test_rows_of_processes_make_the_global_batch():
    whole = Batches(source_of(50), 8, seed=2)
    for rows in ([0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 4, 5]):
        part = Batches(source_of(50), 8, seed=2, rows=np.array(rows))
        for start in (0, 5, 5000):
            expected = whole.stack(start, start + 3)["index"][:, rows]
            assert np.array_equal(part.stack(start, start + 3)["index"], expected)


def test_without_shuffling_examples_come_in_order():
    batches = Batches(source_of(5), 2, seed=0, shuffle=False)
    assert all_indices(batches, 5).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


def test_repeated_examples_are_counted():
    batches = Batches(source_of(100), 32, seed=0)
    assert batches.examples_seen(10) == 320 and batches.epoch(10) == pytest.approx(3.2)
    assert [batches.unique_examples(step) for step in (0, 2, 3, 4, 10)] == [0, 64, 96, 100, 100]


class OneByOne:
    """A source without `gather`, as `tfds.data_source` is."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return {"index": np.array([index, index]), "label": index}


def test_sources_without_gather_are_stacked():
    stack = Batches(OneByOne(), 4, seed=0).stack(0, 5)
    assert stack["index"].shape == (5, 4, 2) and stack["label"].shape == (5, 4)
    assert np.array_equal(np.sort(stack["label"].reshape(-1)), np.arange(20))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 11}, "batch_size 11 is not between 1 and the 10 training examples"),
        ({"batch_size": 0}, "batch_size 0 is not between 1 and the 10 training examples"),
    ],
)
def test_impossible_batches(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        Batches(source_of(10), seed=0, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("processes", [1, 2])
def test_evaluation_sees_each_example_once(processes):
    rows = np.split(np.arange(4), processes)
    parts = [list(sequential_batches(source_of(10), 4, rows=its)) for its in rows]
    weighted = []
    for batches in zip(*parts, strict=True):
        batch = {name: np.concatenate([part[name] for part in batches]) for name in batches[0]}
        assert batch["index"].shape == (4,) and batch["example_weight"].dtype == np.float32
        weighted += batch["index"][batch["example_weight"] == 1].tolist()
    assert weighted == list(range(10))


@pytest.mark.parametrize(("limit", "expected"), [(4, [0, 25, 50, 75]), (1000, list(range(100)))])
def test_limited_evaluation_is_spread_over_the_source(limit, expected):
    batches = list(sequential_batches(source_of(100), 3, limit=limit))
    real = [b["index"][b["example_weight"] == 1] for b in batches]
    assert np.concatenate(real).tolist() == expected

"""The shuffle is a bijection, close to uniform, and never changes."""

import hashlib

import numpy as np
import pytest

from genlab.data.shuffle import shuffled


def epoch_of(length, seed, epoch):
    return shuffled(np.arange(epoch * length, (epoch + 1) * length), length, seed)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 31, 32, 33, 1000, 4097, 100_003])
def test_each_epoch_is_another_order_of_all_examples(length):
    orders = [epoch_of(length, 7, epoch) for epoch in range(3)]
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(length))
    if length > 10:
        assert all((orders[0] != other).mean() > 0.8 for other in (*orders[1:], epoch_of(length, 8, 0)))


def test_positions_do_not_depend_on_one_another():
    whole = np.concatenate([epoch_of(3001, 1, epoch) for epoch in range(3)])
    for some in ([9002, 0, 17, 17, 3000, 3001], [5999], [3001, 3002], [3000, 3001]):
        assert np.array_equal(shuffled(np.array(some), 3001, seed=1), whole[some])


def test_sources_larger_than_memory():
    length = 10**12 + 39
    order = shuffled(np.arange(100_000), length, seed=0)
    assert len(np.unique(order)) == len(order) and order.min() >= 0 and order.max() < length
    # Uniform over the source: the mean of n uniform numbers has a standard error of 1/sqrt(12 n).
    assert abs(order.mean() / length - 0.5) < 4 / np.sqrt(12 * len(order))


@pytest.mark.parametrize("length", [5, 8, 24])
def test_every_example_is_as_likely_at_every_position(length):
    epochs = 4000
    orders = shuffled(np.arange(epochs * length), length, seed=3).reshape(epochs, length)
    counts = np.stack([np.bincount(column, minlength=length) for column in orders.T])
    expected = epochs / length
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    freedom = (length - 1) ** 2
    assert abs(chi_squared - freedom) < 4 * np.sqrt(2 * freedom)


def test_neighbours_are_torn_apart():
    order = epoch_of(100_000, 0, 0)
    limit = 4 / np.sqrt(len(order))
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < limit
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < limit
    assert abs(np.corrcoef(order, epoch_of(100_000, 0, 1))[0, 1]) < limit


def test_the_order_is_the_same_for_ever():
    # A resumed run must see the batches it would have seen: this value may never change.
    order = epoch_of(1000, 5, 3).astype("<i8")
    assert hashlib.sha256(order).hexdigest()[:16] == "e7099bfa09c77d53"

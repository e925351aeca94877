"""Windows over a token stream lose nothing and repeat nothing."""

import numpy as np
import pytest

from genlab.data.sources import InMemory, Source, TokenWindows


@pytest.mark.parametrize("length", [2, 3, 8, 9, 10, 16, 17, 18, 100])
@pytest.mark.parametrize("sequence_length", [1, 4, 8, 200])
def test_every_token_but_the_first_is_a_target_once(length, sequence_length):
    stream = np.arange(100, 100 + length, dtype=np.uint8)
    windows = TokenWindows(stream, sequence_length)
    tokens = windows.gather(np.arange(len(windows)))["tokens"]
    assert tokens.dtype == np.uint8 and tokens.shape == (len(windows), sequence_length + 1)
    inputs, targets = tokens[:, :-1].reshape(-1), tokens[:, 1:].reshape(-1)
    assert np.array_equal(targets[: length - 1], stream[1:])
    assert np.array_equal(inputs[: length - 1], stream[:-1])
    assert len(targets) - (length - 1) < sequence_length and (targets[length - 1 :] == stream[-1]).all()


@pytest.mark.parametrize("length", [17, 20])
def test_gather_agrees_with_one_by_one(length):
    windows = TokenWindows(np.arange(length), 4)
    indices = np.array([3, 0, len(windows) - 1, 3])
    gathered = windows.gather(indices)["tokens"]
    for row, index in zip(gathered, indices, strict=True):
        assert np.array_equal(row, windows[index]["tokens"])
        start = 4 * index
        assert np.array_equal(row, [min(start + i, length - 1) for i in range(5)])
    with pytest.raises(IndexError):
        windows[len(windows)]


def test_batches_are_copies():
    stream = np.zeros(9, np.uint8)
    TokenWindows(stream, 4).gather(np.array([0]))["tokens"][:] = 1
    assert not stream.any()


def test_arrays_in_memory():
    source = InMemory(image=np.arange(12).reshape(3, 2, 2), label=np.array([4, 5, 6]))
    assert isinstance(source, Source) and len(source) == 3
    assert source[1]["label"] == 5 and source[1]["image"].tolist() == [[4, 5], [6, 7]]
    assert source.gather(np.array([2, 0]))["label"].tolist() == [6, 4]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InMemory(a=np.zeros(2), b=np.zeros(3)), "one length, not {'a': 2, 'b': 3}"),
        (lambda: TokenWindows(np.zeros(1, np.uint8), 4), "1 tokens are too few"),
    ],
)
def test_impossible_sources(make, message):
    with pytest.raises(ValueError, match=message):
        make()

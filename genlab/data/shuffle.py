"""An endless run over n examples, each epoch in its own random order, at any position without storing it.

The same few integer operations give the same order on every machine and with every NumPy (whose own
`permutation` may change between versions), for a thousand examples as for 10^12.
"""

import numpy as np

# 4 rounds make a pseudo-random permutation of wide blocks (Luby and Rackoff 1988, theorem 1); ours
# are as narrow as 1 bit a half: with 5 examples 6, 8 and 12 rounds leave the chance of an example at
# a position 7 %, 3 % and less than 1 % from 1/5 (20,000 epochs).
NUM_ROUNDS = 12


def shuffled(positions: np.ndarray, length: int, seed: int) -> np.ndarray:
    """The examples at `positions` [n] (from 0, without end) of a run over range(length): int64 [n].

    Epoch e is positions e length to (e + 1) length - 1, a permutation of all examples that depends
    on (seed, e). A Feistel network, whose two halves alternately XOR a keyed hash of the other, is a
    bijection of the 2^bits numbers that bits = bit_length(length - 1) can write. Numbers outside
    range(length) go through it again until they fall inside (cycle walking: Black and Rogaway 2002,
    "Ciphers with arbitrary finite domains", section 3): fewer than 2 passes on average.
    """
    epochs, values = np.divmod(np.asarray(positions, np.int64), length)
    keys = _keys(seed, epochs)
    bits = max(2, int(length - 1).bit_length())
    values = _feistel(values, bits, keys)
    outside = np.flatnonzero(values >= length)
    while outside.size:
        again = _feistel(values[outside], bits, keys if keys.shape[1] == 1 else keys[:, outside])
        values[outside] = again
        outside = outside[again >= length]
    return values


def _keys(seed: int, epochs: np.ndarray) -> np.ndarray:
    """A key for each round and position, [NUM_ROUNDS, n], or [NUM_ROUNDS, 1] within one epoch."""
    if epochs.size and epochs[0] == epochs[-1] and (epochs == epochs[0]).all():
        epochs = epochs[:1]
    first, *rounds = np.random.SeedSequence(seed).generate_state(1 + NUM_ROUNDS, np.uint32)
    return _mix(_mix(epochs.astype(np.uint32) ^ first) + np.array(rounds)[:, None])


def _feistel(values: np.ndarray, bits: int, keys: np.ndarray) -> np.ndarray:
    """One pass of the network over integers 0 <= values < 2^bits, bits <= 62."""
    right_bits = bits // 2
    left_bits = bits - right_bits
    left = (values >> right_bits).astype(np.uint32)
    right = (values & ((1 << right_bits) - 1)).astype(np.uint32)
    for key_left, key_right in zip(keys[::2], keys[1::2], strict=True):
        left ^= _mix(right ^ key_left) >> np.uint32(32 - left_bits)
        right ^= _mix(left ^ key_right) >> np.uint32(32 - right_bits)
    return (left.astype(np.int64) << right_bits) | right


def _mix(values: np.ndarray) -> np.ndarray:
    """A hash of uint32 [n]: MurmurHash3's finaliser (Appleby 2011), then a product for the top bits."""
    values = values ^ (values >> np.uint32(16))
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> np.uint32(16)
    values *= np.uint32(0x9E3779B1)
    return values

"""A random permutation of n examples, evaluated at any positions without storing it.

The same few integer operations give the same order on every machine and with every NumPy (whose own `permutation` may
change between versions), for a thousand examples as for 10^12.
"""

import numpy as np

NUM_ROUNDS = 8  # 4 make a pseudo-random permutation of a wide block (Luby and Rackoff 1988); ours are as narrow as 1 bit


def shuffled(positions: np.ndarray, length: int, seed: int, epoch: int) -> np.ndarray:
    """Where the epoch's permutation of range(length) puts `positions` [n], as int64 [n].

    A Feistel network whose two halves alternately XOR a keyed hash of the other is a bijection of the 2^bits numbers of
    `bits = bit_length(length - 1)`; numbers outside range(length) are sent through it again until they fall inside
    (cycle walking: Black and Rogaway 2002, "Ciphers with arbitrary finite domains", section 3), at most twice on average.
    """
    keys = np.random.SeedSequence([seed, epoch]).generate_state(NUM_ROUNDS, np.uint64)
    bits = max(2, int(length - 1).bit_length())
    values = _feistel(np.asarray(positions).astype(np.uint64), bits, keys)
    outside = np.flatnonzero(values >= length)
    while outside.size:
        again = _feistel(values[outside], bits, keys)
        values[outside] = again
        outside = outside[again >= length]
    return values.astype(np.int64)


def _feistel(values: np.ndarray, bits: int, keys: np.ndarray) -> np.ndarray:
    """One pass of the network over uint64 `values` < 2^bits."""
    right_bits = bits // 2
    left_bits = bits - right_bits
    left, right = values >> np.uint64(right_bits), values & np.uint64((1 << right_bits) - 1)
    for round_index, key in enumerate(keys):
        if round_index % 2 == 0:
            left = left ^ _hash(right, key, left_bits)
        else:
            right = right ^ _hash(left, key, right_bits)
    return (left << np.uint64(right_bits)) | right


def _hash(values: np.ndarray, key: np.uint64, bits: int) -> np.ndarray:
    """The top `bits` of a keyed hash: the multipliers of SplitMix64's finaliser (Steele et al. 2014, section 4)."""
    values = (values + key) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values >> np.uint64(64 - bits)

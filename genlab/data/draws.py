"""Random numbers of an example's place in a run: pure functions of a key, whoever else is in the batch.

A row of a batch has a key, a hash of (seed, position in the run). A transform hashes it on with a name of
its own, and draws by counter: so no transform's draws shift another's, a training run with RandAugment
crops as the one without it, and any number of hosts, of resumptions and of rows drawn together give the same
pixels. As in `shuffle`, a few integer operations do it, the same on every machine and with every NumPy.
"""

import zlib

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: SplitMix64's step (Steele, Lea and Flood 2014)


def row_keys(seed: int, positions: np.ndarray) -> np.ndarray:
    """Keys of rows by their `positions` (integers from 0, any shape) in a run of `seed`: uint64, same shape."""
    # Apart from the words that `shuffle` takes of the same seed.
    (start,) = np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1, np.uint64)
    return _mix(start + (np.asarray(positions).astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN))


def stream_keys(keys_B: np.ndarray, stream: str) -> np.ndarray:
    """Keys for draws that have nothing to do with those of another stream: uint64 [B]."""
    return _mix(keys_B ^ _mix(np.array([zlib.crc32(stream.encode())], np.uint64)))


def uniforms(keys_B: np.ndarray, count: int) -> np.ndarray:
    """Numbers in [0, 1), float64 [count, B]; more of them begin with the same as fewer."""
    counters = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return (_mix(keys_B + counters[:, None]) >> np.uint64(11)) * 2.0**-53


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's hash of uint64 (Steele, Lea and Flood 2014, figure 15, with Stafford's constants, variant 13)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

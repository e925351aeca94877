"""The edit distance of many pairs of sequences at once."""

import numpy as np


def edit_distances(a_NK: np.ndarray, a_lengths_N: np.ndarray, b_NM: np.ndarray, b_lengths_N: np.ndarray) -> np.ndarray:
    """Fewest insertions, deletions and replacements that make the one of the other (Levenshtein 1966): int [N].

    Row n of the first is a_NK[n, : a_lengths_N[n]], of the second likewise. The dynamic programme runs over the places
    of both, all pairs at a time (Wagner and Fischer 1974).
    """
    N, K = a_NK.shape
    M = b_NM.shape[1]
    table = np.zeros((K + 1, M + 1, N), int)
    table[:, 0] = np.arange(K + 1)[:, None]
    table[0, :] = np.arange(M + 1)[:, None]
    for i in range(1, K + 1):
        for j in range(1, M + 1):
            replaced = table[i - 1, j - 1] + (a_NK[:, i - 1] != b_NM[:, j - 1])
            table[i, j] = np.minimum(replaced, np.minimum(table[i - 1, j], table[i, j - 1]) + 1)
    return table[a_lengths_N, b_lengths_N, np.arange(N)]

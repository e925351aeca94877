"""How far two sides' gradients are apart."""

from typing import Any

import jax
import numpy as np

NEGLIGIBLE = 1e-3


def gradient_error(ours: Any, theirs: Any) -> float:
    """The largest difference of any parameter's gradient over the largest entry of its array.

    Of an array whose gradient is nothing but rounding, as of the keys' biases, over a thousandth of the largest of all.
    """
    largest = max(float(np.abs(array).max()) for array in jax.tree.leaves(theirs))
    errors = jax.tree.map(lambda a, b: float(np.abs(a - b).max() / max(np.abs(b).max(), NEGLIGIBLE * largest)), ours,
                          theirs)
    return max(jax.tree.leaves(errors))

"""The frontier against its definition."""

import itertools

import numpy as np

from genlab.scaling.approaches.frontier import frontier


def test_the_frontier_is_the_lower_convex_envelope():
    """Against the definition: no point below any chord of the envelope, and every loss an improvement."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        flops, loss = np.exp(rng.uniform(20, 30, 15)), np.exp(rng.uniform(0, 1, 15))
        best = frontier(flops, loss)
        assert best[0] == np.argmin(flops) and best[-1] == np.argmin(loss)
        x, y = np.log(flops), np.log(loss)
        assert (np.diff(x[best]) > 0).all() and (np.diff(y[best]) < 0).all()
        within = x <= x[best[-1]]
        envelope = np.interp(x[within], x[best], y[best])
        assert (y[within] >= envelope - 1e-12).all()
        slopes = np.diff(y[best]) / np.diff(x[best])
        assert (np.diff(slopes) > 0).all()


def test_the_pareto_frontier_is_the_runs_that_no_cheaper_one_outdoes():
    rng = np.random.default_rng(1)
    for _ in range(20):
        flops, loss = rng.choice([1.0, 2.0, 4.0, 8.0, 16.0], 12), rng.choice([1.0, 1.5, 2.0, 3.0], 12)
        best = frontier(flops, loss, convex=False)
        for i, j in itertools.pairwise(best):
            assert flops[i] < flops[j] and loss[i] > loss[j]
        for k in range(12):
            outdone = any(flops[i] <= flops[k] and loss[i] <= loss[k] for i in best)
            assert outdone
    bent = np.array([1.0, 2.0, 4.0]), np.array([3.0, 2.9, 1.0])  # concave at low compute, as a law that saturates there
    assert list(frontier(*bent)) == [0, 2] and list(frontier(*bent, convex=False)) == [0, 1, 2]

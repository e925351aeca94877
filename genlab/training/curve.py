"""The learning curve that a run record carries: training loss averaged in log-spaced bins of steps."""

import numpy as np


class LearningCurve:
    """Exact means of the per-step training loss between log-spaced steps.

    Args:
      steps: updates of the whole run; the bins depend on nothing else, so a resumed run fills the same.
      bins: how many at most. 48 bins from a hundredth of the run: each spans a tenth of a decade or less.
    """

    def __init__(self, steps: int, bins: int = 48):
        edges = np.ceil(np.geomspace(max(1, steps / 100), steps, bins)).astype(int)
        self.edges = np.unique(np.append(edges, steps))
        self.totals = np.zeros(len(self.edges))
        self.weights = np.zeros(len(self.edges))
        self.steps = np.zeros(len(self.edges))
        self.counts = np.zeros(len(self.edges))

    def add(self, step: int, totals_K: np.ndarray, weights_K: np.ndarray) -> None:
        """Adds K steps, the first of them being update number `step` + 1."""
        updates = np.arange(step + 1, step + 1 + len(totals_K))
        bins = np.searchsorted(self.edges, updates)
        for sums, values in ((self.totals, totals_K), (self.weights, weights_K),
                             (self.steps, updates), (self.counts, np.ones(len(updates)))):
            np.add.at(sums, bins, values)

    def points(self) -> list[tuple[int, float]]:
        """(mean step of the bin, mean loss) of every bin that has begun."""
        used = np.flatnonzero(self.weights > 0)
        means = self.totals[used] / self.weights[used]
        return [(round(s), float(m)) for s, m in zip(self.steps[used] / self.counts[used], means, strict=True)]

    def last(self) -> float | None:
        """Mean loss of the newest full bin, or of what there is of it."""
        points = self.points()
        return points[-1][1] if points else None

    def to_json(self) -> dict[str, list[float]]:
        """What a checkpoint must hold of it."""
        return {name: getattr(self, name).tolist() for name in ("totals", "weights", "steps", "counts")}

    def restore(self, saved: dict[str, list[float]]) -> None:
        """Takes over what `to_json` gave, for a run of the same length."""
        for name, values in saved.items():
            setattr(self, name, np.asarray(values, float))

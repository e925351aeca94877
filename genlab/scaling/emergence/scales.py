"""One metric of a task, scale by scale and seed by seed: what the tests and the shape of a curve read."""

import dataclasses

import numpy as np
import pandas as pd

from genlab.scaling.emergence.metrics import METRICS

_SAME = np.log(1.02)  # amounts of compute that differ by less are one scale
HISTORY = 6  # evaluations: a run with so many is a curve by itself


@dataclasses.dataclass(frozen=True, eq=False)
class Scales:
    """A metric of a task at S scales (amounts of compute, and sizes of model), with up to R seeds each.

    Attributes:
      task, metric: whose.
      flops: of each scale, ascending [S].
      share: 0 at chance, 1 for always right, [S, R]; NaN where a scale has fewer seeds.
      trials: questions that each is of, [S, R]; 0 where the metric counts none.
      error: standard errors of the shares, [S, R]; NaN where nobody knows.
      chance: the chance level, in the metric's own unit.
      params: parameters of each scale, [S]; NaN where nobody knows.
      run: which run each is of, [S, R], numbered from 0; -1 where there is none.
    """

    task: str
    metric: str
    flops: np.ndarray
    share: np.ndarray
    trials: np.ndarray
    error: np.ndarray
    chance: float
    params: np.ndarray
    run: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """The mean share at each scale, [S]."""
        return np.nanmean(self.share, axis=1)

    @property
    def seeds(self) -> np.ndarray:
        """Runs at each scale, int [S]."""
        return np.isfinite(self.share).sum(axis=1)

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """(log flops, share) of every value, [rows] each, in the order of the scales."""
        scale, seed = np.nonzero(np.isfinite(self.share))
        return np.log(self.flops)[scale], self.share[scale, seed]

    @property
    def row_runs(self) -> np.ndarray:
        """Which run each of `rows` is of, int [rows]."""
        return self.run[np.isfinite(self.share)]

    @property
    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """(right answers, questions) of each scale, int [S] each: those of one run, the mean over seeds."""
        seeds = np.maximum(self.seeds, 1)
        right, asked = self._right.sum(axis=1) / seeds, self.trials.sum(axis=1) / seeds
        return np.rint(right).astype(int), np.rint(asked).astype(int)

    @property
    def final_counts(self) -> tuple[np.ndarray, np.ndarray]:
        """(right answers, questions) of each run where it was evaluated last, int [runs] each, by compute."""
        scale, seed = np.nonzero(np.isfinite(self.share))
        last = {run: place for place, run in enumerate(self.run[scale, seed])}
        places = sorted(last.values())
        return tuple(np.rint(counts[scale, seed][places]).astype(int) for counts in (self._right, self.trials))

    @property
    def _right(self) -> np.ndarray:
        value = self.chance + np.nan_to_num(self.share) * (METRICS[self.metric].perfect - self.chance)
        return np.rint(value * self.trials)

    @property
    def histories(self) -> "list[Scales]":
        """The runs that were evaluated often, each with its own scales; [] where a run is a point."""
        runs, points = np.unique(self.run[self.run >= 0], return_counts=True)
        return [self._of_run(run) for run in runs[points >= HISTORY]]

    def _of_run(self, run: int) -> "Scales":
        scale, seed = np.nonzero(self.run == run)
        picked = {name: getattr(self, name)[scale, seed][:, None] for name in ("share", "trials", "error", "run")}
        return dataclasses.replace(self, flops=self.flops[scale], params=self.params[scale], **picked)

    def up_to(self, flops: float) -> "Scales":
        """The scales of no more than some compute."""
        return self.take(self.flops <= flops * (1 + 1e-9))

    def take(self, scales: np.ndarray) -> "Scales":
        """Some of the scales."""
        names = ("flops", "share", "trials", "error", "params", "run")
        return dataclasses.replace(self, **{name: getattr(self, name)[scales] for name in names})

    def thinned(self) -> "Scales":
        """Of runs with a history one evaluation a doubling of compute, the last: neighbours are no new evidence."""
        if not self.histories:
            return self
        doubling = np.broadcast_to(np.floor(np.log2(self.flops))[:, None], self.run.shape)
        keep = np.zeros(self.run.shape, dtype=bool)
        last = {(run, bin_): (i, j) for (i, j), run, bin_ in zip(
            np.ndindex(self.run.shape), self.run.ravel(), doubling.ravel(), strict=True) if run >= 0}  # fmt: skip
        keep[tuple(np.array(list(last.values())).T)] = True
        share = np.where(keep, self.share, np.nan)
        return dataclasses.replace(self, share=share).take(keep.any(axis=1))


def pool(rows: pd.DataFrame) -> Scales:
    """The scales of one metric of a task: rows of (nearly) one compute and one size are seeds of each other.

    Args:
      rows: of `Abilities.of`, sorted by compute.
    """
    logs = np.log(rows["flops"].to_numpy())
    sizes = rows["params"].fillna(0).to_numpy()
    run = pd.factorize(rows["run"])[0]
    scale = _scale_of(logs, sizes, run)
    first = np.unique(scale, return_index=True)[1]
    place = pd.Series(scale).groupby(scale).cumcount().to_numpy()
    shape = (len(first), int(place.max()) + 1)

    def spread(values, empty):
        found = np.full(shape, empty, dtype=np.asarray(values).dtype)
        found[scale, place] = values
        return found

    metric = METRICS[rows["metric"].iloc[0]]
    chance = rows["chance"].to_numpy()
    unit = np.abs(metric.perfect - chance)
    counted = rows["examples"].fillna(0).to_numpy() if metric.counts else np.zeros(len(rows))
    by_counting = np.sqrt(rows["value"] * (1 - rows["value"]) / counted) if metric.counts else np.nan
    error = rows["standard_error"].fillna(pd.Series(by_counting, index=rows.index)).to_numpy() / unit
    return Scales(
        task=rows["task"].iloc[0],
        metric=metric.name,
        flops=np.exp(pd.Series(logs).groupby(scale).mean().to_numpy()),
        share=spread(rows["share"].to_numpy(float), np.nan),
        trials=spread(counted, 0.0),
        error=spread(error, np.nan),
        chance=float(chance[0]),
        params=np.where(sizes[first] > 0, sizes[first], np.nan),
        run=spread(run, -1),
    )


def draw_runs(runs: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each row is in each resample of a bootstrap, int [resamples, rows].

    Whole runs are drawn, as the evaluations of one run are no independent evidence (the cluster bootstrap; Davison and
    Hinkley 1997, section 3.8); single rows of a table of one run.

    Args:
      runs: which run each row is of, [rows], any labels.
      resamples: how many.
      rng: draws.
    """
    names, run = np.unique(runs, return_inverse=True)
    run = run if len(names) > 1 else np.arange(len(run))
    clusters = int(run.max()) + 1
    drawn = rng.integers(clusters, size=(resamples, clusters))
    return np.stack([np.bincount(one, minlength=clusters)[run] for one in drawn])


def _scale_of(logs: np.ndarray, sizes: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """Which scale each row is of, [rows], ascending: of one size, near the first of it, and no run twice.

    However densely a run is evaluated, its evaluations are no seeds of each other.
    """
    open_scales: dict[float, tuple[int, float, set[int]]] = {}
    scale = np.empty(len(logs), int)
    count = 0
    for row, (log, size, run) in enumerate(zip(logs, sizes, runs, strict=True)):
        number, start, seen = open_scales.get(size, (-1, -np.inf, set()))
        if log - start > _SAME or run in seen:
            number, start, seen = open_scales[size] = (count, log, set())
            count += 1
        seen.add(run)
        scale[row] = number
    order = np.argsort(pd.Series(logs).groupby(scale).mean().to_numpy(), kind="stable")
    return np.argsort(order)[scale]

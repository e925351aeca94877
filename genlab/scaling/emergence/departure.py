"""Departure from chance: exact tests, corrected for every task and every scale that was looked at.

A table of many tasks and scales holds some score above chance by luck. Each scale of each task is tested against
chance, and the p-values of all of them together are adjusted by Holm's method (1979, Scandinavian Journal of Statistics
6): the probability that a table in which nothing has been learnt is said to hold any departure is at most alpha,
however the tests depend on each other.

Counted answers are tested by the exact binomial test. The seeds of a scale are asked the same questions, and models
that know nothing tend to give one answer to all of them, so that they share its luck: a scale counts as many questions
as one run, with the mean over its seeds. (Taken as independent, 5 seeds of 200 questions are called emergent in a
quarter of the tables of ten tasks whose models answer so.) A chance of 0 cannot be tested, one lucky answer refutes it;
no chance is taken to be less than 1 %. A departure that is certain need not matter: with 14,042 questions, half a
percent is certain. So a task is said to leave chance only where it also covers a tenth of the way from chance to always
right, above scales where it did not. That a task is flat, an upper bound says: of the largest runs together, each where
it was evaluated last, as many as have questions enough; there, guesses are taken to be independent.

Metrics that count nothing (log-probabilities) are tested by their standard errors in the same way: where they exceed
chance for certain and cover a tenth of the way. Where nobody knows the errors (BLEU in somebody's table), a rise is
tested for instead: Kendall's rank test (one-sided, with ties) of the values against compute, up to each scale.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from genlab.scaling.emergence.scales import Scales

LEAST_CHANCE = 0.01
_FEWEST_SCALES = 3  # for a rise


@dataclasses.dataclass(frozen=True, eq=False)
class Departure:
    """Whether and where one sharp metric of a task departs from chance.

    Attributes:
      flops, share, p: of each scale, ascending [S]; p is adjusted for all scales and tasks that were scanned.
      tests: how many that were.
      certain_from: the least compute at which it departs (p < alpha); NaN if nowhere.
      leaves_at: the least compute at which it departs and covers the share that matters; NaN if nowhere.
      leaves: whether it does, having been below that share at less compute.
      at_chance: scales below `leaves_at` (or of all, if that is nowhere) with less than that share.
      upper: 95 % upper bound (Clopper and Pearson) of the share of the largest runs, as many of them as have
        `questions` together, or all.
      asked: questions of those.
      questions: how many it takes to find a departure that covers that share, in nine cases of ten.
      below: scales that lie below chance by more than counting allows: the chance level is not what it should be.
    """

    flops: np.ndarray
    share: np.ndarray
    p: np.ndarray
    tests: int
    certain_from: float
    leaves_at: float
    leaves: bool
    at_chance: int
    upper: float
    asked: int
    questions: int
    below: int


def departures(
    scales: Mapping[str, Scales], alpha: float = 0.05, least_share: float = 0.1
) -> dict[str, Departure]:
    """Tests all scales of all tasks together.

    Args:
      scales: task -> a metric that counts right answers.
      alpha: the probability of any false departure in the whole table.
      least_share: of the way from chance to always right, for a departure to matter.
    """
    counts = {task: found.counts for task, found in scales.items()}
    p = {task: above_chance(*counts[task], scales[task].chance) for task in scales}
    adjusted = dict(zip(p, _split(holm(np.concatenate([*p.values(), []])), list(p.values())), strict=True))
    tests = sum(map(len, p.values()))
    return {
        task: _departure(found, *counts[task], adjusted[task], tests, alpha, least_share)
        for task, found in scales.items()
    }


def above_chance(right: np.ndarray, questions: np.ndarray, chance: float) -> np.ndarray:
    """One-sided p-values of the exact binomial test, of as many or more right answers by chance, [S]."""
    from scipy import special  # takes as long to import as all of genlab.scaling

    return special.bdtrc(right - 1.0, questions, max(chance, LEAST_CHANCE))


def holm(p: np.ndarray) -> np.ndarray:
    """p-values adjusted by Holm's method: those below alpha are rejected at a family-wise error of alpha."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def _split(values: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    return np.split(values, np.cumsum([len(part) for part in like])[:-1]) if len(like) else []


def _departure(scales: Scales, right, questions, p, tests: int, alpha: float, least_share: float) -> Departure:
    from scipy import special  # takes as long to import as all of genlab.scaling

    share = (right / np.maximum(questions, 1) - scales.chance) / (1 - scales.chance)
    certain, matters = p < alpha, (p < alpha) & (share >= least_share)
    leaves_at = float(scales.flops[matters][0]) if matters.any() else float("nan")
    before = (share < least_share) & ~(scales.flops >= leaves_at)
    null = max(scales.chance, LEAST_CHANCE)
    wanted = max(scales.chance + least_share * (1 - scales.chance), null)
    threshold = alpha / tests
    needed = _questions(null, wanted, threshold)
    ends, trials = scales.final_counts
    last = np.cumsum(trials[::-1])[::-1] < needed + trials  # from the largest run down, until there are enough
    asked = int(trials[last].sum())
    below = special.bdtr(right, questions, scales.chance)
    return Departure(
        flops=scales.flops,
        share=share,
        p=p,
        tests=tests,
        certain_from=float(scales.flops[certain][0]) if certain.any() else float("nan"),
        leaves_at=leaves_at,
        leaves=bool(matters.any() and before.any()),
        at_chance=int(before.sum()),
        upper=float((_upper(int(ends[last].sum()), asked) - scales.chance) / (1 - scales.chance)),
        asked=asked,
        questions=needed,
        below=int((below < threshold).sum()),
    )


def _upper(right: int, questions: int) -> float:
    from scipy import special  # takes as long to import as all of genlab.scaling

    return float(special.betaincinv(right + 1, questions - right, 0.95)) if right < questions else 1.0


@functools.cache
def _questions(null: float, wanted: float, threshold: float, power: float = 0.9) -> int:
    """How many questions give p < `threshold` with that probability where the true rate is `wanted`, to a tenth."""
    from scipy import special  # takes as long to import as all of genlab.scaling

    counts = np.unique(np.geomspace(10, 1e6, 121).astype(int))
    critical = np.ceil(special.bdtrik(1 - threshold, counts, null))  # more right answers than that are p < threshold
    enough = special.bdtrc(critical, counts, wanted) >= power
    return int(counts[int(np.argmax(enough))]) if enough.any() else int(counts[-1])


class Rise(NamedTuple):
    """Where a smooth metric begins to rise.

    Attributes:
      flops: the least compute at which it does for certain; NaN for nowhere.
      by_rank: whether ranks say so, because nobody knows the errors.
    """

    flops: float
    by_rank: bool


def rises(scales: Mapping[str, Scales], alpha: float = 0.05, least_share: float = 0.1) -> dict[str, Rise]:
    """Tests smooth metrics at all scales of all tasks together; arguments as for `departures`."""
    known = {name: bool(np.isfinite(one.error[np.isfinite(one.share)]).all()) for name, one in scales.items()}
    found = {name: (_exceeds if known[name] else _rise_p)(one, least_share) for name, one in scales.items()}
    adjusted = _split(holm(np.concatenate([*(p for _, _, p in found.values()), []])), [p for *_, p in found.values()])
    rise = {}
    for (name, (flops, matters, _)), p in zip(found.items(), adjusted, strict=True):
        good = matters & (p < alpha)
        rise[name] = Rise(float(flops[good][0]) if good.any() else float("nan"), not known[name])
    return rise


def _exceeds(scales: Scales, least_share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(flops, whether the share matters, p-value of its being no more than chance) of each scale."""
    from scipy import special  # takes as long to import as all of genlab.scaling

    variance = np.nansum(np.where(np.isfinite(scales.share), scales.error, np.nan) ** 2, axis=1)
    error = np.maximum(np.sqrt(variance / scales.seeds), 1e-12)  # of one run: seeds are asked the same questions
    return scales.flops, scales.mean >= least_share, special.ndtr(-scales.mean / error)


def _rise_p(scales: Scales, least_share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(flops, True, p-value of a rise up to there) of each scale from the third on.

    Values below the chance level count as at it: the format being learnt is no rise. Of a run with a history one
    evaluation a doubling counts.
    """
    scales = scales.thinned()
    x, y = scales.rows
    ends = np.cumsum(scales.seeds)[_FEWEST_SCALES - 1 :]
    return scales.flops[_FEWEST_SCALES - 1 :], np.ones(len(ends), bool), kendall(x, np.maximum(y, 0.0), ends)


def kendall(x: np.ndarray, y: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """One-sided p-values of Kendall's test that y rises with x, on the first `ends` entries, for each of them.

    Normal approximation with ties and continuity correction (Kendall 1970, Rank Correlation Methods, chapter 4).
    """
    from scipy import special  # takes as long to import as all of genlab.scaling

    x = np.round(x, 6)
    signs = np.tril(np.sign(x[:, None] - x) * np.sign(y[:, None] - y), -1)
    concordance = np.cumsum(signs.sum(axis=1))
    variance = np.array([_variance(x[:end], y[:end]) for end in ends])
    return special.ndtr(-(concordance[ends - 1] - 1) / np.sqrt(variance))


def _variance(x: np.ndarray, y: np.ndarray) -> float:
    """Of the number of concordant minus discordant pairs, where x and y are independent."""
    n = float(len(x))
    t, u = (np.unique(values, return_counts=True)[1].astype(float) for values in (x, y))
    pairs = [(c * (c - 1)).sum() for c in (t, u)]
    triples = [(c * (c - 1) * (c - 2)).sum() for c in (t, u)]
    first = (n * (n - 1) * (2 * n + 5) - sum((c * (c - 1) * (2 * c + 5)).sum() for c in (t, u))) / 18
    more = triples[0] * triples[1] / (9 * n * (n - 1) * (n - 2)) + pairs[0] * pairs[1] / (2 * n * (n - 1))
    return max(first + more, 1e-12)

"""Tables of abilities of known kind, judged by the analysis: how often it is right, and sees what is not there.

Each table has some tasks, scales a fixed factor apart, and seeds. Runs differ: each is as if it had a little more or
less compute. Answers are counted out of so many questions. What is planted, in shares of the way from chance:

  flat at chance           both metrics at chance; of the smooth one a run's value scatters. In half of the tasks whose
                           chance is not 0 models give one answer to all questions: the seeds of a scale the same
                           one, so that they share its luck in the questions
  smooth in both           both metrics follow one logistic curve, whose middle 80 % take four doublings or more
  sharp only in the metric the log-probability rises evenly, by 1.5 to 2 nats a doubling, for six or more; the answer is
                           right with that probability (Schaeffer et al. 2023, equation 1, with one token)
  sharp in both            both metrics follow one logistic curve, whose middle 80 % take half a doubling
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from genlab.scaling.emergence.departure import departures, rises
from genlab.scaling.emergence.scales import Scales
from genlab.scaling.emergence.verdict import FLAT, IN_METRIC, KINDS, SHARP, SMOOTH, Thresholds, Verdict, judge

PLANTED = (FLAT, SMOOTH, IN_METRIC, SHARP)
_CHANCES = (0.0, 0.25, 0.5)
_MIDDLE = 2 * np.log(9.0)  # a logistic curve goes from a tenth to nine tenths in so many of its widths
_RUNS_SCATTER = 0.15  # doublings of compute
_NOISE = 0.01  # of a smooth metric's share
_NATS = 12.0  # from chance to always right


@dataclasses.dataclass(frozen=True)
class Plan:
    """The tables that are drawn.

    Attributes:
      tables: of tasks at chance, and as many tasks of each other kind as these are tables.
      tasks: a table's.
      scales, seeds, questions: of each task.
      factor: of compute, between neighbouring scales.
      seed: of all draws.
    """

    tables: int = 1000
    tasks: int = 10
    scales: int = 8
    seeds: int = 5
    questions: int = 200
    factor: float = 2.0
    seed: int = 0

    def __post_init__(self):
        for name, least in (("tables", 1), ("tasks", 1), ("scales", 3), ("seeds", 1), ("questions", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")
        if self.factor <= 1:
            raise ValueError(f"factor={self.factor} must be more than 1")


@dataclasses.dataclass(frozen=True, eq=False)
class Simulated:
    """What the analysis made of them.

    Attributes:
      plan: what was drawn.
      verdicts: planted kind -> kind that was found -> how many tasks.
      tables_departing: share of the tables at chance in which some scale of some task departs from chance.
      tables_emergent: share of them in which some task is called emergent.
      tables_rising: share of them in which some task is said to rise underneath.
    """

    plan: Plan
    verdicts: dict[str, dict[str, int]]
    tables_departing: float
    tables_emergent: float
    tables_rising: float

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON."""
        return {**vars(self), "plan": dataclasses.asdict(self.plan)}

    def right(self, kind: str) -> float:
        """The share of the tasks of a planted kind that were judged to be of that kind."""
        return self.verdicts[kind][kind] / max(sum(self.verdicts[kind].values()), 1)


def simulate(plan: Plan, thresholds: Thresholds | None = None) -> Simulated:
    """Draws the tables and judges them, by the same code as any table."""
    rng = np.random.default_rng(plan.seed)
    thresholds = thresholds or Thresholds(resamples=100)
    null = [_judge([draw(FLAT, plan, rng) for _ in range(plan.tasks)], thresholds) for _ in range(plan.tables)]
    found = {FLAT: _counts([verdict for table in null for verdict in table])}
    for kind in PLANTED[1:]:
        verdicts: list[Verdict] = []
        while len(verdicts) < plan.tables:
            size = min(plan.tasks, plan.tables - len(verdicts))
            verdicts += _judge([draw(kind, plan, rng) for _ in range(size)], thresholds)
        found[kind] = _counts(verdicts)
    return Simulated(
        plan,
        found,
        *(
            float(np.mean([any(map(says, table)) for table in null]))
            for says in (_departs, lambda verdict: verdict.emergent, lambda verdict: verdict.rising)
        ),
    )


def draw(kind: str, plan: Plan, rng: np.random.Generator) -> tuple[Scales, Scales]:
    """The sharp and the smooth metric of one task of a kind."""
    shape = (plan.scales, plan.seeds)
    doublings = np.log2(plan.factor) * np.arange(plan.scales)
    at = doublings[:, None] + _RUNS_SCATTER * rng.standard_normal(shape)
    sharp, smooth = _shares(kind, at, doublings[-1], rng)
    chance = 0.0 if kind == IN_METRIC else float(rng.choice(_CHANCES))
    # A guesser is right now and then even where the chance is called 0.
    rate = np.clip(chance + sharp * (1 - chance), 0.01 if chance == 0 and kind == FLAT else 0.0, 1.0)
    right = rng.binomial(plan.questions, rate) / plan.questions
    if kind == FLAT and chance > 0 and rng.random() < 0.5:
        answers = round(1 / chance)
        how_often = rng.multinomial(plan.questions, [chance] * answers) / plan.questions
        right = np.broadcast_to(how_often[rng.integers(answers, size=(plan.scales, 1))], shape)
    common = {
        "task": kind, "flops": 1e18 * 2.0**doublings, "params": np.full(plan.scales, np.nan),
        "run": np.arange(right.size).reshape(shape),
    }  # fmt: skip
    error = np.sqrt(right * (1 - right) / plan.questions) / (1 - chance)
    noisy = smooth + _NOISE * rng.standard_normal(shape)
    counted = Scales(metric="exact_match", share=(right - chance) / (1 - chance), chance=chance, error=error,
                     trials=np.full(shape, float(plan.questions)), **common)  # fmt: skip
    return counted, Scales(metric="log_probability", share=noisy, chance=-_NATS, error=np.full(shape, _NOISE),
                           trials=np.zeros(shape), **common)  # fmt: skip


def _shares(kind: str, at: np.ndarray, span: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """True shares of both metrics of runs at so many doublings of compute."""
    if kind == FLAT:
        return np.zeros_like(at), np.zeros_like(at)
    if kind == IN_METRIC:
        nats = np.minimum(rng.uniform(1.5, 2.0) * (at - rng.uniform(0.9, 1.0) * span), -0.02)
        return np.exp(nats), np.maximum(1 + nats / _NATS, 0.0)
    middle = rng.uniform(0.4, 0.7) * span
    width = (rng.uniform(4.0, 5.0) if kind == SMOOTH else 0.5) / _MIDDLE
    share = rng.uniform(0.85, 1.0) / (1 + np.exp(-(at - middle) / width))
    return share, share


def _judge(tasks: Sequence[tuple[Scales, Scales]], thresholds: Thresholds) -> list[Verdict]:
    names = [f"task {number}" for number in range(len(tasks))]
    sharp, smooth = (dict(zip(names, scales, strict=True)) for scales in zip(*tasks, strict=True))
    departed = departures(sharp, thresholds.alpha, thresholds.least_share)
    risen = rises(smooth, thresholds.alpha, thresholds.least_share)
    return [judge(name, departed[name], sharp[name], smooth[name], risen[name], thresholds) for name in names]


def _departs(verdict: Verdict) -> bool:
    return verdict.numbers["departure"]["certain_from"] is not None


def _counts(verdicts: Sequence[Verdict]) -> dict[str, int]:
    return {kind: sum(verdict.kind == kind for verdict in verdicts) for kind in KINDS}

"""Whether a classifier's confidence is its accuracy."""

import dataclasses
from typing import Any

import numpy as np

from genlab.configuration import ConfigError
from genlab.objectives.metric import Estimate
from genlab.objectives.probes import Collect


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Expected calibration error and Brier score: "calibration_error", "brier_score".

    Attributes:
      bins: of equal width of the confidence (Guo et al. 2017, arXiv 1706.04599, eq. 3; their 15).
      held_out_examples: 0 for all.
      resamples: bootstrap resamples of the examples, for the calibration error's standard error.
    """

    bins: int = 15
    held_out_examples: int = 0
    resamples: int = 200

    def check(self, objective: Any, data: Any) -> None:
        """See genlab/objectives/probes.py."""
        if not hasattr(objective, "probabilities"):
            raise ConfigError(f"calibration reads probabilities, of which {type(objective).__name__} gives none")

    def run(self, collect: Collect) -> dict[str, Estimate]:
        """See genlab/objectives/probes.py."""
        found = collect("held_out", ("probabilities",), self.held_out_examples)
        p_NK, labels_N = found["probabilities"].astype(np.float64), found["label"]
        correct_N = p_NK.argmax(axis=-1) == labels_N
        brier_N = np.square(p_NK - np.eye(p_NK.shape[-1])[labels_N]).sum(axis=-1)
        return {
            "calibration_error": calibration_error(p_NK.max(axis=-1), correct_N, self.bins, self.resamples),
            "brier_score": Estimate(float(brier_N.mean()), float(brier_N.std(ddof=1) / np.sqrt(len(brier_N)))),
        }


def calibration_error(confidence_N: np.ndarray, correct_N: np.ndarray, bins: int = 15,
                      resamples: int = 200) -> Estimate:
    """sum over bins of the confidence |sum of (correct - confidence)| / N, with its bootstrap standard error."""
    bins_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    gaps_N = correct_N - confidence_N

    def error(bins_N, gaps_N) -> float:
        return float(np.abs(np.bincount(bins_N, gaps_N, bins)).sum() / len(gaps_N))

    random = np.random.default_rng(0)
    again = [error(bins_N[i], gaps_N[i])
             for i in (random.integers(len(gaps_N), size=len(gaps_N)) for _ in range(resamples))]
    return Estimate(error(bins_N, gaps_N), float(np.std(again, ddof=1)))

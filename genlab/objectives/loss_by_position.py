"""The loss by a token's place in the sequence: how much more a model can tell from a longer past."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError
from genlab.objectives.metric import Estimate, ratio_estimate
from genlab.objectives.next_token import NextToken
from genlab.objectives.probes import Collect


@dataclasses.dataclass(frozen=True)
class LossByPosition:
    """Held-out loss, nats per token, of targets by their place: "loss_by_position/{first}_to_{last}" of each bin.

    A target's place is the number of tokens that it is told from. "loss_by_position/in_context_score" is the loss at
    `late` places less that at `early` ones (Olsson et al. 2022, arXiv 2209.11895, "in-context learning score", there
    the 500th less the 50th token of 512): the more a model learns in context, the further below 0.

    Attributes:
      bins: so many, their edges evenly spaced in the logarithm of the place where `logarithmic`; neighbours that would
        hold no place of their own fall together.
      logarithmic: else in the place itself.
      early, late: places of the score, as shares of the sequence; mean over a twentieth of the sequence around them.
      held_out_examples: 0 for all.
    """

    bins: int = 8
    logarithmic: bool = True
    early: float = 0.1
    late: float = 0.975
    held_out_examples: int = 512

    def check(self, objective: Any, data: Any) -> None:
        """See genlab/objectives/probes.py."""
        if not isinstance(objective, NextToken):
            raise ConfigError(f"losses by position are of next-token prediction, not of {type(objective).__name__}")
        if self.bins < 1:
            raise ConfigError(f"bins={self.bins} must be at least 1")
        if not 0 < self.early < self.late < 1:
            raise ConfigError(f"early={self.early} and late={self.late} must be shares of a sequence in that order, "
                              "between 0 and 1")

    def run(self, collect: Collect) -> dict[str, Estimate]:
        """See genlab/objectives/probes.py."""
        found = collect("held_out", losses_of, self.held_out_examples)
        losses_NT, weights_NT = found["losses"].astype(np.float64), found["weights"].astype(np.float64)
        said = {}
        for first, stop in itertools.pairwise(self.edges(losses_NT.shape[1])):
            weights = weights_NT[:, first - 1:stop - 1]
            if weights.any():
                totals_N = (losses_NT[:, first - 1:stop - 1] * weights).sum(axis=-1)
                said[f"loss_by_position/{first}_to_{stop - 1}"] = ratio_estimate(totals_N, weights.sum(axis=-1))
        return said | self._score(losses_NT, weights_NT)

    def edges(self, length: int) -> list[int]:
        """First places of the bins, from 1, and the place after the last."""
        edges = np.geomspace(1, length + 1, self.bins + 1) if self.logarithmic else np.linspace(1, length + 1,
                                                                                                self.bins + 1)
        return sorted(set(np.round(edges).astype(int).tolist()))

    def _score(self, losses_NT: np.ndarray, weights_NT: np.ndarray) -> dict[str, Estimate]:
        """Of the examples that have targets at both places: the difference is taken within each."""
        T = losses_NT.shape[1]
        means = []
        for share in (self.late, self.early):
            half = max(T // 40, 0)
            middle = min(max(round(share * T) - 1, half), T - 1 - half)
            places = slice(middle - half, middle + half + 1)
            weight_N = weights_NT[:, places].sum(axis=-1)
            means.append((losses_NT[:, places] * weights_NT[:, places]).sum(axis=-1)
                         / np.where(weight_N > 0, weight_N, np.nan))
        difference_N = means[0] - means[1]
        difference_N = difference_N[np.isfinite(difference_N)]
        if not len(difference_N):
            return {}
        return {"loss_by_position/in_context_score": ratio_estimate(difference_N, np.ones(len(difference_N)))}


def losses_of(objective: NextToken, variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The loss of every target of a batch, and whether it counts: [B, T] each."""
    losses_BT = -objective.outputs(variables, batch)["log_probability"]
    weights = batch["loss_mask"][:, 1:] if "loss_mask" in batch else jnp.ones_like(losses_BT)
    return {"losses": losses_BT, "weights": weights.astype(jnp.float32)}

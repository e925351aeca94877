"""Whether seeds of one scale fall into two camps: some have the ability, others do not.

Near a threshold the mean over seeds is the share of seeds that have crossed it, and rises smoothly although every run
jumps. So seeds are drawn singly, and a scale is reported whose seeds lie on both sides of a gap of half of the task's
rise, wider than the errors of counting explain.
"""

import dataclasses

import numpy as np

from genlab.scaling.emergence.scales import Scales

_GAP = 0.5  # of the task's rise
_ERRORS = 4.0  # standard errors that the gap must exceed, at the least
FEWEST_SEEDS = 3


@dataclasses.dataclass(frozen=True)
class Bimodal:
    """A scale whose seeds fall into two camps.

    Attributes:
      flops, params: of the scale; params NaN where nobody knows.
      low, high: mean shares of the two camps.
      seeds_low, seeds_high: how many seeds are in each.
      gap: between the camps, as a share of the task's rise.
    """

    flops: float
    params: float
    low: float
    high: float
    seeds_low: int
    seeds_high: int
    gap: float


def bimodal_scales(scales: Scales) -> list[Bimodal]:
    """The scales whose seeds fall into two camps; scales of fewer than three seeds cannot tell."""
    rise = float(np.nanmax(scales.share) - np.nanmin(scales.mean))
    found = []
    for s in np.flatnonzero(scales.seeds >= FEWEST_SEEDS):
        order = np.argsort(scales.share[s])[: scales.seeds[s]]
        share, error = scales.share[s][order], np.nan_to_num(scales.error[s][order])
        cut = int(np.argmax(np.diff(share)))
        gap = float(share[cut + 1] - share[cut])
        if rise > 0 and gap >= _GAP * rise and gap > _ERRORS * np.hypot(error[cut], error[cut + 1]):
            found.append(Bimodal(
                float(scales.flops[s]), float(scales.params[s]), float(share[: cut + 1].mean()),
                float(share[cut + 1 :].mean()), cut + 1, len(share) - cut - 1, gap / rise,
            ))  # fmt: skip
    return found


def transition_scales(scales: Scales) -> int:
    """Scales with enough seeds whose mean is neither below a fifth nor above four fifths of the rise."""
    low, high = float(np.nanmin(scales.mean)), float(np.nanmax(scales.mean))
    share = (scales.mean - low) / max(high - low, 1e-12)
    return int(((share > 0.2) & (share < 0.8) & (scales.seeds >= FEWEST_SEEDS)).sum())

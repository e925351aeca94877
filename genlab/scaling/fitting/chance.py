"""Whether a task has left chance: what a sigmoid through its accuracies may be believed.

A sigmoid fits a task that stays at chance as well as anything does, with any slope and any midpoint.
"""

import numpy as np

from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.runs import Runs

# How much a sigmoid must lower the sum of squares, in units of the residual variance, to be more than noise
# fitted: 1,000 simulated tasks flat at chance lowered it by 9 to 15 in the 99.9th percentile (30 to 500 runs).
_MORE_THAN_NOISE = 15.0
_HARDLY = 2.0  # scatters of a single run


def chance_warnings(fit: Fit, runs: Runs) -> list[str]:
    """What is wrong with a fitted sigmoid of accuracy, in words; nothing for other laws.

    Args:
      fit: of a law with a ceiling and a chance (`laws.accuracy`).
      runs: the rows that were fitted.
    """
    if not {"chance", "ceiling"} <= set(fit.law.parameter_names):
        return []
    name = fit.law.inputs[0]
    at, measured = runs.column(name), runs.column(fit.law.response)
    best, worst = (np.argmin(at), np.argmax(at)) if name == "loss" else (np.argmax(at), np.argmin(at))
    ends = fit.predict(**{name: at[[worst, best]]})
    rise, scatter = float(ends[1] - ends[0]), max(fit.residual_scatter, 1e-12)
    lowered = (np.sum((measured - measured.mean()) ** 2) - np.sum(fit.residuals**2)) / scatter**2
    chance = fit.parameters["chance"]
    if lowered < _MORE_THAN_NOISE:
        return [
            f"flat: {fit.law.response} {measured.min():.3g} to {measured.max():.3g} cannot be told from a constant "
            f"(chance {chance:.3g}, scatter {scatter:.2g}); slope and midpoint of the sigmoid mean nothing, and "
            "nothing follows for better models"
        ]
    if rise <= 0:
        return [f"{fit.law.response} falls by {-rise:.3g} from the worst run to the best: no sigmoid of progress"]
    found = []
    if rise < _HARDLY * scatter:
        found.append(
            f"{fit.law.response} rises by {rise:.2g} over the table, {rise / scatter:.1f} times the scatter of a run: "
            "slope and midpoint are hardly identifiable"
        )
    ceiling = fit.parameters["ceiling"]
    if ends[1] - chance < 0.5 * (ceiling - chance):
        found.append(
            f"no run is half way from chance to the ceiling ({ceiling:.3g}): ceiling and midpoint are extrapolated"
        )
    return found

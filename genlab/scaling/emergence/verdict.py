"""The verdict on a task, in words, with the numbers it rests on.

  flat at chance           no scale departs from chance by a share that matters, and enough questions were asked to tell
  smooth in both           the sharp metric rises, and neither metric makes half of its rise within one doubling of
                           compute ("smooth in the one metric" in a table without a smooth one)
  sharp only in the metric the sharp metric makes half of its rise within a doubling, the smooth metric does not
  sharp in both            both do
  undecided                anything else, with what would decide: seeds, scales, questions, or a smooth metric

A task that is flat at chance in the sharp metric may be rising underneath, in the smooth one. A task is emergent, as
Wei et al. 2022 (arXiv 2206.07682, section 2) use the word, where its sharp metric leaves chance at a scale of the
table; whether it does so smoothly is what the five kinds tell.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from genlab.scaling.emergence.bimodality import bimodal_scales, transition_scales
from genlab.scaling.emergence.departure import Departure, Rise
from genlab.scaling.emergence.scales import Scales
from genlab.scaling.emergence.sharpness import SHARP_SHARE, Sharpness, sharpness

FLAT, SMOOTH, SMOOTH_ALONE, IN_METRIC, SHARP, UNDECIDED = KINDS = (
    "flat at chance", "smooth in both", "smooth in the one metric", "sharp only in the metric", "sharp in both",
    "undecided",
)  # fmt: skip
_AGREEMENT = 0.8  # of the resamples must be on one side of the line between sharp and smooth
_MOST_SEEDS = 50


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is to be said of one task.

    Attributes:
      task: its name.
      kind: one of `KINDS`.
      words: sentences.
      emergent: whether the sharp metric leaves chance at a scale of the table.
      rising: whether it is flat at chance while the smooth metric rises.
      needed: what would decide; "" where it is decided.
      sharp, smooth: the metrics it rests on; "" for none.
      numbers: what it rests on, as JSON: `departure`, `sharpness` and `smooth_sharpness` (see the classes of these
        names; None where there is no rise), `rises_from` (FLOPs from which the smooth metric's rise is certain),
        `gain_before` (the share of the smooth metric's rise that was made where the sharp one left chance), `bimodal`.
    """

    task: str
    kind: str
    words: str
    emergent: bool
    rising: bool
    needed: str
    sharp: str
    smooth: str
    numbers: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What counts.

    Attributes:
      alpha: the probability that a table in which nothing is learnt is said to hold a departure.
      least_share: of the way from chance to always right, for a departure or a rise to matter.
      sharp_share: of the rise within one doubling, to be sharp.
      resamples: of a bootstrap.
      seed: of the resamples.
    """

    alpha: float = 0.05
    least_share: float = 0.1
    sharp_share: float = SHARP_SHARE
    resamples: int = 200
    seed: int = 0


def judge(
    task: str,
    departure: Departure,
    sharp: Scales,
    smooth: Scales | None,
    rise: Rise,
    thresholds: Thresholds,
) -> Verdict:
    """Decides on one task.

    Args:
      task: its name.
      departure: of the sharp metric.
      sharp, smooth: the two metrics' scales; None where the table has no smooth one.
      rise: where the smooth metric begins to.
      thresholds: what counts.
    """
    settings = {"least_rise": thresholds.least_share, "line": thresholds.sharp_share,
                "resamples": thresholds.resamples, "seed": thresholds.seed}  # fmt: skip
    rises_from = rise.flops
    has_left = not math.isnan(departure.leaves_at)
    shape = sharpness(sharp, **settings) if has_left else None
    smooth_shape = None
    if smooth is not None and (has_left or not math.isnan(rises_from)):
        smooth_shape = sharpness(smooth, **settings)
    bimodal = bimodal_scales(sharp) if has_left else []
    numbers = {
        "departure": _json(departure),
        "sharpness": _json(shape),
        "smooth_sharpness": _json(smooth_shape),
        "rises_from": _finite(rises_from),
        "gain_before": _gain_before(smooth, departure.leaves_at),
        "bimodal": [_json(one) for one in bimodal],
    }
    names = {"sharp": sharp.metric, "smooth": "" if smooth is None else smooth.metric}
    rising = smooth_shape is not None and not math.isnan(rises_from)
    if not has_left:
        kind, words, needed = _flat(departure, sharp, names["smooth"], smooth_shape if rising else None, rises_from)
        return Verdict(task, kind, words, False, rising and kind == FLAT, needed, **names, numbers=numbers)
    kind, words, needed = _rise(departure, sharp, smooth, shape, smooth_shape, bimodal, thresholds)
    early = _foretelling(departure, names["smooth"], rise, numbers["gain_before"])
    return Verdict(task, kind, f"{words}{early}", departure.leaves, False, needed, **names, numbers=numbers)


def _flat(departure: Departure, sharp: Scales, smooth: str, rise: Sharpness | None, rises_from: float):
    """Of a task whose sharp metric nowhere departs by a share that matters."""
    best, least_p = float(departure.share.max()), float(departure.p.min())
    chance = f"chance ({sharp.chance:.3g})"
    certain = "" if math.isnan(departure.certain_from) else (
        f" Some departure from that level is certain (p {least_p:.1g}), but none that matters."
    )  # fmt: skip
    told = (
        f"{sharp.metric} stays near {chance} at all {len(departure.flops)} scales: at most {best:.1%} of the way to "
        f"always right, least p {least_p:.2g} after Holm's correction for {departure.tests} tests.{certain}"
    )
    below = ""
    if departure.below:
        below = f" {departure.below} scales lie below chance for certain: is the chance level right?"
    if rise is not None:
        told += f" Underneath, {smooth} rises from {rises_from:.3g} FLOPs on, by {rise.rise:.0%} of its way."
    least = np.clip(departure.upper, 0, 1)
    if departure.asked < departure.questions:
        needed = (
            f"{math.ceil(departure.questions / max(departure.asked, 1))} times as many questions, or seeds to call it "
            f"flat: {departure.questions} questions would find a departure that matters, {departure.asked} were asked"
        )
        return UNDECIDED, told + f" {departure.asked} questions are too few to call it flat.", needed
    return FLAT, told + f" The largest runs together are below {least:.1%} with 95 % confidence.{below}", ""


def _rise(departure, sharp: Scales, smooth: Scales | None, shape, smooth_shape, bimodal: list, thresholds: Thresholds):
    """Of a task whose sharp metric departs from chance."""
    where = (
        f"{sharp.metric} leaves chance ({sharp.chance:.3g}) at {departure.leaves_at:.3g} FLOPs, "
        f"{_scales(departure.at_chance)} below that at chance (p < {thresholds.alpha:g} after Holm's correction for "
        f"{departure.tests} tests)"
        if departure.leaves
        else f"{sharp.metric} is above chance ({sharp.chance:.3g}) from the smallest scale on"
    )
    if shape is None:
        needed = f"scales beyond {departure.flops[-1]:.3g} FLOPs"
        if not departure.leaves:
            needed = f"scales below {departure.flops[0]:.3g} FLOPs, or {needed}"
        return UNDECIDED, f"{where}, and does not rise by a share that matters.", needed
    is_sharp, reason = _is_sharp(shape, sharp, bimodal, thresholds)
    words = f"{where}. {_share(sharp.metric, shape)}"
    if bimodal:
        one = bimodal[0]
        words += (f"; at {len(bimodal)} scales seeds fall into two camps (at {one.flops:.3g} FLOPs {one.seeds_low} at "
                  f"{one.low:.0%}, {one.seeds_high} at {one.high:.0%})")  # fmt: skip
    if smooth is None:
        if is_sharp is False:
            return SMOOTH_ALONE, f"{words}: smooth in the one metric that there is.", ""
        needed = reason or "a smooth metric of the same answers, such as their log-probability"
        return UNDECIDED, f"{words}; the table has no smooth metric of it.", needed
    if smooth_shape is None:
        return UNDECIDED, f"{words}; {smooth.metric} does not rise by a share that matters.", "another smooth metric"
    smooth_bimodal = bimodal_scales(smooth)
    smooth_is_sharp, smooth_reason = _is_sharp(smooth_shape, smooth, smooth_bimodal, thresholds)
    words += f". {_share(smooth.metric, smooth_shape)}"
    if is_sharp is None or smooth_is_sharp is None:
        return UNDECIDED, f"{words}.", "; ".join(dict.fromkeys(filter(None, (reason, smooth_reason))))
    if smooth_is_sharp and not is_sharp:
        return UNDECIDED, f"{words}: sharp in the smooth metric alone.", "another smooth metric"
    kind = (SHARP if smooth_is_sharp else IN_METRIC) if is_sharp else SMOOTH
    return kind, f"{words}: {kind}.", ""


def _is_sharp(
    shape: Sharpness, scales: Scales, bimodal: list, thresholds: Thresholds
) -> tuple[bool | None, str]:
    """Whether a rise is sharp; None with what would decide."""
    line = thresholds.sharp_share
    camps = bool(bimodal) and 2 * len(bimodal) >= transition_scales(scales)
    found = shape.index >= line or camps
    if shape.hidden and not found:
        return None, f"scales between {shape.start:.3g} and {shape.end:.3g} FLOPs: the step between two is too wide"
    if not camps and shape.agreement < _AGREEMENT:
        return None, f"{scales.metric}: {_more_seeds(shape, scales, line)}"
    if found and not shape.levelled:
        return None, f"scales beyond {scales.flops[-1]:.3g} FLOPs: {scales.metric} has made {shape.top:.0%} of its way"
    return found, ""


def _more_seeds(shape: Sharpness, scales: Scales, line: float) -> str:
    """How many would take the interval's end to the line between sharp and smooth, if it shrinks as 1 / sqrt(seeds)."""
    low, high = shape.interval
    seeds, name = int(np.median(scales.seeds)), "seeds a scale"
    if scales.histories:
        seeds, name = shape.curves, "runs that show the rise"
    reach = high - shape.index if shape.index < line else shape.index - low
    wanted = max(math.ceil(max(seeds, 1) * (reach / max(abs(shape.index - line), 1e-3)) ** 2), seeds + 1)
    if wanted > _MOST_SEEDS:
        span = f"{shape.start:.3g} to {shape.end:.3g} FLOPs"
        return f"more scales within {span}, more than {_MOST_SEEDS} {name} otherwise"
    return f"about {wanted} {name}, where there are {seeds}"


def _share(metric: str, shape: Sharpness) -> str:
    low, high = shape.interval
    within = "a doubling" if shape.factor < 2.05 else f"one step between scales (x{shape.factor:.3g})"
    runs = f", median of {shape.curves} runs" if shape.curves > 1 else ""
    certain = f"90 %: {low:.0%} to {high:.0%}{runs}"
    return f"{metric} makes {shape.index:.0%} of its rise within {within} of compute ({certain})"


def _foretelling(departure: Departure, smooth: str, rise: Rise, gain_before: float | None) -> str:
    if not smooth or math.isnan(rise.flops) or not departure.leaves:
        return ""
    ahead = (departure.certain_from if rise.by_rank else departure.leaves_at) / rise.flops
    what = "rises for certain from" if rise.by_rank else "leaves its own chance level at"
    when = f"x{ahead:.3g} before" if ahead > 1.01 else "no earlier than"
    made = "" if gain_before is None else f"; it had made {gain_before:.0%} of its rise before that"
    return f" {smooth} {what} {rise.flops:.3g} FLOPs, {when} the sharp metric does{made}."


def _gain_before(smooth: Scales | None, leaves_at: float) -> float | None:
    """The share of the smooth metric's rise that was made where the sharp one left chance, at the scale before it."""
    if smooth is None or math.isnan(leaves_at) or not (smooth.flops < leaves_at).any():
        return None
    mean = np.maximum.accumulate(np.maximum(smooth.mean, 0.0))
    rise = mean[-1] - mean[0]
    before = mean[smooth.flops < leaves_at][-1] - mean[0]
    return float(before / rise) if rise > 0 else None


def _scales(count: int) -> str:
    return f"{count} scale{'s' * (count != 1)}"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _json(found: Any) -> dict[str, Any] | None:
    """A dataclass of numbers and arrays as JSON; what is not finite becomes None."""
    if found is None:
        return None
    return {name: _plain(value) for name, value in vars(found).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(entry) for entry in value.tolist()]
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return _finite(value) if isinstance(value, float) else value


def counted(verdicts: Mapping[str, Verdict]) -> dict[str, int]:
    """How many tasks are of each kind."""
    return {kind: sum(verdict.kind == kind for verdict in verdicts.values()) for kind in KINDS}

"""What the approaches to compute-optimality say, side by side, and where they disagree."""

import dataclasses
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

_FAR_APART = 1.5  # estimates whose intervals overlap, but which differ by more than this factor, are told


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What one approach says of N_opt(C) and D_opt(C).

    Attributes:
      approach: 1, 2 or 3.
      name: "envelope", "isoflop parabola", "isoflop akima", or "parametric LAW".
      unavailable: why the approach says nothing, in words; then the numbers below are empty.
      exponent, tokens_exponent: of N_opt(C) and D_opt(C); over the table's range of FLOPs where a law is no
        power law of C.
      exponent_interval_95, tokens_exponent_interval_95: NaN where the approach has none.
      budgets: one dict a budget: flops, extrapolation (over the largest FLOPs of the table), params, tokens,
        tokens_per_param, and interval_95 with the ends of each.
      curve: flops, params, low, high over the table's range and the budgets, for figures, [41] each.
      points: flops, params of what the approach rests on: best runs of the envelope, minima.
      refused: what was not used, and why.
      warnings: in words.
    """

    approach: int
    name: str
    unavailable: str = ""
    exponent: float = np.nan
    exponent_interval_95: tuple[float, float] = (np.nan, np.nan)
    tokens_exponent: float = np.nan
    tokens_exponent_interval_95: tuple[float, float] = (np.nan, np.nan)
    budgets: tuple[dict[str, Any], ...] = ()
    curve: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    points: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    refused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def has_interval(self) -> bool:
        """Whether the approach says how sure it is."""
        return bool(np.isfinite(self.exponent_interval_95).all())


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The approaches side by side.

    Attributes:
      estimates: one an approach, in order; approach 2 once a method.
      disagreements: in words, most basic first; empty if no two intervals are apart.
      agreement: in words, what the approaches that say something say, from the least to the most.
    """

    estimates: tuple[Estimate, ...]
    disagreements: tuple[str, ...]
    agreement: str

    def __getitem__(self, name: str) -> Estimate:
        """The estimate of that name.

        Raises:
          KeyError: no such approach.
        """
        return {estimate.name: estimate for estimate in self.estimates}[name]

    def table(self) -> pd.DataFrame:
        """One row an approach and budget: exponent, N_opt, D_opt and their interval ends."""
        rows = []
        for e in self.estimates:
            common = {"approach": e.approach, "name": e.name, "exponent": e.exponent}
            common["exponent_low"], common["exponent_high"] = e.exponent_interval_95
            for at in e.budgets or ({},):
                ends = {f"{k}_{end}": v for k, pair in at.get("interval_95", {}).items()
                        for end, v in zip(("low", "high"), pair, strict=True)}  # fmt: skip
                numbers = {k: v for k, v in at.items() if k != "interval_95"}
                rows.append({**common, **numbers, **ends, "unavailable": e.unavailable})
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON; `from_json` is its inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Comparison":
        """The comparison that `to_json` wrote; null, as `write_json` writes NaN, is NaN again."""
        return cls(
            estimates=tuple(_estimate_from_json(estimate) for estimate in saved["estimates"]),
            disagreements=tuple(saved["disagreements"]),
            agreement=saved["agreement"],
        )


def disagreements_between(estimates: list[Estimate]) -> Iterable[str]:
    """One sentence for each pair of intervals that are apart: exponents first, then budget by budget."""
    spoken = [e for e in estimates if not e.unavailable]
    pairs = [(a, b) for a, b in combinations(spoken, 2) if a.has_interval and b.has_interval]
    for a, b in pairs:
        if _apart(a.exponent_interval_95, b.exponent_interval_95):
            yield f"exponent of N_opt: {_exponent(a)}, but {_exponent(b)}"
    for i, budget in enumerate(spoken[0].budgets if spoken else ()):
        for a, b in pairs:
            if _apart(a.budgets[i]["interval_95"]["params"], b.budgets[i]["interval_95"]["params"]):
                yield f"N_opt at {budget['flops']:.3g} FLOPs: {_size(a, i)}, but {_size(b, i)}"


def summary_of(estimates: list[Estimate]) -> str:
    """What the approaches that say something say, from the least to the most."""
    spoken = [e for e in estimates if not e.unavailable]
    if len(spoken) < 2:
        return f"only one approach says anything: {spoken[0].name}" if spoken else "no approach says anything"
    exponents = sorted(e.exponent for e in spoken)
    text = f"{len(spoken)} estimates: N_opt grows as C^{exponents[0]:.3f} to C^{exponents[-1]:.3f}"
    for i, budget in enumerate(spoken[0].budgets):
        sizes = sorted(e.budgets[i]["params"] for e in spoken)
        apart = sizes[-1] / sizes[0]
        text += f"; at {budget['flops']:.3g} FLOPs it is {sizes[0]:.3g} to {sizes[-1]:.3g}"
        text += f", a factor {apart:.1f} apart" if apart > _FAR_APART else ""
    without = [e.name for e in spoken if not e.has_interval]
    return text + (f"; no interval to compare: {', '.join(without)}" if without else "")


def _apart(a, b) -> bool:
    return a[1] < b[0] or b[1] < a[0]


def _exponent(estimate: Estimate) -> str:
    low, high = estimate.exponent_interval_95
    return f"{estimate.name} {estimate.exponent:.3f} ({low:.3f} to {high:.3f})"


def _size(estimate: Estimate, i: int) -> str:
    low, high = estimate.budgets[i]["interval_95"]["params"]
    return f"{estimate.name} {estimate.budgets[i]['params']:.3g} ({low:.3g} to {high:.3g})"


def _estimate_from_json(saved: dict[str, Any]) -> Estimate:
    def read(value):
        if isinstance(value, dict):
            return {k: [np.nan if x is None else x for x in v] if isinstance(v, list) else read(v)
                    for k, v in value.items()}  # fmt: skip
        if isinstance(value, list | tuple):
            return tuple(read(entry) for entry in value)
        return np.nan if value is None else value

    return Estimate(**{key: read(value) for key, value in saved.items()})

"""The figure of the three approaches shows every estimate, its interval, and who says nothing."""

import numpy as np
import pytest

from genlab.figures.approaches import approaches
from genlab.scaling.approaches.comparison import Comparison, Estimate


def estimate(approach, name, exponent, width):
    flops = np.geomspace(1e18, 1e24, 41)
    params = 1e8 * (flops / 1e18) ** exponent
    ends = (exponent - width, exponent + width) if width else (np.nan, np.nan)
    spread = np.exp(width) if width else np.nan
    at = {"flops": 1e24, "extrapolation": 100.0, "params": float(params[-1])}
    curve = {"flops": flops, "params": params, "low": params / spread, "high": params * spread}
    return Estimate(
        approach,
        name,
        exponent=exponent,
        exponent_interval_95=ends,
        budgets=(at,),
        curve={key: list(value) for key, value in curve.items()},
        points={"flops": [1e19, 1e21], "params": [3e8, 3e9]} if approach < 3 else {},
    )


def texts(figure):
    found = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return " ".join(found)


def test_every_estimate_is_drawn_and_the_silent_are_named(tmp_path):
    silent = Estimate(1, "envelope", unavailable="the table has no training curves")
    spoken = [estimate(2, "isoflop parabola", 0.52, 0.03), estimate(2, "isoflop akima", 0.49, 0.0)]
    spoken.append(estimate(3, "parametric chinchilla", 0.45, 0.02))
    figure = approaches(Comparison((silent, *spoken), ("exponent of N_opt: ...",), ""))
    figure.savefig(tmp_path / "a.png")
    left, right = figure.axes
    said = texts(figure)
    for one in spoken:
        assert f"C^{{{one.exponent:.3f}}}" in said
        assert any(line.get_xdata()[0] == pytest.approx(one.exponent) for line in right.lines)
    assert "0.520 (0.490 to 0.550)" in said and "0.450 (0.430 to 0.470)" in said and "3  Chinchilla law" in said
    assert "1  envelope says nothing" in said and "1 pair of intervals without overlap" in said
    assert len(left.collections) == 2  # The bands of those that have an interval.
    dashed = [line for line in left.lines if line.get_linestyle() == "--"]
    assert len(dashed) == 3 and all(min(line.get_xdata()) <= 1.1e22 for line in dashed)


def test_nothing_to_compare_is_said(tmp_path):
    silent = Estimate(1, "envelope", unavailable="the table has no training curves")
    figure = approaches(Comparison((silent,), (), "no approach says anything"))
    figure.savefig(tmp_path / "a.png")
    assert "no approach says anything" in texts(figure) and "no training curves" in texts(figure)

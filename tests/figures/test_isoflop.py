"""isoFLOP figures of one method or both, of few budgets or many."""

import warnings

import numpy as np
import pandas as pd
import pytest

from genlab.figures import isoflop, style
from genlab.scaling import isoflop_minima, read_runs


def curves_of(budgets, method="parabola"):
    """Runs at evenly spaced budgets whose log loss is a parabola in log size."""
    flops = np.repeat(np.geomspace(1e18, 1e22, budgets), 6)
    best = 1e8 * (flops / 1e18) ** 0.5
    params = best * np.tile(np.geomspace(0.2, 5, 6), budgets)
    noise = 0.001 * np.random.default_rng(0).standard_normal(len(flops))
    loss = 3 * (flops / 1e18) ** -0.03 * np.exp(0.02 * np.log(params / best) ** 2 + noise)
    frame = pd.DataFrame({"params": params, "tokens": flops / (6 * params), "flops": flops, "loss": loss})
    return isoflop_minima(read_runs(frame), method=method, draws=50)


def texts(figure):
    found = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return " ".join(found)


@pytest.mark.parametrize("budgets", [3, 25])
def test_any_number_of_budgets_can_be_laid_out(budgets, tmp_path):
    """25 names beside their curves left no room for the axes: constrained layout gave up with a warning."""
    curves = curves_of(budgets)
    figure = isoflop(curves)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        style.save(figure, tmp_path, "isoflop")
    left, right, *bars = figure.axes
    assert len(bars) == (budgets > 7) and left.get_position().width > 0.35 and right.get_position().width > 0.2
    assert ("10^{18}$ FLOPs" in texts(figure)) == (budgets <= 7)
    marked = np.concatenate([line.get_xydata() for line in left.lines if line.get_marker() == "D"])
    np.testing.assert_allclose(sorted(marked[:, 0]), sorted(curve.best_params for curve in curves))


def test_both_methods_stand_side_by_side():
    curves = curves_of(3) + curves_of(3, "akima")
    figure = isoflop(curves)
    markers = [line.get_marker() for line in figure.axes[1].lines if len(line.get_xdata()) == 1]
    assert markers.count("D") == 3 and markers.count("s") == 3
    assert "Parabola: " in texts(figure) and "Akima: " in texts(figure) and "dashed: Akima" in texts(figure)
    intervals = [tuple(line.get_ydata()) for line in figure.axes[1].lines if len(line.get_xdata()) == 2]
    assert all(curve.interval_95 in intervals for curve in curves)

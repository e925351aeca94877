"""Figures show every run, the law and the forecast, and cover nothing that matters."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from genlab.figures import backtest, gallery, isoflop, law_fit, loss_vs_compute, style, write_figures
from tests.figures.conftest import drawn


def points(axes):
    """All (x, y) drawn in an axes as lines or markers."""
    data = [np.column_stack(line.get_data()) for line in axes.lines if len(line.get_xdata())]
    return np.concatenate(data).astype(float)


def has_point(axes, x, y):
    return np.isclose(points(axes), (x, y), rtol=1e-9).all(axis=1).any()


def texts(figure):
    found = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return " ".join(found)


def test_a_report_makes_every_file(sweep_report):
    for name, kind in itertools.product(("loss_vs_compute", "isoflop", "law_fit", "backtest"), ("png", "svg")):
        path = sweep_report[f"{name}.{kind}"]
        assert path == sweep_report["report.html"].parent / f"{name}.{kind}"
        assert path.stat().st_size > 5_000
    image = imread(sweep_report["loss_vs_compute.png"])
    assert image.shape[1] == 1380  # A page's 6.9 inches at 200 dots an inch.


def test_write_figures_makes_the_files_alone(table, analysis, sweep_report, tmp_path, monkeypatch):
    monkeypatch.setattr(style, "save", drawn)
    paths = write_figures(table, analysis, tmp_path / "new")
    assert set(paths) == set(sweep_report) - {"report.html"}
    assert all(path == tmp_path / "new" / name and path.exists() for name, path in paths.items())


def test_loss_vs_compute_shows_every_run_that_has_a_loss(table, analysis):
    axes = loss_vs_compute(table, analysis.fit, analysis.forecasts).axes[0]
    finished = table[table["status"] == "finished"]
    assert all(has_point(axes, run.flops, run.loss) for run in finished.itertuples())
    assert has_point(axes, finished["flops"].iloc[-1], analysis.forecasts[0]["predicted"])


def test_loss_vs_compute_marks_what_diverged_and_counts_what_it_cannot_show(table, analysis):
    figure = loss_vs_compute(table, analysis.fit)
    assert "1 of 23 runs not shown: 1 failed" in texts(figure)
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x" and len(line.get_xdata())]
    diverged = table[table["status"] == "diverged"].iloc[0]
    assert crosses[0].get_xdata()[0] == pytest.approx(diverged["flops"] * 300 / diverged["steps"])


@pytest.mark.parametrize("flatness", [1.0, 0.2], ids=["steep", "nearly flat"])
def test_the_legend_covers_no_run_and_no_law(table, analysis, flatness):
    """Where losses hardly fall, the corner that a steep frontier leaves empty has to be made."""
    table["loss"] **= flatness
    figure = loss_vs_compute(table, analysis.fit if flatness == 1.0 else None, analysis.forecasts)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    box = axes.get_legend().get_window_extent()
    inside = [box.contains(*xy) for xy in axes.transData.transform(points(axes))]
    assert not any(inside)


def test_without_an_analysis_the_runs_are_shown_alone(table):
    (panel,) = gallery(table, None)
    assert panel.name == "loss_vs_compute"
    assert "law" not in panel.caption


def test_isoflop_shows_minima_and_says_which_budgets_have_none(analysis):
    refused = {"coefficients": (), "best_params": None, "best_tokens": None, "best_loss": None}
    budget = analysis.isoflop[0].flops
    rest = [curve for curve in analysis.isoflop if curve.flops != budget]
    first = [curve for curve in analysis.isoflop if curve.flops == budget]
    curves = [dataclasses.replace(curve, **refused, refused="edge", interpolated=True) for curve in first] + rest
    figure = isoflop(curves, analysis.fit)
    for curve in rest:
        assert has_point(figure.axes[0], curve.best_params, curve.best_loss)
        assert has_point(figure.axes[1], curve.flops, curve.best_params)
    for curve in curves:
        assert all(has_point(figure.axes[0], *at) for at in zip(curve.params, curve.loss, strict=True))
    assert f"1 of {len({curve.flops for curve in curves})} budgets without a minimum" in texts(figure)
    assert "interpolated" in texts(figure)


def test_backtest_puts_the_best_law_first_and_shows_every_forecast(analysis):
    figure = backtest(analysis.backtest)
    assert [axes.get_title(loc="left").split(":")[0] for axes in figure.axes] == ["Kaplan (chosen)", "Chinchilla"]
    for axes, law in zip(figure.axes, ("kaplan", "chinchilla"), strict=True):
        for row in analysis.backtest.table.query(f"law == '{law}'").itertuples():
            assert has_point(axes, row.extrapolation, 100 * row.relative_error)


def test_residuals_are_law_over_measured(table, analysis):
    axes = law_fit(table, analysis.fit).axes[1]
    run = table.iloc[3]
    predicted = analysis.fit.predict(params=run["params"], tokens=run["tokens"])
    residual = 100 * (predicted / run["loss"] - 1)
    assert has_point(axes, run["flops"], residual)


def test_many_sizes_are_told_apart_by_colour_not_by_crowded_names(analysis):
    """As in a published table of hundreds of runs: round numbers on the colour bar, law against runs."""
    params = np.geomspace(5e7, 2e10, 120)
    loss = 1.7 + 400 / params**0.34
    table = pd.DataFrame({"params": params, "tokens": 20 * params, "loss": loss})
    figure = law_fit(table, analysis.fit)
    assert has_point(figure.axes[0], loss[7], float(analysis.fit.predict(params=params[7], tokens=20 * params[7])))
    bar = loss_vs_compute(table).axes[-1]
    labels = [label.get_text() for label in bar.get_xticklabels()]
    assert "1B" in labels and len(labels) <= 8


def one_run(**values):
    return pd.DataFrame([{"name": "a", "params": 1e6, "tokens": 1e8, "loss": 2.0, **values}])


@pytest.mark.parametrize(
    "table",
    [
        one_run(),
        one_run(loss=float("nan"), status="failed"),
        one_run(params=7e10, tokens=1.4e12, loss=0.012),
        pd.concat([one_run(), one_run(loss=11.0, name="b")]),
        one_run(role="held_out"),
        one_run(tokens=None, flops=1e15),
    ],
    ids=["one", "failed", "large", "two of one size", "held out only", "no tokens"],
)
def test_odd_tables_still_make_a_figure(table, analysis, tmp_path):
    table = table.reset_index(drop=True)
    figures = (loss_vs_compute(table, None), loss_vs_compute(table, analysis.fit), law_fit(table, analysis.fit))
    for figure in figures:
        figure.set_layout_engine("none")  # Four drawings more.
        figure.savefig(tmp_path / "a.png", dpi=20)  # Drawing is where matplotlib finds what it cannot do.
        assert texts(figure).strip()  # Axes with labels, or a line that says why there is nothing to show.


def test_nothing_to_show_is_said():
    assert "no three sizes share" in texts(isoflop([]))
    assert "no backtest" in texts(backtest(None))

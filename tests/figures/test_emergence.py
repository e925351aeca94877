"""Figures and page of a sweep that is for abilities."""

import numpy as np
import pytest

from genlab.figures.emergence import emergence_gallery, sharp_and_smooth
from genlab.scaling import Emergence, read_abilities, read_runs
from genlab.scaling.emergence.shapes import BROKEN, SIGMOID
from genlab.scaling.emergence.verdict import Thresholds
from tests.scaling.emergence.conftest import made_up_records, made_up_table

QUICK = Emergence(laws=False, thresholds=Thresholds(resamples=20))


@pytest.fixture(scope="module")
def swept():
    """A sweep's records, with one run held out, and what was found in them."""
    table = made_up_records()
    table.loc[table["name"] == "large-0", "role"] = "held_out"
    return table, QUICK.run(read_runs(table, needed=("params", "loss")))


@pytest.fixture(scope="module")
def page(swept, drawn_report, tmp_path_factory):
    paths = drawn_report(*swept, tmp_path_factory.mktemp("page"))
    return paths, paths["report.html"].read_text(encoding="utf-8")


def test_the_report_tells_verdicts_with_their_numbers_and_shows_the_figures(swept, page):
    paths, text = page
    assert {"emergence.png", "emergence_explained.svg", "emergence_against.png", "loss_vs_compute.png"} <= set(paths)
    assert "<b>1</b> task flat at chance, <b>2</b> tasks smooth in both" in text
    for words in ("Abilities against scale", "Forecasts of larger scales", swept[1].verdicts["parity"].words[:40],
                  'id="emergence_explained"'):  # fmt: skip
        assert words in text, words
    assert "facts/exact match" not in text  # no column a metric in the table of runs


def axes_of(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def test_exact_match_stands_beside_token_accuracy_to_the_power_of_the_length(swept):
    table, found = swept
    abilities = found.abilities(table)
    panels = {panel.name: panel.figure for panel in emergence_gallery(abilities, found)}
    lines = {line.get_label(): line for line in axes_of(panels["emergence_explained"], "copy, 5 tokens").lines}
    exact, power = (lines[name].get_ydata() for name in ("exact match", "token accuracy to the power of the length"))
    assert power == pytest.approx(abilities.of("copy", "token_accuracy")["value"].to_numpy() ** 5)
    assert np.abs(exact - power).max() < 0.1  # 1,000 questions


def test_sharp_and_smooth_metric_chance_runs_held_out_and_forecasts_are_drawn(swept):
    table, found = swept
    found.shapes["copy"] = {"exact_match": {"break_supported": True, "laws": {
        law: {"curve": {"flops": [1e15, 1e17], "share": [0.0, 1.0], "low": [0, 0.9], "high": [0.1, 1]}}
        for law in (SIGMOID, BROKEN)}}}  # fmt: skip
    abilities, verdict = found.abilities(table), found.verdicts["copy"]
    sharp, smooth = sharp_and_smooth(abilities, found, [verdict]).axes[:2]
    labels = [line.get_label() for line in sharp.lines]
    for label in ("chance", "run", "held out", "forecast", "leaves chance", "sigmoid", "one break"):
        assert label in labels, (label, labels)
    chance = next(line for line in sharp.lines if line.get_label() == "chance")
    assert chance.get_ydata()[0] == pytest.approx(0.2**5) and smooth.get_ylabel() == "log-probability"
    (onset,) = {line.get_xdata()[0] for line in sharp.lines if line.get_label() == "leaves chance"}
    assert onset == verdict.numbers["departure"]["leaves_at"]


def test_every_task_stands_against_the_loss_with_a_legend(swept, monkeypatch):
    monkeypatch.setattr("genlab.figures.emergence._LOW_ROWS", 2)
    table, found = swept
    figures = {panel.name: panel.figure for panel in emergence_gallery(found.abilities(table), found)}
    first, second = figures["emergence_against"], figures["emergence_against_2"]
    titles = [axes.get_title(loc="left") for figure in (first, second) for axes in figure.axes]
    assert titles == ["copy", "facts", "parity"] and second.axes[-1].get_xlabel() == "loss (better to the right)"
    assert {text.get_text() for text in first.legends[0].get_texts()} == {"chance", "run", "held out"}


def test_tasks_without_a_smooth_metric_stand_two_a_row():
    abilities = read_abilities(made_up_table(), "flops=C (1e21)*1e21,run=Model", "acc_quiz,rank=Percent*0.01", "0.25")
    found = QUICK.analyse(abilities)
    (panel,) = emergence_gallery(abilities, found)
    titles = [axes.get_title(loc="left")[:4] for axes in panel.figure.axes]
    assert panel.name == "emergence" and titles == ["rank", "quiz"]

"""The page: whole, self-contained, honest about what is missing, and safe against what names hold."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from genlab.scaling.runs import read_runs


class Page(HTMLParser):
    """Collects what a browser would load, the tables' cells and the text."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.open, self.rows, self.words, self.in_table = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)
        self.loads += [attributes[name] for name in ("src", "href", "data", "srcset") if name in attributes]
        if tag == "table":
            self.in_table = attributes.get("id", "other")
        if tag == "tr" and self.in_table == "runs":
            self.rows.append([])
        if tag in ("td", "th") and self.in_table == "runs":
            self.rows[-1].append([attributes.get("data-key"), ""])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"
        self.in_table = "" if tag == "table" else self.in_table

    def handle_data(self, data):
        self.words.append(data)
        if self.in_table == "runs" and self.rows and self.rows[-1]:
            self.rows[-1][-1][1] += data.strip()

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def page(sweep_report):
    assert set(sweep_report) >= {"report.html", "loss_vs_compute.png", "isoflop.svg", "backtest.png"}
    return Page(sweep_report["report.html"].read_text(encoding="utf-8"))


def test_the_page_loads_nothing_from_anywhere(page):
    assert len(page.loads) == 6  # the empty icon and five figures
    assert all(source.startswith("data:") for source in page.loads)


def test_the_markup_is_balanced(page):
    assert page.open == []


def test_the_headline_says_law_forecast_and_measured(page, analysis):
    (forecast,) = analysis.forecasts
    assert f"The Kaplan law, fitted to {len(analysis.fit.rows_used)} runs" in page.text
    assert f"{forecast['predicted']:.3f}" in page.text
    assert f"{forecast['measured']:.3f}" in page.text
    assert ("inside" if forecast["covered"] else "outside") + " the 95 % interval" in page.text


def test_intervals_warnings_choice_budgets_and_versions_are_there(page, analysis):
    for warning in (*analysis.warnings, *analysis.fit.warnings):
        assert warning in page.text
    assert analysis.backtest.rule in page.text
    assert "Compute-optimal allocation" in page.text
    assert '"width": 64' in page.text and "9.9" in page.text
    assert analysis.fit.law.citation in page.text


def test_every_run_is_a_row_with_keys_to_sort_by(page, table):
    titles, *rows = page.rows
    titles = [title.strip() for _, title in titles]
    assert len(rows) == len(table) == 23
    loss = titles.index("loss")
    keys = [row[loss][0] for row in rows]
    assert [float(key) for key in keys if key] == table["loss"].dropna().tolist()
    assert [key is None for key in keys] == table["loss"].isna().tolist()
    assert rows[21][titles.index("status")] == ["failed", "failed"]
    assert rows[21][titles.index("parameters")][1] == "n/a"
    assert rows[21][titles.index("error")][1] == "out of memory <at step 12>"
    assert "accuracy" in titles


def test_the_law_has_a_word_on_every_run(page, table, analysis):
    titles, *rows = page.rows
    titles = [title.strip() for _, title in titles]
    run = table.iloc[4]
    expected = analysis.fit.predict(params=run["params"], tokens=run["tokens"])
    assert float(rows[4][titles.index("law")][0]) == pytest.approx(float(expected))
    error = float(rows[4][titles.index("law's error")][0])
    assert error == pytest.approx(float(expected) / run["loss"] - 1)


def test_what_names_hold_is_text_not_markup(table, analysis, drawn_report, tmp_path):
    table.loc[0, "name"] = "<script>alert(1)</script>"
    evil = {"</pre><script>": 1}
    text = drawn_report(table, analysis, tmp_path, config=evil, title="<b>T</b>")["report.html"].read_text()
    assert text.count("<script>") == 1
    assert "&lt;script&gt;alert(1)" in text and "<b>T</b>" not in text


def test_without_a_law_the_runs_are_reported(table, drawn_report, tmp_path):
    table = table.iloc[[0, 20, 21]].reset_index(drop=True)
    page = Page(drawn_report(table, None, tmp_path)["report.html"].read_text())
    assert "No law has been fitted" in page.text
    assert len(page.rows) == 1 + 3
    assert page.open == []


def test_a_table_with_the_least_columns_and_no_bootstrap_makes_a_page(table, analysis, drawn_report, tmp_path):
    runs = read_runs(table[["params", "tokens", "loss"]].dropna())
    for fit in analysis.fits.values():
        object.__setattr__(fit, "samples", np.empty((0, len(fit.parameters))))
    analysis.forecasts[0].update(interval_95=None, covered=None)
    page = Page(drawn_report(runs, analysis, tmp_path)["report.html"].read_text())
    assert len(page.rows) == 1 + 21
    assert "no interval" in page.text

"""Several families in one figure and on one page, told apart, with the held-out runs and what was foretold of them."""

import dataclasses
import json

import numpy as np
import pytest

from genlab.figures import families, gallery
from genlab.figures.gallery import prefix_of
from genlab.figures.table import loss_unit, run_table, table_columns
from genlab.scaling.families import Families, Family


def marks(axes, marker):
    """(x, y) of all lines drawn with a marker, in order."""
    lines = (line for line in axes.lines if line.get_marker() == marker and len(line.get_xdata()))
    return np.array([np.column_stack(line.get_data())[0] for line in lines], dtype=float)


@pytest.fixture(scope="module")
def figure(vision_table, vision_families):
    return families(vision_table, vision_families, "nats per example")


@pytest.fixture(scope="module")
def page(vision_table, vision_families, drawn_report, tmp_path_factory):
    found = dataclasses.replace(vision_families, refused={"mlp": "only 3 usable rows"})
    paths = drawn_report(vision_table, found, tmp_path_factory.mktemp("page"))
    assert {"loss_vs_compute.png", "vit_law_fit.svg", "mixer_loss_vs_compute.png"} <= set(paths)
    return paths["report.html"].read_text(encoding="utf-8")


def test_every_run_is_in_both_panels_in_its_familys_marker(figure, vision_table):
    loss, error = figure.axes
    assert loss.get_ylabel() == "loss (nats per example)" and error.get_ylabel() == "error"
    for family, marker in (("vit", "o"), ("mixer", "s")):
        runs = vision_table[(vision_table["family"] == family) & (vision_table["role"] == "grid")]
        errors = [json.loads(cell)["error"] for cell in runs["metrics"]]
        np.testing.assert_allclose(marks(loss, marker), np.column_stack([runs["flops"], runs["loss"]]))
        np.testing.assert_allclose(marks(error, marker), np.column_stack([runs["flops"], errors]))
    colours = {line.get_color() for line in loss.lines if line.get_marker() == "o" and len(line.get_xdata())}
    assert len(colours) == 4  # one shade a size
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["vit", "mixer"]


def test_stars_are_held_out_runs_and_diamonds_the_forecasts_that_count(figure, vision_table, vision_families):
    held_out = vision_table[vision_table["role"] == "held_out"]
    for place, column in enumerate(("loss", "error")):
        axes = figure.axes[place]
        measured = held_out["loss"] if column == "loss" else [json.loads(cell)["error"] for cell in held_out["metrics"]]
        np.testing.assert_allclose(marks(axes, "*"), np.column_stack([held_out["flops"], measured]))
        told = [
            (family.analysis if column == "loss" else family.frontiers[column]).forecasts[0]
            for family in vision_families.families.values()
        ]
        np.testing.assert_allclose(marks(axes, "D"), [(row["flops"], row["predicted"]) for row in told])


def test_a_run_without_numbers_is_counted_not_drawn(figure):
    assert "1 of 35 runs not shown: 1 failed" in figure.get_supxlabel()


def test_a_loss_without_a_frontier_has_the_law_of_size_and_data(vision_table, vision_families):
    bare = Families({name: Family(family.analysis) for name, family in vision_families.families.items()})
    (axes,) = families(vision_table, bare).axes
    analysis = vision_families.families["vit"].analysis
    dashed = [line for line in axes.lines if line.get_linestyle() == "--" or line.is_dashed()]
    flops, loss = (values[-1] for values in dashed[0].get_data())
    size, examples = analysis.fit.allocate(flops)
    assert loss == pytest.approx(float(analysis.fit.predict(params=size, tokens=examples)))


def test_the_gallery_has_all_families_first_and_then_each(vision_table, vision_families):
    names = [panel.name for panel in gallery(vision_table, vision_families)]
    assert names[0] == "loss_vs_compute" and "mixer_backtest" in names
    assert prefix_of("ViT/4 a") + "law_fit" == "ViT_4_a_law_fit" and prefix_of("") == ""


def test_the_page_has_a_section_for_each_family(page, vision_families):
    for name, family in vision_families.families.items():
        assert f"<b>{name}.</b>" in page and f'id="{name}_law"' in page and f'id="{name}_frontier"' in page
        assert f"{family.analysis.forecasts[0]['predicted']:.3f}" in page
        assert f"{family.frontiers['error'].forecasts[0]['predicted']:.4f}" in page
    assert "the latter counts" in page and "mlp: only 3 usable rows" in page


def test_where_there_are_no_tokens_it_reads_examples(page):
    assert "training examples; L: loss in nats per example" in page
    assert '<th class="n">examples</th>' in page and '<button type="button">examples/s</button>' in page
    assert "tokens" not in page


def test_each_runs_law_is_its_familys(page, vision_table, vision_families):
    for name, row in (("vit", 3), ("mixer", 20)):
        run = vision_table.iloc[row]
        assert run["family"] == name
        fit = vision_families.families[name].analysis.fit
        predicted = float(fit.predict(params=run["params"], tokens=run["examples"]))
        cells = page.partition(f">{run['name']}</td>")[2].partition("</tr>")[0]
        assert f'data-key="{predicted}"' in cells and "error rate" in page


def test_the_unit_is_nats_per_example_only_of_classification(vision_table):
    columns = table_columns(vision_table, {})
    assert columns == {"tokens": "examples"}
    assert loss_unit(run_table(vision_table, columns), columns) == "nats per example"
    assert loss_unit(run_table(vision_table.drop(columns="metrics"), columns), columns) == ""
    assert table_columns(vision_table.assign(tokens=1e6), {}) == {}

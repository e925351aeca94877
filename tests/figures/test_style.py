"""Readable axes, numbers and colours."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from genlab.figures import style


@pytest.mark.parametrize("low, high", [(1.45, 2.4), (2.9, 3.1), (1.0001, 1.0022), (0.02, 9), (1e9, 3e21), (5e5, 1.1e7)])
def test_an_axis_has_a_handful_of_round_ticks_within_its_limits(low, high):
    ticks = style.round_ticks(low, high, most=7)
    assert 3 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)
    assert ticks == sorted(set(ticks))
    # No two ticks crowd: at least a fortieth of the axis between neighbours.
    assert np.diff(np.log(ticks)).min() > np.log(high / low) / 40


def test_a_loss_axis_reads_as_plain_numbers():
    figure = Figure()
    axes = figure.add_subplot()
    style.loss_axis(axes.yaxis, 1.45, 2.4)
    figure.draw_without_rendering()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1.6", "1.8", "2.0", "2.2", "2.4"]


@pytest.mark.parametrize(
    "value, text",
    [(950, "950"), (11e3, "11k"), (124e6, "124M"), (1.5e9, "1.5B"), (999_999, "1M"), (1.2e13, "12T")],
)
def test_counts_for_reading(value, text):
    assert style.count(value) == text


def test_powers_of_ten():
    assert style.power(1e12) == "$10^{12}$"
    assert style.power(3.24e13) == r"$3.2\times10^{13}$"


def test_colours_go_by_the_logarithm_of_size_even_for_one_size():
    colours = style.SizeColours(np.array([1e4, 1e6]))
    assert colours(1e4) != colours(1e6)
    middle = colours.map(0.5)
    assert np.allclose(colours(1e5), middle, atol=0.01)
    assert len(style.SizeColours(np.array([7e6]))(7e6)) == 4


@pytest.mark.parametrize(("count", "lines"), [(50, 50), (5000, 64)])
def test_many_dots_are_drawn_together_and_as_pixels(count, lines):
    axes = Figure().add_subplot()
    params = np.geomspace(1e6, 1e10, count)
    style.draw_points(axes, params, params, params, style.SizeColours(params), marker="o")
    assert len(axes.lines) == lines and sum(len(line.get_xdata()) for line in axes.lines) == count
    assert all(line.get_rasterized() == (count > style.MANY) for line in axes.lines)


def test_text_is_dark_enough_to_read_on_white():
    for colour in ("#ffff00", "#bddf26", "#0072b2", "white"):
        red, green, blue = style.for_text(colour)
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue <= 0.421


def test_the_settings_stay_inside_the_block():
    import matplotlib

    before = matplotlib.rcParams["font.size"]
    with style.paper_style():
        assert matplotlib.rcParams["font.size"] == 7.5
    assert matplotlib.rcParams["font.size"] == before


def test_the_same_figure_is_the_same_svg(tmp_path):
    def write(folder):
        figure = Figure()
        figure.add_subplot().plot([1, 2], [3, 4], "o")
        return style.save(figure, folder, "line")["line.svg"].read_bytes()

    assert write(tmp_path / "a") == write(tmp_path / "b")


def test_ticks_do_not_crowd_below_a_decade():
    assert style.round_ticks(0.953, 1.75) == [1.0, 1.2, 1.4, 1.6]

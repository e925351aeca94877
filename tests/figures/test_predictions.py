"""Pictures of images: what stands over them, what lies on them, and that nothing covers anything."""

import itertools

import numpy as np
import pytest

from genlab.figures import style
from genlab.figures.predictions import predictions
from genlab.figures.reconstructions import reconstructions

NAMES = ("cat", "automobile", "great white shark, Carcharodon carcharias", "a $10 bill of $5")
IMAGES = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), dtype=np.uint8)


def certain(said, share=0.9):
    """Probabilities [N, K] that give `share` to the class said."""
    rest = (1 - share) / (len(NAMES) - 1)
    return np.where(np.arange(len(NAMES)) == np.array(said)[:, None], share, rest)


def test_a_caption_names_the_class_its_probability_and_the_right_one_where_that_is_wrong():
    figure = predictions(IMAGES[:2], np.array([0, 0]), certain([0, 1], 0.73), NAMES)
    right, wrong = (axes.title for axes in figure.axes)
    assert (right.get_text(), right.get_color()) == ("cat 73%", style.INK)
    assert (wrong.get_text(), wrong.get_color()) == ("automobile 73%\nis cat", style.ACCENT)


@pytest.mark.parametrize("attention", [None, np.ones((11, 2, 2))], ids=["alone", "attention"])
def test_long_names_are_cut_and_no_caption_touches_another_or_an_image(attention):
    labels, said = np.arange(11) % 4, np.arange(11) % 3 + 1
    figure = predictions(IMAGES, labels, certain(said), NAMES, attention)
    figure.draw_without_rendering()
    # Less half a pixel: a title stands on its image.
    titles = [axes.title.get_window_extent().padded(-0.5) for axes in figure.axes if axes.title.get_text()]
    pictures = [axes.get_window_extent() for axes in figure.axes if axes.images]
    assert len(titles) >= 11
    assert not any(a.overlaps(b) for a, b in itertools.combinations(titles, 2))
    assert not any(title.overlaps(picture) for title, picture in itertools.product(titles, pictures))
    assert all(figure.bbox.x0 <= title.x0 and title.x1 <= figure.bbox.x1 for title in titles)


def test_attention_lies_over_the_whole_image_each_patch_where_it_was_cut():
    weights = np.arange(4.0).reshape(1, 2, 2)
    axes = predictions(IMAGES[:1, :, :4], np.array([0]), certain([0]), NAMES, weights).axes[1]
    image, over = axes.images
    np.testing.assert_array_equal(over.get_array(), weights[0])
    assert tuple(over.get_extent()) == tuple(image.get_extent()) == (-0.5, 3.5, 7.5, -0.5)  # first row on top
    assert over.norm(0) == 0 and over.norm(3) == 1, "from none to the image's own most"


def test_grey_images_are_grey_and_not_stretched_to_their_own_range():
    figure = predictions(np.full((1, 8, 8, 1), 100, np.uint8), np.array([0]), certain([0]), NAMES)
    (image,) = figure.axes[0].images
    assert image.get_cmap().name == "gray" and image.norm(100) == pytest.approx(100 / 255)


def test_few_images_are_not_blown_up_to_the_page():
    widths = [predictions(IMAGES[:n], np.zeros(n, int), certain([0] * n), NAMES).get_figwidth() for n in (1, 2, 11)]
    assert widths[0] < style.PAGE / 3 and widths[1] == 2 * widths[0] and widths[2] == style.PAGE


def test_reconstructions_stand_below_their_images():
    seen, filled = IMAGES // 2, IMAGES // 3
    figure = reconstructions(IMAGES, seen, filled)
    drawn = [[np.asarray(axes.images[0].get_array()) for axes in figure.axes[8 * row:8 * row + 8] if axes.images]
             for row in range(6)]
    for group, part in enumerate((slice(0, 8), slice(8, 11))):
        for row, expected in enumerate((IMAGES, seen, filled)):
            np.testing.assert_array_equal(drawn[3 * group + row], expected[part])
    named = [figure.axes[8 * row].get_title(loc="left") for row in range(6)]
    assert named == ["image", "seen", "filled in"] * 2

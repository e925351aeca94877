"""Pictures of generated images and of points on their way."""

import numpy as np
from PIL import Image

from genlab.figures.montage import montage, save_animation, save_montage
from genlab.figures.trajectories import trajectories


def grey(count, size=4):
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, size, size, 1))


def test_images_lie_in_rows_with_white_between():
    canvas = montage(grey(5), columns=3)
    assert canvas.shape == (9, 14, 1)
    np.testing.assert_array_equal(canvas[::5, ::5, 0], [[0, 1, 2], [3, 4, 255]])
    assert (canvas[4] == 255).all() and (canvas[:, 4] == 255).all()


def test_pictures_are_enlarged_without_smoothing(tmp_path):
    save_montage(grey(4), 2, tmp_path / "grid.png")
    picture = np.asarray(Image.open(tmp_path / "grid.png"))
    assert picture.shape == (999, 999)
    assert set(np.unique(picture)) == {0, 1, 2, 3, 255}


def test_an_animation_has_every_frame_and_rests_on_the_last(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 4, 3), np.uint8)
    save_animation(frames, 2, tmp_path / "way.gif", seconds=1.0)
    film = Image.open(tmp_path / "way.gif")
    assert film.n_frames == 5
    durations = []
    for k in range(5):
        film.seek(k)
        durations.append(film.info["duration"])
    assert durations == [200, 200, 200, 200, 1_000]


def test_trajectories_show_the_cloud_at_five_times_the_ways_and_the_data(tmp_path):
    points = np.random.default_rng(0).normal(size=(12, 80, 2)) * np.linspace(3, 1, 12)[:, None, None]
    figure = trajectories(points, np.linspace(1, 0, 12), points[-1])
    assert [axes.get_title(loc="center") for axes in figure.axes] == [
        "t = 1", "t = 0.73", "t = 0.45", "t = 0.27", "t = 0", "ways", "data"]
    assert len(figure.axes[5].collections[0].get_segments()) == 60
    np.testing.assert_allclose(figure.axes[0].collections[0].get_offsets(), points[0])
    figure.savefig(tmp_path / "ways.png")

"""The Fréchet distance against closed forms, scipy's matrix square root, and its own spread over draws."""

import numpy as np
import pytest
import scipy.linalg

from genlab.configuration import ConfigError
from genlab.evaluation import FeatureStatistics, frechet_distance, frechet_score


def moments(mean, covariance):
    return FeatureStatistics(np.asarray(mean, float), np.asarray(covariance, float), None)


def random_covariance(rng, width):
    factor = rng.normal(size=(width, width))
    return factor @ factor.T


def test_gaussians_that_commute():
    a = moments([1.0, 2.0, 0.0], np.diag([4.0, 1.0, 0.0]))
    b = moments([0.0, 2.0, 3.0], np.diag([1.0, 9.0, 0.25]))
    assert frechet_distance(a, b) == pytest.approx(1 + 9 + (2 - 1) ** 2 + (1 - 3) ** 2 + 0.5**2, abs=1e-12)


def test_any_gaussians_as_scipys_square_root_has_it():
    rng = np.random.default_rng(0)
    a, b = (moments(rng.normal(size=12), random_covariance(rng, 12)) for _ in range(2))
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance).real
    expected = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_fewer_samples_than_features():
    # tr (S1 S2)^(1/2) is the nuclear norm of X Y^T over sqrt((N - 1)(M - 1)), without any matrix of D x D.
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 40)), 2 * rng.normal(size=(11, 40)) + 1
    x_centred, y_centred = x - x.mean(0), y - y.mean(0)
    nuclear = np.linalg.svd(x_centred @ y_centred.T, compute_uv=False).sum() / np.sqrt(6 * 10)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + x.var(0, ddof=1).sum() + y.var(0, ddof=1).sum() - 2 * nuclear
    theirs = FeatureStatistics.of(y)
    assert frechet_distance(FeatureStatistics.of(x), theirs) == pytest.approx(expected, rel=1e-12)
    assert frechet_score(x, theirs).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("samples", [7, 60])  # by singular values of the samples, and by their covariance
def test_standard_error_is_that_of_full_matrices(samples):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(samples, 20)), 2 * rng.normal(size=(50, 20)) + 1
    x_covariance, y_covariance = np.cov(x.T), np.cov(y.T)
    values, vectors = np.linalg.eigh(x_covariance)
    there = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    middle = scipy.linalg.sqrtm(there @ y_covariance @ there).real
    back = np.linalg.pinv(there, rcond=1e-6)
    slopes = (np.eye(20) - back @ middle @ back, np.eye(20) - there @ np.linalg.pinv(middle, rcond=1e-6) @ there)
    variance = 0.0
    for each, other, slope in ((x, y, slopes[0]), (y, x, slopes[1])):
        centred = each - each.mean(0)
        shift = each.mean(0) - other.mean(0)
        variance += np.var(((centred @ slope + 2 * shift) * centred).sum(1), ddof=1) / len(each)
    found = frechet_score(x, FeatureStatistics.of(y), y)
    assert found.standard_error == pytest.approx(np.sqrt(variance), rel=1e-6)


def test_statistics_of_blocks_do_not_cancel():
    x = np.random.default_rng(2).normal(size=(50, 5)) + 1e6
    found = FeatureStatistics.of(block for block in np.split(x, [7, 8, 30]))
    assert found.count == 50
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.covariance, np.cov(x.astype(np.longdouble), rowvar=False), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("shift", "scales", "samples", "references"), [
    (1.0, [1.0, 1.0, 1.0], 300, 500),  # the error is that of the means
    (0.0, [1.0, 3.0, 0.3], 150, 1_500),  # of the samples' covariance
    (0.0, [3.0, 3.0, 3.0], 1_500, 100),  # of the references'
])
def test_standard_error_is_the_spread_over_draws(shift, scales, samples, references):
    rng = np.random.default_rng(3)
    known = moments(np.zeros(3), np.eye(3))
    both, alone = [], []
    for _ in range(200):
        x, y = rng.normal(size=(samples, 3)) * scales + shift, rng.normal(size=(references, 3))
        both.append(frechet_score(x, FeatureStatistics.of(y), y))
        alone.append(frechet_score(x, known))
    truth = 3 * shift**2 + np.sum((np.array(scales) - 1) ** 2)
    for scores in (np.array(both), np.array(alone)):
        spread, stated = scores[:, 0].std(ddof=1), scores[:, 1].mean()
        assert stated == pytest.approx(spread, rel=0.15)  # the spread of 200 draws is known to 5 %
        assert abs(scores[:, 0].mean() - truth) < spread  # biased, by less than the spread


def test_file_of_statistics(tmp_path):
    ours = FeatureStatistics.of(np.random.default_rng(4).normal(size=(20, 4)).astype(np.float32))
    ours.save(tmp_path / "ours.npz")
    again = FeatureStatistics.load(tmp_path / "ours.npz")
    assert (again.count, again.hash) == (20, ours.hash)
    np.testing.assert_array_equal(again.covariance, ours.covariance)
    np.savez(tmp_path / "public.npz", mu=ours.mean, sigma=ours.covariance, arr_0=np.array(["a"]))
    public = FeatureStatistics.load(tmp_path / "public.npz")
    assert (public.count, public.hash) == (None, ours.hash)
    assert FeatureStatistics(ours.mean + 1e-9, ours.covariance, 20).hash != ours.hash


def test_bad_files(tmp_path):
    path = tmp_path / "bad.npz"
    with pytest.raises(ConfigError, match="there is no statistics file"):
        FeatureStatistics.load(path)
    path.write_text("text")
    with pytest.raises(ConfigError, match="is no .npz file"):
        FeatureStatistics.load(path)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ConfigError, match="is no .npz file"):
        FeatureStatistics.load(tmp_path / "array.npy")
    np.savez(path, mu=np.zeros(3))
    with pytest.raises(ConfigError, match="lacks sigma"):
        FeatureStatistics.load(path)
    np.savez(path, mu=np.zeros(3), sigma=np.zeros((2, 2)))
    with pytest.raises(ConfigError, match=r"mu \[3\] and sigma \[2, 2\]"):
        FeatureStatistics.load(path)
    np.savez(path, mu=np.full(2, np.nan), sigma=np.zeros((2, 2)))
    with pytest.raises(ConfigError, match="not finite"):
        FeatureStatistics.load(path)


def test_bad_features():
    with pytest.raises(ConfigError, match="1 features are too few; a covariance needs at least 2"):
        FeatureStatistics.of(np.zeros((1, 3)))
    with pytest.raises(ConfigError, match=r"must be \[N, D\], not \[4\]"):
        FeatureStatistics.of(np.zeros(4))
    with pytest.raises(ConfigError, match="not all finite"):
        FeatureStatistics.of(np.full((3, 2), np.inf))
    with pytest.raises(ConfigError, match="have 2 features and references 3; both must come from the same extractor"):
        frechet_score(np.ones((5, 2)), moments(np.zeros(3), np.eye(3)))

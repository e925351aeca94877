"""The data-constrained law against the authors' parametrisation, its limits, and recovery."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling import read_runs
from genlab.scaling.cost import Cost
from genlab.scaling.fitting.derivatives import Derivatives
from genlab.scaling.fitting.fit_law import fit_law, table_of
from genlab.scaling.laws import get_law
from genlab.scaling.laws.repeated import effective_tokens

LAW = get_law("repeated")
VALUES = LAW.vector(LAW.published)


def written_out(N, D, U):
    """Muennighoff et al. 2023, section 3.1, from the logarithms that their fit reports."""
    a, b, e, alpha, beta, data_half_life, params_half_life = (
        *(6.255414, 7.3049974, 0.6254804, 0.3526596, 0.3526596, 15.387756, 5.309743),
    )
    ratio = (alpha * np.exp(a) / (beta * np.exp(b))) ** (1 / (alpha + beta))
    useful = np.minimum(N, (U * ratio) ** (beta / alpha) * ratio)
    data_repeats, params_repeats = D / U - 1, N / useful - 1
    data = U * (1 + data_half_life * (1 - np.exp(-data_repeats / data_half_life)))
    params = useful * (1 + params_half_life * (1 - np.exp(-params_repeats / params_half_life)))
    return np.exp(e) + np.exp(a) / params**alpha + np.exp(b) / data**beta


def test_closed_form_is_that_of_the_authors():
    rng = np.random.default_rng(0)
    N, U = (10 ** rng.uniform(low, high, 1000) for low, high in ((6.8, 10.0), (8.0, 11.3)))
    D = U * 10 ** rng.uniform(0.0, 4.0, 1000)
    found = LAW.predict(VALUES, params=N, tokens=D, unique_tokens=U)
    np.testing.assert_allclose(found, written_out(N, D, U), rtol=1e-12)
    # Two numbers that their documentation states for the models of figure 1.
    models = {"params": [6.34e9, 8.67e9], "tokens": [242e9, 178e9], "unique_tokens": 25e9}
    np.testing.assert_allclose(LAW.predict(VALUES, **models), [2.2256440889984477, 2.2269634075087867], rtol=1e-14)


def test_fresh_data_and_a_useful_size_give_chinchilla():
    chinchilla = get_law("chinchilla")
    values = [LAW.published[name] for name in chinchilla.parameter_names]
    point = {"params": np.array([1e8, 5e8]), "tokens": np.array([1e11, 1e12])}
    expected = chinchilla.predict(values, **point)
    np.testing.assert_allclose(LAW.predict(VALUES, **point, unique_tokens=point["tokens"]), expected, rtol=1e-13)


def test_more_unique_tokens_than_were_seen_are_as_good_as_fresh_ones():
    point = {"params": np.array([1e8, 1e11]), "tokens": 1e9}  # of a useful size and of one far beyond
    fresh = LAW.predict(VALUES, **point, unique_tokens=1e9)
    np.testing.assert_allclose(LAW.predict(VALUES, **point, unique_tokens=1e15), fresh, rtol=1e-13)


def test_repeats_are_worth_less_and_less():
    worth = effective_tokens(1e9 * np.arange(1, 300), 1e9) / 1e9
    assert np.all(np.diff(worth) > 0) and np.all(np.diff(worth, 2) < 0)
    assert worth[3] > 0.9 * 4  # "up to 4 epochs almost as good as new data"
    assert worth[-1] == pytest.approx(1 + 15.387756, rel=1e-6)


def test_allocation_under_a_limit_of_unique_tokens():
    params, tokens = LAW.allocate(VALUES, 1e22, Cost(), unique_tokens=1e10)
    grid = np.geomspace(1e8, 1e12, 40_001)
    loss = LAW.predict(VALUES, params=grid, tokens=1e22 / 6 / grid, unique_tokens=1e10)
    assert params == pytest.approx(grid[np.argmin(loss)], rel=1e-3)
    assert 6 * params * tokens == pytest.approx(1e22)
    fresh, _ = get_law("chinchilla").allocate(VALUES[:5], 1e22, Cost())
    assert params < fresh  # "scale epochs faster than parameters"
    with pytest.raises(ValueError, match="also needs unique_tokens"):
        LAW.allocate(VALUES, 1e22, Cost())


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(1)
    N, U = (10 ** rng.uniform(low, high, 32) for low, high in ((7.5, 10.0), (8.0, 10.5)))
    frame = pd.DataFrame({"params": N, "unique_tokens": U, "tokens": U * 10 ** rng.uniform(0.0, 2.5, 32)})
    frame["loss"] = LAW.predict(VALUES, **frame)
    return read_runs(frame)


def test_fits_recover_the_constants(table):
    fit = fit_law("repeated", table, starts=8, resamples=0)
    assert fit.certificate["converged"] and fit.certificate["share_of_starts"] > 0.8
    assert fit.parameters == pytest.approx(LAW.published, rel=1e-8)


def test_only_the_half_lives_are_fitted_when_the_rest_is_held(table):
    held = {name: value for name, value in LAW.published.items() if not name.startswith("R_")}
    fit = fit_law(LAW.fix(**held), table, starts=4, resamples=0)
    assert fit.parameters == pytest.approx(LAW.published, rel=1e-8)


def test_derivatives_are_finite_where_hardly_a_parameter_is_useful(table):
    hopeless = {**LAW.published, "A": 1e-10, "B": 1e30, "alpha": 0.02, "beta": 1.0, "R_N_star": 1e-3}
    at = LAW.coordinates(LAW.vector(hopeless))[None]
    found = Derivatives(LAW, table_of(LAW, table), 1e-3)(at, np.ones((1, len(table))))
    assert np.isfinite(found.value).all() and np.isfinite(found.hessian).all()

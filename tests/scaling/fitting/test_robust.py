"""The losses' slopes and curvatures against finite differences, and what a fit makes of each."""

import numpy as np
import pytest

from genlab.scaling import fit_law
from genlab.scaling.fitting.derivatives import Derivatives
from genlab.scaling.fitting.robust import LOSSES, Robust, compiled_terms
from genlab.scaling.fitting.rows import table_of
from genlab.scaling.laws import get_law

RESIDUALS = np.array([-3.0, -0.7, -1e-5, 0.0, 1e-9, 0.2, 0.49, 0.51, 40.0])


@pytest.mark.parametrize("name", LOSSES)
def test_slope_and_curvature_are_derivatives(name):
    loss, step = Robust(name, 0.5), 1e-6
    slope = (loss.rho(RESIDUALS + step) - loss.rho(RESIDUALS - step)) / (2 * step)
    np.testing.assert_allclose(loss.psi(RESIDUALS), slope, rtol=1e-7, atol=2e-9)
    bend = (loss.psi(RESIDUALS + step) - loss.psi(RESIDUALS - step)) / (2 * step)
    np.testing.assert_allclose(loss.shape.curvature(np, RESIDUALS, 0.5), bend, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_small_residuals_count_as_squares_to_full_precision(name):
    small = np.array([1e-12, 1e-8, 1e-6])
    np.testing.assert_allclose(Robust(name, 0.5).rho(small), small**2 / 2, rtol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_compiled_terms_are_the_plain_ones(name):
    import jax

    with jax.enable_x64(True):
        rho, psi, curvature, weight = compiled_terms(name)(jax.numpy.asarray(RESIDUALS), np.float64(0.5))
    loss = Robust(name, 0.5)
    np.testing.assert_allclose(rho, loss.rho(RESIDUALS), rtol=1e-12)
    np.testing.assert_allclose(psi, loss.psi(RESIDUALS), rtol=1e-12)
    np.testing.assert_allclose(curvature, loss.shape.curvature(np, RESIDUALS, 0.5), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(weight) * RESIDUALS, loss.psi(RESIDUALS), rtol=1e-12)
    assert weight[3] == 1.0


@pytest.mark.parametrize(("name", "delta"), [("squared", 1.0), ("log_cosh", 1e-3), ("cauchy", 0.024)])
def test_every_loss_is_fitted_to_its_certificate(name, delta, synthetic, truth):
    runs = synthetic("chinchilla", noise=0.01, seed=4)
    fit = fit_law("chinchilla", runs, loss=name, delta=delta, starts=8, resamples=40)
    found = fit.certificate
    assert found["converged"] and found["resamples_converged"] == 40 and found["gradient_norm"] < 1e-10
    assert fit.objective == pytest.approx(Robust(name, delta).rho(fit.residuals).sum(), rel=1e-10)
    assert fit.parameters["E"] == pytest.approx(truth["chinchilla"]["E"], rel=0.1)
    assert fit.to_json()["loss"] == name
    law, table = get_law("chinchilla"), table_of(get_law("chinchilla"), runs)
    at = law.coordinates(fit.values)
    around = at + 1e-3 * np.random.default_rng(0).standard_normal((32, len(at)))
    values = Derivatives(law, table, Robust(name, delta))(around, np.ones((32, len(table)))).value
    assert (values > fit.objective).all()


def test_a_wide_huber_loss_is_least_squares(synthetic):
    runs = synthetic("kaplan", noise=0.01, seed=4)
    wide, squares = (
        fit_law("kaplan", runs, loss=loss, delta=1e3, starts=4, resamples=0) for loss in ("huber", "squared")
    )
    np.testing.assert_allclose(wide.values, squares.values, rtol=1e-8)


@pytest.mark.parametrize(
    ("name", "delta", "message"),
    [
        ("hubber", 1e-3, "no loss is called 'hubber'; did you mean huber"),
        ("absolute", 1e-3, "no loss is called 'absolute'; there are: huber, squared"),
        ("huber", 0.0, "must be positive"),
        ("cauchy", np.inf, "must be positive and finite"),
        ("huber", np.nan, "must be positive"),
    ],
)
def test_other_losses_are_refused(name, delta, message, synthetic):
    with pytest.raises(ValueError, match=message) as error:
        fit_law("kaplan", synthetic("kaplan"), loss=name, delta=delta)
    assert "\n" not in str(error.value)

"""Powers of size, data and compute against numbers that the papers state otherwise."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.fitting.fit_law import fit_law
from genlab.scaling.laws import LAWS, get_law
from genlab.scaling.laws.hyperparameters import HYPERPARAMETER_LAWS
from genlab.scaling.runs import Runs


def published(name, **inputs):
    law = get_law(name)
    return float(law.predict(law.vector(law.published), **inputs))


def test_porian_around_the_largest_model_swept():
    # The authors round their fits to 160 (N/108e6)^(2/3) sequences and 0.0047 (N/108e6)^(-1/3).
    assert published("batch_size_of_params", params=108e6) / 2048 == pytest.approx(160, rel=0.03)
    assert published("learning_rate_of_params", params=108e6) == pytest.approx(0.0047, rel=0.02)


def test_deepseek_splits_compute_exactly():
    # M_opt = 0.1715 C^0.5243 FLOPs a token, and C = M D.
    tokens = published("optimal_tokens", flops=1e20)
    assert 1e20 / tokens == pytest.approx(0.1715 * 1e20**0.5243, rel=1e-3)
    assert published("learning_rate_of_flops", flops=1e20) == pytest.approx(0.3118 * 1e20**-0.125, rel=1e-13)
    assert published("batch_size_of_flops", flops=1e20) == pytest.approx(0.2920 * 1e20**0.3271, rel=1e-13)


def test_step_law_and_kaplan_by_hand():
    at = {"params": 1e9, "tokens": 1e11}
    rate = 1.79 * 1e9**-0.713 * 1e11**0.307
    assert published("learning_rate_of_params_tokens", **at) == pytest.approx(rate, rel=1e-13)
    assert published("batch_size_of_params_tokens", **at) == pytest.approx(0.58 * 1e11**0.571, rel=1e-13)
    assert published("optimal_params", flops=8.64e19) == pytest.approx(1.3e9, rel=1e-12)  # a PF-day


def test_all_are_listed_and_none_is_taken_for_a_law_of_the_loss():
    for law in HYPERPARAMETER_LAWS:
        assert LAWS[law.name] is law and law.response != "loss" and not law.allocates


@pytest.mark.parametrize("name", ["learning_rate_of_params_tokens", "batch_size_of_flops"])
def test_fits_recover_signed_exponents(name, points):
    law = get_law(name)
    inputs = points(law, 20)
    table = Runs(pd.DataFrame({**inputs, law.response: law.predict(law.vector(law.published), **inputs)}))
    fit = fit_law(law, table, starts=8, resamples=0)
    assert fit.certificate["share_of_starts"] == 1.0 and fit.parameters == pytest.approx(law.published, rel=1e-9)


def test_a_learning_rate_of_zero_is_refused():
    frame = pd.DataFrame({"params": [1e7, 1e8, 1e9, 1e10], "learning_rate": [1e-2, 5e-3, 0.0, 1e-3]})
    with pytest.raises(ValueError, match="row 2: learning_rate is 0; it must be positive"):
        fit_law("learning_rate_of_params", Runs(frame))


def test_noise_is_fitted_as_a_line_in_logarithms(points):
    law, rng = get_law("batch_size_of_flops"), np.random.default_rng(0)
    inputs = points(law, 30)
    measured = law.predict(law.vector(law.published), **inputs) * np.exp(0.1 * rng.standard_normal(30))
    fit = fit_law(law, Runs(pd.DataFrame({**inputs, "batch_size": measured})), loss="squared", starts=8, resamples=0)
    slope, intercept = np.polyfit(np.log(inputs["flops"]), np.log(measured), 1)
    assert fit.parameters == pytest.approx({"k": np.exp(intercept), "a": slope}, rel=1e-8)

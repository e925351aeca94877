"""Kaplan's laws against the paper's equations written out, and the adjustments to a critical batch size."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling import read_runs
from genlab.scaling.fitting.fit_law import fit_law
from genlab.scaling.laws import get_law
from genlab.scaling.laws.kaplan_set import at_critical_batch, minimal_flops, minimal_steps
from genlab.scaling.runs import Runs


def published(name, **inputs):
    law = get_law(name)
    return float(law.predict(law.vector(law.published), **inputs))


def test_equations_with_the_constants_of_the_paper():
    pf_day = 8.64e19
    assert published("kaplan_params", params=1.5e9) == pytest.approx((8.8e13 / 1.5e9) ** 0.076, rel=1e-13)
    assert published("kaplan_tokens", tokens=2.2e10) == pytest.approx((5.4e13 / 2.2e10) ** 0.095, rel=1e-13)
    assert published("kaplan_compute", flops=pf_day) == pytest.approx(1.6e7**0.057, rel=1e-13)
    assert published("kaplan_compute_min", flops_min=10 * pf_day) == pytest.approx(3.1e7**0.050, rel=1e-13)
    expected = (6.5e13 / 7.7e8) ** 0.077 + (2.1e3 / 1e5) ** 0.76
    assert published("kaplan_steps", params=7.7e8, steps_min=1e5) == pytest.approx(expected, rel=1e-13)
    assert published("critical_batch", loss=3.0) == pytest.approx(2e8 / 3.0 ** (1 / 0.21), rel=1e-13)


def test_critical_batches_are_those_of_figure_10():
    # About 1 to 2 million tokens for the largest models at convergence (section 5.1), some 10^5 at loss 5.
    assert 1e6 < published("critical_batch", loss=2.9) < 2e6
    assert 5e4 < published("critical_batch", loss=5.0) < 2e5


def test_minimal_steps_and_flops_trade_off():
    # (S/S_min - 1) (C/C_min - 1) = 1, equation 5.1 (McCandlish et al. 2018); at B = B_crit both are doubled.
    batch = np.geomspace(1e3, 1e8, 11)
    steps, flops = 1e5 / minimal_steps(1e5, batch, 1e6), 1e20 / minimal_flops(1e20, batch, 1e6)
    np.testing.assert_allclose((steps - 1) * (flops - 1), 1.0, rtol=1e-12)
    assert minimal_steps(1e5, 1e6, 1e6) == 5e4 and minimal_flops(1e20, 1e6, 1e6) == 5e19


def test_an_ordinary_table_gets_the_columns_that_the_laws_read():
    frame = pd.DataFrame({"params": [1e8, 1e9], "steps": 1e5, "flops": 1e20, "loss": [3.5, 2.9], "batch_size": 5e5})
    runs = at_critical_batch(Runs(frame))
    critical = 2e8 / frame.loss ** (1 / 0.21)
    np.testing.assert_allclose(runs.column("critical_batch_tokens"), critical)
    np.testing.assert_allclose(runs.column("steps_min"), 1e5 / (1 + critical / 5e5))
    np.testing.assert_allclose(runs.column("flops_min"), 1e20 / (1 + 5e5 / critical))
    assert "steps_min" not in at_critical_batch(Runs(frame.drop(columns="steps"))).frame
    with pytest.raises(ValueError, match="no column 'batch_size'"):
        at_critical_batch(Runs(frame.drop(columns="batch_size")))
    with pytest.raises(ValueError, match="batch_size is 0; it must be positive"):
        at_critical_batch(Runs(frame.assign(batch_size=[0, 1])))


@pytest.mark.parametrize("name", ["kaplan_params", "kaplan_steps", "critical_batch"])
def test_fits_recover_the_constants(name, points):
    law = get_law(name)
    inputs = points(law, 30)
    response = law.predict(law.vector(law.published), **inputs)
    runs = read_runs(pd.DataFrame({**inputs, law.response: response}), needed=(*law.inputs, law.response))
    fit = fit_law(law, runs, starts=8, resamples=0)
    assert fit.certificate["converged"] and fit.certificate["share_of_starts"] == 1.0
    assert fit.parameters == pytest.approx(law.published, rel=1e-9)

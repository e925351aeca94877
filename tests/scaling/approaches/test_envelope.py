"""The envelope of training curves finds a known law's optimum, and refuses what is at an edge."""

import json

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.approaches.envelope import envelope
from genlab.scaling.cost import Cost
from genlab.scaling.laws import get_law

TRUE = {"A": 480.0, "B": 2100.0, "E": 1.8, "alpha": 0.35, "beta": 0.37}
EXPONENT = 0.37 / (0.37 + 0.35)


def curves_table(sizes=16, noise=0.0, seed=0, horizon=4e11, points=50):
    """Training curves whose loss after D tokens is the law's at D: a run has no schedule."""
    law, rng = get_law("chinchilla"), np.random.default_rng(seed)
    parts = []
    for i, params in enumerate(np.geomspace(3e7, 1e10, sizes)):
        tokens = np.geomspace(horizon / 3000, horizon, points)
        loss = law.predict(law.vector(TRUE), params=params, tokens=tokens)
        loss = loss * np.exp(noise * rng.standard_normal(points))
        parts.append(pd.DataFrame({"name": f"run{i}", "params": params, "tokens": tokens, "loss": loss}))
    return pd.concat(parts, ignore_index=True)


def optimum(flops):
    law = get_law("chinchilla")
    return law.allocate(law.vector(TRUE), flops, Cost())


@pytest.fixture(scope="module")
def found():
    return envelope(curves_table(), decays=False, resamples=200)


def test_the_envelope_has_the_laws_exponent_and_size(found):
    assert found.params_law.exponent == pytest.approx(EXPONENT, abs=0.012)
    assert found.tokens_law.exponent + found.params_law.exponent == pytest.approx(1.0, abs=1e-6)
    params, tokens = optimum(1e21)
    assert found.params_law(1e21) == pytest.approx(params, rel=0.05)
    assert found.tokens_law(1e21) == pytest.approx(tokens, rel=0.05)
    np.testing.assert_allclose(6 * found.params * found.tokens, found.flops, rtol=1e-6)


def test_its_points_are_the_lowest_losses_of_all_curves(found):
    """Against the definition, at some FLOPs: no run of the table is lower there."""
    law, sizes = get_law("chinchilla"), np.geomspace(3e7, 1e10, 16)
    for i in range(0, len(found.flops), 100):
        losses = law.predict(law.vector(TRUE), params=sizes, tokens=found.flops[i] / (6 * sizes))
        assert found.loss[i] == pytest.approx(losses.min(), rel=1e-3)
        assert found.params[i] == pytest.approx(sizes[losses.argmin()], rel=1e-6) or np.ptp(np.sort(losses)[:2]) < 1e-3


def test_intervals_from_resampled_runs_cover_the_law():
    covered = []
    for seed in range(8):
        laws = envelope(curves_table(noise=0.003, seed=seed), resamples=150, seed=seed).params_law
        ends = laws.exponent_interval(), laws.interval(1e21)
        covered += [low <= truth <= high for (low, high), truth in zip(ends, (EXPONENT, optimum(1e21)[0]), strict=True)]
    assert np.mean(covered) >= 0.85


def test_edges_are_refused_with_their_reasons(found):
    sizes = np.geomspace(3e7, 1e10, 16)
    assert sizes[0] < found.params.min() and found.params.max() < sizes[-1]
    assert any("smallest size" in reason for reason in found.refused)
    assert 0 < sum(found.refused.values()) < 0.6
    # A smaller neighbour that stops early leaves no say about the sizes above it.
    table = curves_table()
    cut = table[(table.name != "run7") | (table.tokens < 1e10)]
    without = envelope(cut, decays=False, resamples=0)
    assert "the best size's smaller neighbour has no curve there" in without.refused
    assert len(without.flops) < len(found.flops)


def test_few_sizes_are_no_law_but_a_warning():
    none = envelope(curves_table(sizes=3), resamples=20)
    assert none.params_law is None and "fewer than two sizes" in none.warnings[0]
    json.dumps(none.to_json())
    few = envelope(curves_table(sizes=5), resamples=50)
    assert np.isnan(few.params_law.exponent_interval()).all() and few.resamples == 0
    assert any("no intervals" in told for told in few.warnings)
    with pytest.raises(ValueError, match="two or more runs"):
        envelope(curves_table(sizes=1))


def test_points_in_the_middle_of_a_schedule_are_warned_about(found):
    assert not any("mid-run" in told for told in found.warnings)
    assert any("mid-run" in told for told in envelope(curves_table(), resamples=0).warnings)


def test_smoothing_is_in_the_output_and_matters(found):
    saved = found.to_json()
    assert (saved["smoothing"], saved["width"], saved["curves"]) == ("gaussian", 0.1, 16)
    assert saved["params_law"]["exponent"] == found.params_law.exponent
    assert [s["params"] for s in saved["best_runs"]] == sorted(s["params"] for s in saved["best_runs"])
    noisy = curves_table(noise=0.02)
    both = (envelope(noisy, how, width=0.5, resamples=0) for how in ("none", "gaussian"))
    switches = [len(one.to_json()["best_runs"]) for one in both]
    assert switches[0] > 2 * switches[1]

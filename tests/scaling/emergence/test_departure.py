"""Exact tests against chance, corrected for all that was scanned."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from genlab.scaling.emergence.departure import above_chance, departures, holm, kendall, rises
from genlab.scaling.emergence.simulate import FLAT, SHARP, SMOOTH, Plan, draw


def planted(kind, seed=0, **plan):
    return draw(kind, Plan(**plan), np.random.default_rng(seed))


def test_p_values_are_those_of_the_binomial_test():
    right, asked = np.array([0, 3, 40, 300]), np.array([10, 10, 100, 1000])
    expected = [stats.binomtest(k, n, 0.25, alternative="greater").pvalue for k, n in zip(right, asked, strict=True)]
    assert above_chance(right, asked, 0.25) == pytest.approx(expected, rel=1e-9)


def test_a_chance_of_0_is_taken_to_be_1_percent():
    assert above_chance(np.array([1]), np.array([1000]), 0.0)[0] > 0.99
    assert above_chance(np.array([40]), np.array([1000]), 0.0)[0] < 1e-9


def test_holms_method_on_holms_example():
    """Sorted .005, .01, .02, .04: times 4, 3, 2, 1, never falling."""
    assert holm(np.array([0.01, 0.04, 0.005, 0.02])) == pytest.approx([0.03, 0.04, 0.02, 0.04])


def test_scanning_more_tasks_makes_a_departure_harder_to_find():
    sharp, _ = planted(SHARP)
    flat, _ = planted(FLAT)
    alone = departures({"sharp": sharp})["sharp"]
    among = departures({"sharp": sharp, **{f"flat {i}": flat for i in range(50)}})["sharp"]
    assert among.tests == 51 * alone.tests and np.all(among.p >= alone.p) and among.p.max() > alone.p.max() - 1e-12
    assert alone.leaves and among.leaves and alone.at_chance >= 2


def test_a_departure_that_does_not_matter_is_none():
    """With very many questions half a percent is certain."""
    flat, _ = planted(FLAT)
    flat = dataclasses.replace(flat, chance=0.25, share=np.full((8, 5), 0.01), trials=np.full((8, 5), 1e5))
    found = departures({"task": flat})["task"]
    assert found.certain_from == pytest.approx(1e18) and np.isnan(found.leaves_at) and not found.leaves
    assert 0.01 < found.upper < 0.02 and found.asked >= found.questions


def test_above_chance_everywhere_is_not_leaving_it():
    smooth, _ = planted(SMOOTH)
    high = dataclasses.replace(smooth, share=np.full((8, 5), 0.6))
    found = departures({"task": high})["task"]
    assert found.leaves_at == pytest.approx(1e18) and not found.leaves and found.at_chance == 0


def test_kendalls_p_values_agree_with_scipys():
    rng = np.random.default_rng(0)
    x = np.repeat(np.arange(12.0), 3)
    y = np.round(rng.standard_normal(36) + 0.15 * x, 1)  # with ties
    ends = np.array([18, 27, 36])
    expected = [stats.kendalltau(x[:n], y[:n], alternative="greater", method="asymptotic").pvalue for n in ends]
    assert kendall(x, y, ends) == pytest.approx(expected, rel=0.1)  # ours has a continuity correction
    assert kendall(x, -y, ends)[-1] > 0.9


def test_smooth_metrics_rise_by_their_errors_or_by_rank():
    _, smooth = planted(SMOOTH)
    _, flat = planted(FLAT)
    unknown = dataclasses.replace(smooth, error=np.full((8, 5), np.nan))
    level = dataclasses.replace(unknown, share=0.3 + 0.01 * np.random.default_rng(0).standard_normal((8, 5)))
    found = rises({"known": smooth, "unknown": unknown, "flat": flat, "level": level})
    assert found["known"].flops <= 1e18 * 2**4 and not found["known"].by_rank
    assert found["unknown"].by_rank and found["unknown"].flops <= 1e18 * 2**4
    assert np.isnan(found["flat"].flops) and np.isnan(found["level"].flops)


def test_models_that_all_give_one_answer_share_its_luck():
    """Half of 200 questions are right by chance; the sample has 112, and five seeds answer them all alike."""
    flat, _ = planted(FLAT)
    luck = np.where(np.arange(8) < 4, -0.1, 0.12)[:, None] * np.ones((1, 5))
    alike = dataclasses.replace(flat, chance=0.5, share=luck, trials=np.full((8, 5), 200.0))
    found = departures({"task": alike})["task"]
    assert alike.counts[1].tolist() == [200] * 8 and alike.counts[0][-1] == 112
    assert np.isnan(found.certain_from) and not found.leaves


def test_a_run_that_is_evaluated_often_counts_once_for_being_flat():
    flat, _ = planted(FLAT, scales=20, seeds=1)
    often = dataclasses.replace(flat, chance=0.25, share=np.zeros((20, 1)), run=np.zeros((20, 1), int))
    once = departures({"task": often})["task"]
    each = departures({"task": dataclasses.replace(often, run=np.arange(20)[:, None])})["task"]
    assert once.asked == 200 < once.questions and each.asked >= each.questions and once.upper > each.upper

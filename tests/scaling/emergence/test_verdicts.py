"""Verdicts in words: of planted kinds, of made-up sweeps, and what would decide."""

import copy
import dataclasses
import re

import numpy as np
import pytest

from genlab.scaling.emergence.analysis import Emergence, Verdicts
from genlab.scaling.emergence.departure import Rise, departures
from genlab.scaling.emergence.shapes import BROKEN, shapes
from genlab.scaling.emergence.simulate import FLAT, IN_METRIC, PLANTED, SHARP, SMOOTH, Plan, draw, simulate
from genlab.scaling.emergence.verdict import SMOOTH_ALONE, UNDECIDED, Thresholds, judge
from genlab.scaling.families import load_analysis
from genlab.scaling.laws import get_law
from genlab.scaling.runs import read_runs
from tests.scaling.emergence.test_sharpness import logistic, scales


def verdict_on(sharp, smooth=None, rise=float("nan")):
    thresholds = Thresholds(resamples=50)
    return judge("task", departures({"task": sharp})["task"], sharp, smooth, Rise(rise, False), thresholds)


def test_planted_kinds_are_told_apart_and_nothing_is_seen_at_chance():
    """README has 1,000 tables; here 40 of 4 tasks, and 40 tasks of each other kind."""
    found = simulate(Plan(tables=40, tasks=4, seed=1))
    for kind in PLANTED:
        assert found.right(kind) >= 0.9, (kind, found.verdicts[kind])
    assert found.tables_emergent <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 40) and found.tables_rising <= 0.05
    assert found.to_json()["plan"]["scales"] == 8


def test_a_plan_that_cannot_be_drawn_is_refused():
    for wrong in ({"scales": 2}, {"tables": 0}, {"factor": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Plan(**wrong)


def test_too_few_questions_are_not_called_flat():
    flat, _ = draw(FLAT, Plan(questions=4, seeds=1), np.random.default_rng(0))
    found = verdict_on(flat)
    assert found.kind == UNDECIDED and "times as many questions, or seeds" in found.needed


def test_flat_in_the_metric_and_rising_underneath():
    flat, _ = draw(FLAT, Plan(), np.random.default_rng(0))
    _, rising = draw(SMOOTH, Plan(), np.random.default_rng(0))
    found = verdict_on(flat, rising, 4e18)
    assert found.kind == FLAT and found.rising and not found.emergent
    assert "Underneath, log_probability rises from 4e+18 FLOPs on" in found.words


def test_without_a_smooth_metric_a_sharp_rise_is_undecided_and_a_smooth_one_is_smooth():
    doublings = np.arange(8.0)[:, None] + np.zeros((1, 5))
    found = verdict_on(scales(logistic(doublings, 0.5)))
    assert found.kind == UNDECIDED and found.emergent and "a smooth metric of the same answers" in found.needed
    assert verdict_on(scales(logistic(doublings, 5.0))).kind == SMOOTH_ALONE


def test_seeds_in_two_camps_are_sharp_whatever_their_mean():
    share = np.zeros((8, 5))
    for crossed in range(1, 6):
        share[1 + crossed :, :crossed] = 1.0  # one seed more at each scale
    share[7:] = 1.0
    assert verdict_on(scales(share)).numbers["sharpness"]["index"] < 0.45
    found = verdict_on(scales(share), scales(logistic(np.arange(8.0), 6.0)), 2e18)
    assert found.kind == IN_METRIC and len(found.numbers["bimodal"]) >= 4 and "two camps" in found.words


@pytest.mark.parametrize("middles, kind", [((1.3, 1.4, 1.75, 2.7, 3.0), SHARP), ((1.6, 1.7, 2.9, 3.2, 3.4), SMOOTH)])
def test_undecided_says_how_many_runs_would_decide_and_they_do(middles, kind):
    """Runs on both sides of the line, each a curve; as many more of them as it says settle it."""

    def of_runs(times):
        share = np.stack([logistic(np.arange(12.0), middle, 5.7) for middle in middles * times], axis=1)
        rise = scales(share, run=np.tile(np.arange(share.shape[1]), (12, 1)))
        return verdict_on(rise, rise, 1e18)

    few = of_runs(1)
    wanted = int(re.search(r"about (\d+) runs that show the rise, where there are 5", few.needed)[1])
    assert few.kind == UNDECIDED and 20 < wanted < 30 and of_runs(-(-wanted // 5)).kind == kind


def test_undecided_says_how_many_seeds_a_scale_would_decide():
    rise, noise = logistic(np.arange(12.0), 2.2, 5.6)[:, None], np.random.default_rng(4).standard_normal((12, 3))
    seeds = scales(np.clip(rise + noise * rise * (1 - rise), 0, 1))
    assert "about 17 seeds a scale, where there are 3" in verdict_on(seeds, seeds, 1e18).needed


def test_a_rise_that_has_not_levelled_waits_for_larger_scales():
    share = scales(np.repeat([0, 0, 0, 0, 0, 0, 0.02, 0.3], 5).reshape(8, 5))
    assert "scales beyond 1.28e+20 FLOPs" in verdict_on(share, share, 1e20).needed


@pytest.fixture(scope="module")
def judged(records):
    config = Emergence(laws=False, thresholds=Thresholds(resamples=50))
    return config.run(read_runs(records, needed=("params", "loss")))


def test_a_sweeps_records_are_judged_and_the_verdicts_saved(records, judged, tmp_path):
    assert {task: verdict.kind for task, verdict in judged.verdicts.items()} == {
        "copy": SMOOTH, "facts": SMOOTH, "parity": FLAT}  # fmt: skip
    assert judged.verdicts["copy"].emergent and "leaves its own chance level" in judged.verdicts["copy"].words
    assert set(judged.forecasts["copy"]) == {"exact_match", "log_probability"} and "parity" not in judged.forecasts
    judged.save(tmp_path / "fit.json")
    assert load_analysis(tmp_path / "fit.json").to_json() == judged.to_json() == Verdicts.load(
        tmp_path / "fit.json").to_json()  # fmt: skip
    assert judged.abilities(records).tasks == ["copy", "facts", "parity"] and judged.kinds == {SMOOTH: 2, FLAT: 1}


def test_foretold_is_what_was_known_before_the_sharp_metric_left_chance(judged):
    found = copy.deepcopy(judged)
    told = found.forecasts["copy"]["exact_match"]["foretold"]
    leaves_at = found.verdicts["copy"].numbers["departure"]["leaves_at"]
    told["flops"] = 0.5 * leaves_at
    assert found.foretold_from("copy") == 0.5 * leaves_at and found.foretold_from("parity") is None
    told["flops"] = leaves_at
    assert found.foretold_from("copy") is None


def test_a_metric_of_the_wrong_kind_and_tasks_without_a_sharp_one_are_refused(records):
    with pytest.raises(ValueError, match="'bleu' is no sharp metric; there are: exact_match"):
        Emergence(sharp="bleu")
    with pytest.raises(ValueError, match="no task has a sharp metric"):
        Emergence(sharp="accuracy").run(read_runs(records, needed=("params", "loss")))


def test_a_break_is_found_where_it_is_and_not_where_there_is_none():
    """Of a law with one break and of a sigmoid, one after the other so that both share the compilations."""
    x = np.arange(16.0)[:, None] + np.zeros((1, 2))
    noise = np.random.default_rng(0).standard_normal((2, *x.shape))
    law = get_law(BROKEN)
    truth = law.vector({"E": 0.0, "b": 1.0, "c0": 0.0, "c1": 0.2, "d1": 2.0**7, "f1": 0.2})
    bent = scales(1 - law.predict(truth, x=2.0**x) + 0.003 * noise[0])
    found = shapes(bent, resamples=4)
    assert found["break_supported"] and abs(np.log2(found["break_at"] / 1e18) - 7) < 0.5
    assert f"with a break, {found['laws']['accuracy_of_flops']['held_out_error']:.3f}" in found["words"]
    plain = shapes(dataclasses.replace(bent, share=0.9 * logistic(x, 8.0) + 0.01 * noise[1]), resamples=4)
    assert not plain["break_supported"] and plain["laws"]["accuracy_of_flops"]["error"] < 0.02
    assert plain["laws"]["accuracy_of_flops"]["parameters"]["ceiling"] == pytest.approx(0.9, abs=0.05)
    assert set(plain["laws"]) == {"accuracy_of_flops", "power_floor", BROKEN}


def test_sharp_in_both_names_the_numbers_it_rests_on():
    sharp, smooth = draw(SHARP, Plan(), np.random.default_rng(3))
    found = verdict_on(sharp, smooth, 8e18)
    assert found.kind == SHARP and found.numbers["smooth_sharpness"]["index"] > 0.45
    for words in ("leaves chance", "Holm's correction for 8 tests", "of its rise within a doubling", "sharp in both"):
        assert words in found.words, found.words

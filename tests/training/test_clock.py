"""Every second of a run belongs to one part."""

import time

import pytest

from genlab.training.clock import PARTS, Clock
from genlab.training.logs import read_metrics


class Times:
    """A clock set by hand, and the compilation within it."""

    def __init__(self):
        self.now = self.compiled = 0.0

    def clock(self):
        return Clock(lambda: self.compiled, lambda: self.now)


def test_the_innermost_part_gets_the_time_and_compilation_is_taken_out():
    times = Times()
    clock = times.clock()
    times.now = 1.0  # other
    with clock.part("step"):
        times.now = 3.0
        with clock.part("evaluation"):
            times.now, times.compiled = 10.0, 5.0
        times.now = 10.5
    assert clock.seconds() == {"compile": 5.0, "step": 2.5, "input": 0.0, "evaluation": 2.0, "checkpoint": 0.0,
                               "other": 1.0}
    assert clock.total() == 10.5


def test_a_part_that_raises_is_closed():
    times = Times()
    clock = times.clock()
    with pytest.raises(KeyError), clock.part("evaluation"):
        times.now = 2.0
        raise KeyError
    times.now = 3.0
    assert (clock.seconds()["evaluation"], clock.seconds()["other"]) == (2.0, 1.0)


def test_hidden_input_is_time_of_steps_and_rates_know_this_process_alone():
    times = Times()
    clock = times.clock()
    clock.restore({"step": 100.0, "compile": 7.0})
    assert clock.rate() == 0.0 and clock.seconds_per_step() is None
    with clock.part("input"):
        times.now = 4.0
    clock.hide(3.0)
    clock.count(8)
    assert clock.seconds() | {"other": 0.0} == dict.fromkeys(PARTS, 0.0) | {"compile": 7.0, "input": 1.0, "step": 103.0}
    assert clock.rate() == 2.0 and clock.seconds_per_step() == 0.5
    with clock.part("step"):
        times.now = 6.0
    clock.count(1)
    assert clock.seconds_per_step() == 2.0


def check_sum(outcome):
    assert set(outcome.seconds_of) == set(PARTS)
    assert all(seconds >= 0 for seconds in outcome.seconds_of.values())
    assert sum(outcome.seconds_of.values()) == pytest.approx(outcome.seconds)


def test_the_parts_of_a_run_sum_up_to_its_time(run_regression, tmp_path):
    began = time.perf_counter()
    outcome = run_regression(steps=40, evaluate_steps=8, checkpoint_steps=16, log_steps=20, noise=0.123)
    took = time.perf_counter() - began
    check_sum(outcome)
    assert 0.8 * took < outcome.seconds <= took
    for part in ("compile", "step", "input", "evaluation", "checkpoint"):
        assert outcome.seconds_of[part] > 0, part
    rows = [row for row in read_metrics(tmp_path / "run") if "loss" in row]
    assert [row["step"] for row in rows] == [20, 40]
    for part in PARTS:
        assert 0 <= rows[0][f"seconds/{part}"] <= rows[1][f"seconds/{part}"] <= outcome.seconds_of[part] + 1e-6
    assert all(row["seconds_per_step"] > 0 for row in rows)


def test_slow_batches_and_slow_evaluations_are_found(run_regression, monkeypatch):
    from genlab.data.batches import Batches

    stack = Batches.stack

    def slow(self, start, stop):
        time.sleep(0.02)
        return stack(self, start, stop)

    monkeypatch.setattr(Batches, "stack", slow)
    outcome = run_regression(steps=40, steps_per_dispatch=2)
    assert outcome.seconds_of["input"] > 0.8 * 20 * 0.02
    check_sum(outcome)


def test_a_resumed_run_adds_up_both_attempts(run_regression):
    heard = []
    first = run_regression(steps=40, checkpoint_steps=8, listeners=[lambda p: heard.append(p.step)],
                           should_stop=lambda: bool(heard))
    assert first.status == "preempted"
    second = run_regression(steps=40, checkpoint_steps=8)
    check_sum(second)
    assert second.seconds > first.seconds_of["compile"] + first.seconds_of["step"]
    assert second.seconds_of["step"] > first.seconds_of["step"]

"""Runs that train together come out as they would alone."""

import dataclasses
import time

import numpy as np
import pytest

from genlab.data import Digits, Images
from genlab.experiment import Experiment
from genlab.models.mlp import MLP
from genlab.models.vit import ViT
from genlab.objectives.classification import Classification
from genlab.sweeps.executors import InProcess
from genlab.sweeps.run import job, population_task, run_task
from genlab.sweeps.runner import run_sweep
from genlab.sweeps.sweep import Sweep
from genlab.training.checkpoints import Checkpoints
from genlab.training.optimizers import AdamW
from genlab.training.population import Population
from genlab.training.program import Program
from genlab.training.settings import Training

MODEL = ViT(image_size=8, channels=1, num_classes=10, patch_size=4, width=16, depth=1, num_heads=2, dropout=0.1)


class Silent:
    """A watcher of sweeps."""

    def planned(self, runs, jobs, records):
        pass

    def started(self, task, slot):
        pass

    def happened(self, event, record):
        pass

    def tick(self):
        pass


def experiment(name, learning_rate=3e-3, seed=0, weight_decay=0.1, steps=48, devices=1):
    return Experiment(
        name=name, objective=Classification(model=MODEL), data=Images(source=Digits()), seed=seed,
        optimizer=AdamW(learning_rate=learning_rate, weight_decay=weight_decay, clip_norm=None),
        training=Training(steps=steps, batch_size=16, steps_per_dispatch=8, evaluate_examples=64, writers=(),
                          devices=devices, ema_decay=0.9))


RUNS = (experiment("first"), experiment("seed", seed=1), experiment("rate", learning_rate=1e-2),
        experiment("decay", weight_decay=1.0), experiment("wild", learning_rate=1e8), experiment("short", steps=24))


def records_of(runs, folder, executor):
    try:
        return run_sweep(Sweep(runs), folder, executor, Silent(), job).records
    finally:
        executor.close()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return records_of(RUNS, tmp_path_factory.mktemp("alone"), InProcess(run_task))


@pytest.fixture
def joined(monkeypatch):
    """How many runs each joint dispatch held."""
    sizes, together = [], Program.steps_together

    def counted(self, states, batches):
        sizes.append(len(states))
        return together(self, states, batches)

    monkeypatch.setattr(Program, "steps_together", counted)
    return sizes


def test_each_member_is_the_run_that_it_is_alone(alone, joined, tmp_path):
    runs = [dataclasses.replace(e, training=dataclasses.replace(e.training, devices=2)) for e in RUNS]
    records = records_of(tuple(runs), tmp_path, InProcess(population_task(Population(always=True)), len(runs)))
    assert joined and set(joined) == {len(runs)}  # One compilation, whoever has left.
    assert {name: record.status for name, record in records.items()} == {
        name: "diverged" if name == "wild" else "finished" for name in records}
    assert len({record.loss for record in records.values()}) == len(runs)
    for name, record in records.items():
        assert record.steps == alone[name].steps
        if name != "wild":
            np.testing.assert_allclose(record.loss, alone[name].loss, rtol=1e-4)
            np.testing.assert_allclose([loss for _, loss in record.curve], [loss for _, loss in alone[name].curve],
                                       rtol=1e-4)


def test_more_runs_than_places_and_one_stopped_go_on(alone, joined, tmp_path):
    executor = InProcess(population_task(Population(always=True)), 2)
    first = iter([False] * 3 + [True] * 1_000)
    try:
        stopped = run_sweep(Sweep(RUNS), tmp_path, executor, Silent(), job, lambda: next(first))
    finally:
        executor.close()
    assert stopped.missing
    records = records_of(RUNS, tmp_path, InProcess(population_task(Population(always=True)), 2))
    assert joined and set(joined) == {2}
    for name in ("first", "seed", "rate", "decay", "short"):
        np.testing.assert_allclose(records[name].loss, alone[name].loss, rtol=1e-4)


def test_runs_of_one_shape_go_together_whatever_the_order(monkeypatch, joined, tmp_path):
    runs = []
    for one in RUNS[:2]:
        for width in (8, 16):
            model = MLP(image_size=8, channels=1, num_classes=10, widths=(width,))
            runs.append(dataclasses.replace(one, name=f"{one.name}-{width}", objective=Classification(model=model)))
    alone, steps_alone = [], Program.steps_alone
    monkeypatch.setattr(Program, "steps_alone", lambda *of: alone.append(of) or steps_alone(*of))
    records = records_of(tuple(runs), tmp_path, InProcess(population_task(Population(always=True)), 2))
    assert all(record.status == "finished" for record in records.values())
    assert joined == [2] * 12 and not alone


@pytest.mark.parametrize(("slow", "dispatches"), [("alone", 4), ("together", 2)])
def test_the_faster_way_is_kept(slow, dispatches, monkeypatch, joined, alone, tmp_path):
    name = "steps_alone" if slow == "alone" else "steps_together"
    swift = getattr(Program, name)

    def slowed(self, *arguments):
        time.sleep(0.5)
        return swift(self, *arguments)

    monkeypatch.setattr(Program, name, slowed)
    told = []
    records = records_of(RUNS[:2], tmp_path, InProcess(population_task(Population(tell=told.append)), 2))
    (decision,) = told
    assert decision.endswith("go on together" if slow == "alone" else "go on one after another")
    assert len(joined) == dispatches  # Of six, the first two alone and two together, to try both.
    np.testing.assert_allclose(records["first"].loss, alone["first"].loss, rtol=1e-4)


def test_an_error_is_every_members(monkeypatch, tmp_path):
    def broken(self, states, batches):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Program, "steps_together", broken)
    records = records_of(RUNS[:2], tmp_path, InProcess(population_task(Population(always=True)), 2))
    assert {record.status for record in records.values()} == {"failed"}
    assert all("out of memory" in record.error for record in records.values())


def test_no_two_runs_write_checkpoints_at_once(monkeypatch, tmp_path):
    """Orbax numbers the writes of a process in one place: two at a time fail now and then."""
    program = Program(RUNS[0].objective, RUNS[0].optimizer, 1, None, RUNS[0].training.plan(RUNS[0].objective))
    state = program.initial_state(0, RUNS[0].optimizer.hyperparameters(48))
    first, second = Checkpoints(tmp_path / "first"), Checkpoints(tmp_path / "second")
    waited = []
    wait = type(first._manager).wait_until_finished
    monkeypatch.setattr(type(first._manager), "wait_until_finished",
                        lambda self: (waited.append(self.directory.name), wait(self)))
    try:
        first.save(state, {})
        waited.clear()
        first.save(state._replace(step=state.step + 1), {})
        assert "second" not in waited
        waited.clear()
        second.save(state, {})
        assert waited[:1] == ["first"]
        first.close()
        waited.clear()
        second.save(state._replace(step=state.step + 1), {})
        assert "first" not in waited
    finally:
        first.close()
        second.close()

import itertools
import json
import math

import jax
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.training.checkpoints import Checkpoints
from genlab.training.curve import LearningCurve
from genlab.training.logs import read_metrics
from genlab.training.optimizers import SGD, AdamW
from genlab.training.plans import choose_plan
from genlab.training.program import program_for
from genlab.training.settings import Training
from tests.training.regression import Regression


def abstract_state(inputs=3, noise=0.0):
    optimizer = AdamW(learning_rate=0.05)
    program = program_for(Regression(inputs=inputs, noise=noise), optimizer, 1, None, choose_plan(8, devices=1))
    return program.abstract_state(optimizer.hyperparameters(20))


def final_state(folder, noise=0.0):
    return Checkpoints(folder / "checkpoints").restore(abstract_state(noise=noise))[0]


def stop_after(step):
    """A should_stop that becomes true once a listener heard of `step`."""
    heard = []
    return {"listeners": [lambda p: heard.append(p.step)], "should_stop": lambda: bool(heard) and heard[-1] >= step}


def test_learns_and_reports(run_regression, tmp_path):
    outcome = run_regression(steps=300, log_steps=100, evaluate_steps=100)
    assert outcome.status == "finished" and outcome.steps == 300
    assert outcome.metrics["loss"].mean < 1e-2 * outcome.curve[0][1]
    # x @ kernel and its two gradients' products, of which the one with respect to x is never made.
    assert outcome.flops_per_step == 2 * (2 * 8 * 3)
    rows = read_metrics(tmp_path / "run")
    assert [r["step"] for r in rows if "loss" in r] == [100, 200, 300]
    assert [r["step"] for r in rows if "held_out/loss" in r] == [100, 200, 300]


def test_every_evaluation_stands_in_the_outcome(run_regression, tmp_path):
    whole = run_regression("whole", evaluate_steps=4, evaluate_growth=2.0)
    assert [step for step, _ in whole.evaluations] == [4, 8, 16, 20]
    assert whole.evaluations[-1][1] == whole.metrics
    logged = {r["step"]: r["held_out/loss"] for r in read_metrics(tmp_path / "whole") if "held_out/loss" in r}
    assert logged == {step: found["loss"].mean for step, found in whole.evaluations}
    run_regression("parts", evaluate_steps=4, evaluate_growth=2.0, **stop_after(8))
    assert run_regression("parts", evaluate_steps=4, evaluate_growth=2.0).evaluations == whole.evaluations


def test_evaluations_come_at_their_distances():
    def steps(dispatch=1, **settings):
        training = Training(steps=1_000, **settings)
        return [stop for stop in range(dispatch, 1_001, dispatch) if training.evaluates_within(stop - dispatch, stop)]

    assert steps() == [1_000] and steps(evaluate_steps=300) == [300, 600, 900, 1_000]
    assert steps(evaluate_steps=300, dispatch=8) == [304, 600, 904, 1_000]
    growing = steps(evaluate_steps=50, evaluate_growth=1.3)
    exact = [50 * 1.3**k for k in range(12)]
    assert growing == [math.ceil(mark) for mark in exact if mark <= 1_000] + [1_000]
    assert steps(evaluate_steps=1, evaluate_growth=10.0) == [1, 10, 100, 1_000]
    # Marks closer than a dispatch share one evaluation.
    assert steps(evaluate_steps=50, evaluate_growth=1.05, dispatch=100) == list(range(100, 1_001, 100))
    with pytest.raises(ConfigError, match="training.evaluate_growth=0.5 must be at least 1"):
        Training(evaluate_growth=0.5)


@pytest.mark.parametrize("stop", [4, 8, 12])
def test_a_stopped_run_continues_to_the_same_bits(run_regression, tmp_path, stop):
    whole = run_regression("whole", noise=0.3, checkpoint_steps=6)
    first = run_regression("parts", noise=0.3, checkpoint_steps=6, **stop_after(stop))
    assert first.status == "preempted" and first.steps < 20
    second = run_regression("parts", noise=0.3, checkpoint_steps=6)
    assert second.status == "finished"
    jax.tree.map(np.testing.assert_array_equal, final_state(tmp_path / "whole", 0.3)._asdict(),
                 final_state(tmp_path / "parts", 0.3)._asdict())
    for name in ("metrics", "train_loss", "curve", "flops_per_step", "steps"):
        assert getattr(second, name) == getattr(whole, name), name
    logs = [[{k: v for k, v in row.items() if k not in ("examples_per_second", "mfu") and "seconds" not in k}
             for row in read_metrics(tmp_path / folder)] for folder in ("whole", "parts")]
    assert logs[0] == logs[1]


def test_a_finished_run_does_nothing_again(run_regression):
    first = run_regression()
    again = run_regression()
    assert (again.metrics, again.curve, again.flops_per_step) == (first.metrics, first.curve, first.flops_per_step)


def test_a_damaged_newest_checkpoint_falls_back(run_regression, tmp_path, caplog):
    whole = run_regression("whole", checkpoint_steps=8)
    run_regression("damaged", checkpoint_steps=8)
    newest = tmp_path / "damaged" / "checkpoints" / "20"
    for path in newest.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    again = run_regression("damaged", checkpoint_steps=8)
    assert "checkpoint 20 cannot be read" in caplog.text
    assert (newest.parent / "damaged-20").is_dir()
    assert again.metrics == whole.metrics


def test_checkpoints_keep_the_newest_and_the_best(run_regression, tmp_path):
    run_regression(steps=40, checkpoint_steps=4, evaluate_steps=4, keep_last=2, keep_best=1,
                   optimizer=AdamW(learning_rate=0.5, decay="constant"))
    losses = {r["step"]: r["held_out/loss"] for r in read_metrics(tmp_path / "run") if "held_out/loss" in r}
    kept = sorted(int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit())
    assert kept == sorted({36, 40, min(losses, key=losses.get)})


def test_looking_at_a_run_changes_nothing_there(run_regression, tmp_path):
    run_regression(checkpoint_steps=8)
    folder = tmp_path / "run" / "checkpoints"
    (folder / "24.orbax-checkpoint-tmp").mkdir()
    before = sorted(p.name for p in folder.iterdir())
    assert Checkpoints(folder, read_only=True).restore(abstract_state())[0].step == 20
    assert sorted(p.name for p in folder.iterdir()) == before


def test_checkpoints_of_another_model_are_refused_and_kept(run_regression, tmp_path):
    run_regression(checkpoint_steps=8)
    folder = tmp_path / "run" / "checkpoints"
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(ConfigError, match="no checkpoint in .* can be read"):
        Checkpoints(folder).restore(abstract_state(inputs=5))
    assert sorted(p.name for p in folder.iterdir()) == before


def test_divergence_ends_the_run(run_regression):
    outcome = run_regression(optimizer=SGD(learning_rate=100.0, clip_norm=None, warmup_steps=0), steps=40)
    assert outcome.status == "diverged"
    assert outcome.steps < 40 and "at step" in outcome.error
    assert outcome.metrics == {}


def test_progress_counts_every_step_once(run_regression):
    heard = []
    run_regression(listeners=[heard.append], steps=10)
    assert [p.step for p in heard] == [4, 8, 10]
    assert all(p.mfu is None and p.steps == 10 for p in heard)


def test_eight_devices_give_the_same_run(run_regression):
    one = run_regression("one", noise=0.3, batch_size=16)
    eight = run_regression("eight", noise=0.3, batch_size=16, devices=8)
    np.testing.assert_allclose(eight.metrics["loss"], one.metrics["loss"], rtol=1e-4)
    np.testing.assert_allclose(eight.curve, one.curve, rtol=1e-5)


def test_moving_average_is_what_is_evaluated(run_regression):
    assert run_regression("ema", ema_decay=0.99).metrics != run_regression("plain").metrics


def test_refuses_batches_that_do_not_divide():
    with pytest.raises(ConfigError, match=r"training.batch_size=12 .* multiple of 24"):
        choose_plan(12, micro_batches=3, devices=8)
    with pytest.raises(ConfigError, match=r"training.devices=9, but this machine has 8"):
        choose_plan(9, devices=9)
    with pytest.raises(ConfigError, match="training.steps=0 must be at least 1"):
        Training(steps=0)


def test_learning_curve_means_are_exact_and_resume():
    random = np.random.default_rng(0)
    losses, weights = random.random(1000), random.random(1000)
    curve = LearningCurve(1000)
    curve.add(0, losses[:400] * weights[:400], weights[:400])
    resumed = LearningCurve(1000)
    resumed.restore(json.loads(json.dumps(curve.to_json())))
    resumed.add(400, losses[400:] * weights[400:], weights[400:])
    edges = np.concatenate([[0], resumed.edges])
    expected = [np.average(losses[a:b], weights=weights[a:b]) for a, b in itertools.pairwise(edges)]
    np.testing.assert_allclose([loss for _, loss in resumed.points()], expected, rtol=1e-12)
    assert edges[-1] == 1000 and len(edges) <= 49


def test_a_cut_off_line_of_the_log_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]

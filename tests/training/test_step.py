from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from genlab.objectives.metric import Metric
from genlab.randomness import STREAMS, per_example, stream_key
from genlab.training.optimizers import SGD, AdamW
from genlab.training.plans import choose_plan
from genlab.training.step import initial_state, make_evaluation_step, make_train_step, scan_steps
from tests.training.regression import Regression, regression_data

OPTIMIZER = SGD(learning_rate=0.1, momentum=0.0, clip_norm=None, decay="constant", warmup_steps=0, warmup_fraction=0.0)


def start(objective=Regression(), optimizer=OPTIMIZER, with_ema=False): # noqa: B008
    return initial_state(objective, optimizer, np.uint32(0), optimizer.hyperparameters(10), with_ema)


def batch(weights=None, size=8):
    data = regression_data().gather(np.arange(size))
    return data | ({"weight": np.asarray(weights, np.float32)} if weights is not None else {})


def test_one_step_is_gradient_descent_by_hand():
    state = start()
    after, metrics = make_train_step(Regression(), OPTIMIZER)(state, batch())
    x, y = batch()["x"], batch()["y"]
    residual = x @ state.params["kernel"] + state.params["bias"] - y
    np.testing.assert_allclose(after.params["kernel"], state.params["kernel"] - 0.1 * 2 * x.T @ residual / 8, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], [np.sum(residual**2), 8], rtol=1e-5)
    assert after.step == 1


@pytest.mark.parametrize("weights", [None, [1, 1, 1, 0, 2, 0, 0, 3]])
def test_micro_batches_give_the_gradient_of_the_whole_batch(weights):
    """Weighted by tokens, not by micro-batches: the second case has unequal weight in each."""
    whole, metrics = make_train_step(Regression(), OPTIMIZER)(start(), batch(weights))
    parts, part_metrics = make_train_step(Regression(), OPTIMIZER, micro_batches=4)(start(), batch(weights))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), whole.params, parts.params)
    np.testing.assert_allclose(part_metrics["loss"], metrics["loss"], rtol=1e-5)


def test_micro_batches_draw_different_noise():
    objective = Regression(noise=1.0)
    same = {name: np.concatenate([x[:4], x[:4]]) for name, x in batch().items()}
    once, _ = make_train_step(objective, OPTIMIZER)(start(objective), {n: x[:4] for n, x in same.items()})
    twice, _ = make_train_step(objective, OPTIMIZER, micro_batches=2)(start(objective), same)
    assert not np.allclose(once.params["kernel"], twice.params["kernel"], rtol=1e-3)


def test_scanned_steps_equal_steps_one_by_one():
    objective = Regression(noise=0.5)
    step = make_train_step(objective, AdamW(learning_rate=0.1))
    batches = regression_data().gather(np.arange(24).reshape(3, 8))
    state = initial_state(objective, AdamW(), np.uint32(0), AdamW(learning_rate=0.1).hyperparameters(10), False)
    one_by_one, losses = state, []
    for i in range(3):
        one_by_one, metrics = step(one_by_one, {name: x[i] for name, x in batches.items()})
        losses.append(metrics["loss"][0])
    scanned, metrics = scan_steps(step)(state, batches)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one_by_one.params, scanned.params)
    np.testing.assert_allclose(metrics["loss"][0], losses, rtol=1e-5)


def test_moving_average_by_hand():
    state = start(with_ema=True)
    after, _ = make_train_step(Regression(), OPTIMIZER, ema_decay=0.9)(state, batch())
    d = min(0.9, 1 / 10)
    expected = d * state.params["kernel"] + (1 - d) * after.params["kernel"]
    np.testing.assert_allclose(after.ema_variables["params"]["kernel"], expected, rtol=1e-6)


@dataclass(frozen=True)
class CenteredRegression(Regression):
    """Subtracts the batch's mean input in training, and its running mean in evaluation."""

    def init(self, key):
        return super().init(key) | {"batch_stats": {"mean": jnp.zeros(self.inputs)}}

    def loss(self, variables, batch, key, train):
        mean = batch["x"].mean(axis=0)
        running = variables["batch_stats"]["mean"]
        centred = batch | {"x": batch["x"] - (mean if train else running)}
        loss, metrics, _ = super().loss(variables, centred, key, train)
        return loss, metrics, {"batch_stats": {"mean": 0.9 * running + 0.1 * mean}} if train else {}


@pytest.mark.parametrize("micro_batches", [1, 4])
def test_the_model_state_is_updated_by_the_forward_pass_and_used_in_evaluation(micro_batches):
    objective = CenteredRegression()
    state = initial_state(objective, OPTIMIZER, 0, OPTIMIZER.hyperparameters(10), with_ema=True)
    one = batch()
    after, _ = jax.jit(make_train_step(objective, OPTIMIZER, micro_batches=micro_batches, ema_decay=0.9))(state, one)
    mean = one["x"].mean(axis=0)
    np.testing.assert_allclose(after.variables["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(after.evaluated["batch_stats"]["mean"], 0.9 * 0.1 * mean, rtol=1e-5)
    stacked = jax.tree.map(lambda x: x[None], one)
    total, weight = make_evaluation_step(objective)(after.variables, stacked)["loss"]
    kernel, bias = after.params["kernel"], after.params["bias"]
    expected = np.square((one["x"] - 0.1 * mean) @ kernel + bias - one["y"]).mean()
    np.testing.assert_allclose(total.sum() / weight.sum(), expected, rtol=1e-5)


@dataclass(frozen=True)
class TaughtRegression(CenteredRegression):
    """Has a collection that its loss only reads."""

    def init(self, key):
        return super().init(key) | {"teacher": {"kernel": jnp.arange(1.0, 100.0) / 3}}


def test_collections_that_the_forward_pass_leaves_alone_stay_to_the_bit():
    """The mean of seven equal numbers is not always that number."""
    objective = TaughtRegression()
    state = initial_state(objective, OPTIMIZER, 0, OPTIMIZER.hyperparameters(10), with_ema=False)
    after, _ = make_train_step(objective, OPTIMIZER, micro_batches=7)(state, batch(size=14))
    assert np.array_equal(after.variables["teacher"]["kernel"], state.variables["teacher"]["kernel"])
    assert not np.array_equal(after.variables["batch_stats"]["mean"], state.variables["batch_stats"]["mean"])


def test_keys_differ_by_seed_stream_and_step():
    keys = [stream_key(seed, stream, step) for seed in (0, 1) for stream in STREAMS for step in (0, 1)]
    assert len({tuple(np.asarray(jax.random.key_data(k))) for k in keys}) == len(keys)


def test_learning_rate_comes_from_the_state():
    step = jax.jit(make_train_step(Regression(), OPTIMIZER))
    state = start()
    faster = state._replace(hyperparameters=state.hyperparameters | {"learning_rate": jnp.float32(0.2)})
    moved = [s.params["kernel"] - state.params["kernel"] for s in (step(state, batch())[0], step(faster, batch())[0])]
    np.testing.assert_allclose(moved[1], 2 * moved[0], rtol=1e-4)
    assert step._cache_size() == 1


def test_micro_batches_are_spread_over_the_devices():
    """Each of 8 devices multiplies 64 / 4 / 8 = 2 examples at a time, and none the 16 of a micro-batch."""
    plan = choose_plan(64, micro_batches=4, devices=8)
    step = make_train_step(Regression(), OPTIMIZER, micro_batches=4)
    put = {"x": jax.device_put(np.zeros((64, 3), np.float32), NamedSharding(plan.mesh, PartitionSpec("data"))),
           "y": jax.device_put(np.zeros((64, 1), np.float32), NamedSharding(plan.mesh, PartitionSpec("data")))}
    text = jax.jit(step).lower(jax.device_put(start(), plan.replicated), put).compile().as_text()
    assert "f32[2,3]" in text and "f32[16,3]" not in text


def test_every_held_out_batch_draws_its_own_noise():
    """Else the standard error, which takes examples for independent, is too small by what batches have in common."""
    class Drawing:
        def loss(self, variables, batch, key, train):
            drawn = Metric(per_example(jax.random.normal, key, (len(batch["index"]),)), jnp.ones(len(batch["index"])))
            return drawn.mean(), {"loss": drawn}, {}

    stacked = {"index": jnp.array([[0, 1, 2], [3, 4, 5], [0, 1, 2]])}
    first, second, again = np.asarray(make_evaluation_step(Drawing())({}, stacked)["loss"][0])
    np.testing.assert_array_equal(first, again)
    assert len(np.unique([*first, *second])) == 6

"""NextToken: what counts towards the loss, in which types, and what it says of itself."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken

OBJECTIVE = NextToken(GPT(vocab_size=11, context_length=8, width=8, depth=1, num_heads=2))
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, 11, (4, 9))


@functools.cache
def random_variables():
    """Variables of the right shapes, drawn by NumPy: an initialiser takes a second to compile."""
    rng = np.random.default_rng(5)
    shapes = jax.eval_shape(OBJECTIVE.init, jax.random.key(0))
    return jax.tree.map(lambda s: rng.normal(0.1, 0.4, s.shape).astype(np.float32), shapes)


@functools.cache
def compiled(objective=OBJECTIVE, train=False):
    """The objective's (loss, metrics) of (variables, batch), compiled."""
    return jax.jit(lambda variables, batch: objective.loss(variables, batch, jax.random.key(0), train)[:2])


@functools.cache
def log_probabilities():
    """log p(token t + 1 | tokens to t) of TOKENS, and whether each is the most likely: [B, T]."""
    logits = jax.jit(OBJECTIVE.model.apply)(random_variables(), TOKENS[:, :-1])
    logits = np.asarray(logits, np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    picked = np.take_along_axis(log_p, TOKENS[:, 1:, None], -1)[..., 0]
    return picked, logits.argmax(-1) == TOKENS[:, 1:], np.log(np.exp(logits).sum(-1))


def test_the_loss_is_the_mean_over_tokens_that_count():
    log_p, correct, _ = log_probabilities()
    loss_mask = RNG.random((4, 9)) < 0.6
    example_weight = np.array([1, 1, 0, 1], np.float32)
    batch = {"tokens": TOKENS, "loss_mask": loss_mask, "example_weight": example_weight}
    loss, metrics = compiled()(random_variables(), batch)
    weight = loss_mask[:, 1:] * example_weight[:, None]
    np.testing.assert_allclose(loss, -(log_p * weight).sum() / weight.sum(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"].total, -(log_p * weight).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"].weight, weight.sum(-1))
    np.testing.assert_allclose(metrics["loss"].mean(), loss, rtol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"].mean(), (correct * weight).sum() / weight.sum(), rtol=1e-6)
    plain, _ = compiled()(random_variables(), {"tokens": TOKENS})
    np.testing.assert_allclose(plain, -log_p.mean(), rtol=1e-5)


def test_any_integer_type_of_token_gives_the_same_loss():
    losses = [compiled()(random_variables(), {"tokens": TOKENS.astype(t)})[0] for t in ("uint8", "int64")]
    assert losses[0] == losses[1]


def test_z_loss_adds_the_squared_log_normaliser_but_not_to_the_metric():
    _, _, log_z = log_probabilities()
    objective = dataclasses.replace(OBJECTIVE, z_loss=0.1)
    loss, metrics = compiled(objective, train=True)(random_variables(), {"tokens": TOKENS})
    plain, _ = compiled()(random_variables(), {"tokens": TOKENS})
    np.testing.assert_allclose(loss, plain + 0.1 * (log_z**2).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"].mean(), plain, rtol=1e-6)


def test_chunks_of_positions_give_the_same_loss_and_metrics():
    batch = {"tokens": TOKENS, "loss_mask": RNG.random((4, 9)) < 0.6}
    ours, whole = (compiled(dataclasses.replace(OBJECTIVE, z_loss=0.1, loss_chunk=chunk))(
        random_variables(), batch) for chunk in (3, None))
    assert set(ours[1]) == {"loss", "z_loss", "accuracy"}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, whole)


def test_training_spends_no_time_on_accuracy():
    _, metrics = jax.eval_shape(compiled(train=True), random_variables(), {"tokens": TOKENS})
    assert set(metrics) == {"loss"}


def test_a_batch_of_padding_only_has_loss_zero():
    batch = {"tokens": TOKENS, "example_weight": np.zeros(4, np.float32)}
    assert compiled()(random_variables(), batch)[0] == 0


def test_the_dummy_batch_has_the_shape_of_a_batch():
    assert OBJECTIVE.dummy_batch(3)["tokens"].shape == (3, 9)
    assert OBJECTIVE.dummy_batch(3, SimpleNamespace(sequence_length=5))["tokens"].shape == (3, 6)
    loss, metrics = jax.eval_shape(compiled(), random_variables(), OBJECTIVE.dummy_batch(3))
    assert loss.shape == ()
    assert metrics["loss"].total.shape == (3,)


def test_a_config_that_cannot_run_is_a_one_line_error():
    with pytest.raises(ValueError, match="width 8 is not divisible by num_heads 3"):
        dataclasses.replace(OBJECTIVE, model=GPT(width=8, num_heads=3)).validate()
    with pytest.raises(ValueError, match="z_loss must not be negative, not -1"):
        dataclasses.replace(OBJECTIVE, z_loss=-1).validate()
    with pytest.raises(ValueError, match="loss_chunk=0 must be at least 1 position, or None for all at once"):
        dataclasses.replace(OBJECTIVE, loss_chunk=0).validate()

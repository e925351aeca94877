"""Losses by position against the loss itself."""

import jax
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.models.gpt import GPT
from genlab.objectives.loss_by_position import LossByPosition, losses_of
from genlab.objectives.next_token import NextToken

OBJECTIVE = NextToken(model=GPT(vocab_size=12, context_length=20, width=8, depth=1, num_heads=2))
RNG = np.random.default_rng(0)


def of(losses, weights=None, **settings):
    weights = np.ones_like(losses) if weights is None else weights
    return LossByPosition(**settings).run(lambda *_: {"losses": losses, "weights": weights})


@pytest.mark.parametrize("logarithmic", [True, False])
def test_bins_hold_every_place_once(logarithmic):
    losses = RNG.random((6, 20))
    found = of(losses, bins=5, logarithmic=logarithmic)
    del found["loss_by_position/in_context_score"]
    places = []
    for name, (mean, _) in found.items():
        first, last = map(int, name.removeprefix("loss_by_position/").split("_to_"))
        places += range(first, last + 1)
        np.testing.assert_allclose(mean, losses[:, first - 1:last].mean(), rtol=1e-12)
    assert places == list(range(1, 21))


def test_the_score_is_the_late_loss_less_the_early_one_within_each_example():
    losses = np.tile(np.linspace(3, 1, 100), (8, 1)) + RNG.normal(size=(8, 1)) * 5  # Hard and easy texts.
    score = of(losses)["loss_by_position/in_context_score"]
    assert score.mean == pytest.approx(losses[0, 97] - losses[0, 9]) and score.standard_error < 1e-9


def test_targets_that_do_not_count_are_left_out():
    losses = RNG.random((4, 20))
    weights = np.zeros_like(losses)
    weights[:2, 3] = 1
    found = of(losses, weights, bins=20, logarithmic=False)
    assert list(found) == ["loss_by_position/4_to_4"]
    assert found["loss_by_position/4_to_4"].mean == pytest.approx(losses[:2, 3].mean())


def test_a_bin_is_the_mean_of_the_targets_that_count_in_it():
    losses, weights = RNG.random((4, 20)), (RNG.random((4, 20)) < 0.6).astype(float)
    found = of(losses, weights, bins=2, logarithmic=False)
    for name, places in (("1_to_10", slice(0, 10)), ("11_to_20", slice(10, 20))):
        expected = np.average(losses[:, places], weights=weights[:, places])
        assert found[f"loss_by_position/{name}"].mean == pytest.approx(expected)


def test_losses_are_those_of_the_objective():
    variables = jax.jit(OBJECTIVE.init)(jax.random.key(0))
    batch = {"tokens": RNG.integers(12, size=(3, 21)).astype(np.uint8),
             "loss_mask": (RNG.random((3, 21)) < 0.5).astype(np.float32)}

    def both(batch):
        return losses_of(OBJECTIVE, variables, batch), OBJECTIVE.loss(variables, batch, None, False)[0]

    found, loss = jax.jit(both)(batch)
    np.testing.assert_allclose((found["losses"] * found["weights"]).sum() / found["weights"].sum(), loss, rtol=1e-5)


@pytest.mark.parametrize(("settings", "message"), [
    ({"bins": 0}, "bins=0 must be at least 1"),
    ({"early": 0.9, "late": 0.5}, "early=0.9 and late=0.5 must be shares of a sequence in that order"),
])  # fmt: skip
def test_bad_input_is_one_line(settings, message):
    with pytest.raises(ConfigError, match=message):
        LossByPosition(**settings).check(OBJECTIVE, None)
    with pytest.raises(ConfigError, match="losses by position are of next-token prediction, not of NoneType"):
        LossByPosition().check(None, None)

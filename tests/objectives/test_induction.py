"""Induction heads: scores against loops over attention that is known, on a GPT and on made-up weights."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.models.gpt import GPT
from genlab.models.representations import attention_by_layer
from genlab.objectives.diffusion import PointDiffusion
from genlab.objectives.induction import InductionHeads, RepeatedPattern, prefix_matching
from genlab.objectives.next_token import NextToken

MODEL = GPT(vocab_size=12, context_length=9, width=8, depth=2, num_heads=2)
OBJECTIVE = NextToken(model=MODEL)
LETTERS = (1, 3, 4, 7, 9)


@dataclasses.dataclass(frozen=True)
class Sequences:
    """What the checks read of data."""

    sequence_length: int = 8
    vocab_size: int = 12


def collector(variables, held_out):
    """As the loop's: reads are compiled, one batch of all examples."""
    def collect(split, read, examples=0):
        batch = {"tokens": held_out[:examples or None], "index": np.arange(len(held_out))[:examples or None]}
        return jax.device_get(jax.jit(read, static_argnums=0)(OBJECTIVE, variables, batch))

    return collect


@pytest.fixture(scope="module")
def variables():
    fresh = jax.jit(OBJECTIVE.init)(jax.random.key(0))
    return jax.tree.map(lambda x: 3 * x, fresh)  # Heads that differ.


@pytest.fixture(scope="module")
def found(variables):
    return InductionHeads(examples=6).run(collector(variables, np.random.default_rng(0).choice(LETTERS, (10, 9))))


def test_every_heads_scores_are_the_attention_it_pays(variables, found):
    sequences = np.asarray(RepeatedPattern(LETTERS, 4).sequences(np.arange(6)))
    read = jax.jit(functools.partial(attention_by_layer, MODEL))
    logits, layers = read(variables, sequences)
    log_p = np.asarray(jax.nn.log_softmax(logits))
    losses = -np.take_along_axis(log_p, np.roll(sequences, -1, 1)[..., None], axis=2)[..., 0]
    for layer, head in np.ndindex(2, 2):
        weights = np.asarray(layers[layer])[:, head]
        matching = [weights[b, t, t - 3] for b in range(6) for t in range(4, 8)]  # What followed four before.
        previous = [weights[b, t, t - 1] for b in range(6) for t in range(4, 8)]
        for name, values in (("prefix_matching", matching), ("previous_token", previous)):
            mean, _ = found[f"induction/{name}_block_{layer}_head_{head}"]
            np.testing.assert_allclose(mean, np.mean(values), rtol=1e-5)
            assert found[f"induction/{name}"].mean >= mean
    np.testing.assert_allclose(found["induction/repeated_loss"].mean, losses[:, 4:7].mean(), rtol=1e-5)
    np.testing.assert_allclose(found["induction/first_loss"].mean, losses[:, :3].mean(), rtol=1e-5)


def test_even_attention_is_at_chance(variables):
    even = jax.tree.map(lambda x: 0 * x, variables)
    said = InductionHeads(examples=2, length=4).run(collector(even, np.array([LETTERS + (1,) * 4] * 2)))
    for name in ("prefix_matching", "previous_token"):
        assert said[f"induction/{name}"].mean == pytest.approx(said[f"induction/{name}/chance"].mean, rel=1e-5)


def test_patterns_hold_each_token_once_and_repeat():
    make = jax.jit(RepeatedPattern(LETTERS, 4, repeats=3).sequences)
    sequences = np.asarray(make(np.arange(50)))
    assert sequences.shape == (50, 12)
    np.testing.assert_array_equal(sequences[:, :4], sequences[:, 8:])
    assert all(len(set(row[:4])) == 4 for row in sequences) and set(sequences.ravel()) == set(LETTERS)
    assert len({tuple(row) for row in sequences}) > 30
    np.testing.assert_array_equal(make(np.arange(50)[::-1])[::-1], sequences)


def test_prefix_matching_is_a_sum_over_all_earlier_occurrences():
    tokens, weights = np.array([[1, 2, 1, 1, 2]]), np.random.default_rng(0).random((1, 1, 1, 5, 5))
    w = weights[0, 0, 0]
    expected = np.mean([w[2, 1], w[3, 1] + w[3, 3], w[4, 2]])
    np.testing.assert_allclose(prefix_matching(weights, tokens, 2)[0, 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(("evaluation", "objective", "message"), [
    (InductionHeads(), PointDiffusion(model=None), "of causal Transformers over tokens, not of PointDiffusion"),
    (InductionHeads(repeats=1), OBJECTIVE, "repeats=1 repeats nothing; it must be at least 2"),
    (InductionHeads(examples=0), OBJECTIVE, "examples=0 must be at least 1"),
    (InductionHeads(length=5), OBJECTIVE, "a pattern of length 5, 2 times over, must have 2 tokens or more, at most 4"),
    (InductionHeads(repeats=8), OBJECTIVE, "a pattern of length 1, 8 times over"),
])  # fmt: skip
def test_bad_input_is_one_line(evaluation, objective, message):
    with pytest.raises(ConfigError, match=message) as error:
        evaluation.check(objective, Sequences())
    assert "\n" not in str(error.value)


def test_too_few_tokens_to_draw_from_are_one_line():
    with pytest.raises(ConfigError, match="a pattern of 4 tokens needs as many to draw from; held-out data has 2"):
        InductionHeads(length=4).run(lambda *_: {"tokens": np.array([[1, 2] * 4 + [1]])})

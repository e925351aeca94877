"""Generation: cached decoding against uncached, the sampling rules against their definitions, bad requests."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.models.generation import Sampling, compiled_decode, generate, sample_token, truncate
from genlab.models.gpt import GPT
from genlab.models.transformer import stack_blocks

LEARNED = GPT(vocab_size=23, context_length=40, width=16, depth=1, num_heads=4)
ROTARY = dataclasses.replace(
    LEARNED, depth=2, positions="rotary", num_kv_heads=2, qk_norm=True, norm="rmsnorm"
)
PROMPTS = [[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5], [7], [2, 2, 2], [8, 0, 8]]
# Greedy, plain, truncated by rank, truncated by mass: all in one batch.
SETTINGS = {"temperature": [0.0, 1.0, 0.7, 1.3], "top_k": [0, 0, 4, 0], "top_p": [1.0, 1.0, 1.0, 0.7]}


def random_params(model):
    """Parameters of the right shapes, drawn by NumPy: an initialiser takes a second to compile."""
    rng = np.random.default_rng(5)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    return jax.tree.map(lambda s: rng.normal(0.1, 0.4, s.shape).astype(np.float32), shapes)


def settings_of(temperature=1.0, top_k=0, top_p=1.0, count=1):
    """The same settings for `count` requests."""
    return Sampling(
        jnp.full(count, temperature), jnp.full(count, top_k, jnp.int32), jnp.full(count, top_p)
    )


def generate_uncached(model, params, prompts, count, sampling, seed):
    """Decodes with a full forward pass per token over right-padded rows, which causality leaves unseen."""
    rows = np.zeros((len(prompts), model.context_length), np.int32)
    lengths = np.array([len(prompt) for prompt in prompts])
    for row, prompt in zip(rows, prompts, strict=True):
        row[: len(prompt)] = prompt
    every = np.arange(len(prompts))

    @jax.jit
    def next_tokens(params, rows, lengths, step):
        logits = model.apply({"params": params}, rows)[every, lengths - 1]
        return sample_token(logits, jax.random.key(seed), step, sampling)

    for step in range(count):
        rows[every, lengths] = next_tokens(params, rows, lengths, step)
        lengths += 1
    return [row[length - count : length] for row, length in zip(rows, lengths, strict=True)]


@pytest.mark.parametrize("model", [LEARNED, ROTARY], ids=["learned", "rotary"])
def test_cached_and_uncached_decoding_give_the_same_tokens(model):
    params = random_params(model)
    cached = generate(model, params, PROMPTS, max_new_tokens=20, seed=3, **SETTINGS)
    sampling = Sampling(*(jnp.asarray(values) for values in SETTINGS.values()))
    uncached = generate_uncached(model, params, PROMPTS, 20, sampling, seed=3)
    np.testing.assert_array_equal(cached, uncached)
    assert len({tuple(row) for row in cached}) == len(PROMPTS)


def test_scanned_layers_give_the_same_tokens():
    params = random_params(ROTARY)
    expected = generate(ROTARY, params, PROMPTS, max_new_tokens=20, seed=3, **SETTINGS)
    scanned = dataclasses.replace(ROTARY, scan_layers=True)
    stacked = params | {"transformer": stack_blocks(params["transformer"])}
    tokens = generate(scanned, stacked, PROMPTS, max_new_tokens=20, seed=3, **SETTINGS)
    np.testing.assert_array_equal(tokens, expected)


def test_one_compilation_serves_all_settings_lengths_and_seeds():
    params = random_params(LEARNED)
    first = generate(LEARNED, params, PROMPTS, max_new_tokens=20, seed=3, **SETTINGS)
    compiled = compiled_decode(LEARNED, 32, None)
    assert compiled._cache_size() == 1
    other = [[1] * 9, [2], [3] * 16, [4]]
    generate(LEARNED, params, other, max_new_tokens=17, temperature=0.0, top_p=0.5, stop_token=3)
    second = generate(LEARNED, params, PROMPTS, max_new_tokens=20, seed=4, **SETTINGS)
    assert compiled._cache_size() == 1
    np.testing.assert_array_equal(first[0], second[0])  # greedy: no randomness
    assert any(first[1] != second[1])


def test_a_row_ends_after_its_stop_token_and_the_others_go_on():
    params = random_params(LEARNED)
    whole = generate(LEARNED, params, PROMPTS, max_new_tokens=20, seed=3, **SETTINGS)
    stop = int(whole[1][4])
    stopped = generate(LEARNED, params, PROMPTS, max_new_tokens=20, seed=3, stop_token=stop, **SETTINGS)
    assert len(stopped[1]) <= 5
    for row, ended in zip(whole, stopped, strict=True):
        where = np.flatnonzero(row == stop)
        np.testing.assert_array_equal(ended, row[: where[0] + 1] if len(where) else row)


def test_top_k_and_top_p_keep_the_tokens_of_their_definitions():
    logits = np.random.default_rng(0).normal(size=(1, 30)).astype(np.float32) * 2
    order = np.argsort(-logits[0])
    probabilities = np.exp(logits[0]) / np.exp(logits[0]).sum()
    keep = jax.jit(lambda k, p: truncate(logits, settings_of(top_k=k, top_p=p)) > -jnp.inf)

    def kept(k, p):
        return set(np.flatnonzero(keep(k, p)[0]))

    assert kept(7, 1.0) == set(order[:7])
    assert kept(0, 1.0) == kept(30, 1.0) == kept(99, 1.0) == set(order)
    assert kept(0, 1e-6) == kept(1, 0.9) == {order[0]}
    for p in (0.3, 0.6, 0.95):
        size = next(n for n in range(1, 31) if probabilities[order[:n]].sum() >= p)
        assert kept(0, p) == set(order[:size])
    # Both: the nucleus of the renormalised k most likely.
    renormalised = probabilities[order[:5]] / probabilities[order[:5]].sum()
    size = next(n for n in range(1, 6) if renormalised[:n].sum() >= 0.8)
    assert kept(5, 0.8) == set(order[:size])


def test_sampled_frequencies_are_the_softmax_at_its_temperature():
    logits = np.random.default_rng(1).normal(size=8).astype(np.float32)
    count = 20_000
    tokens = jax.jit(sample_token)(
        jnp.tile(logits, (count, 1)), jax.random.key(0), 5, settings_of(temperature=0.5, count=count)
    )
    expected = np.exp(logits / 0.5) / np.exp(logits / 0.5).sum() * count
    observed = np.bincount(tokens, minlength=8)
    # Pearson's statistic, 7 degrees of freedom: above 24.3 once in a thousand.
    assert ((observed - expected) ** 2 / expected).sum() < 24.3


@pytest.mark.parametrize(
    ("prompts", "settings", "message"),
    [
        ([[1] * 40], {}, "prompt 0 of 40 tokens and 5 new ones do not fit the model's context_length 40"),
        ([[1], [1] * 36], {}, "prompt 1 of 36 tokens and 5 new ones do not fit"),
        ([[1], []], {}, "prompt 1 is empty"),
        ([], {}, "there is no prompt"),
        ([[1, 23]], {}, "prompt 0 has tokens outside the vocabulary of 23"),
        ([[-1]], {}, "prompt 0 has tokens outside the vocabulary of 23"),
        ([[1]], {"max_new_tokens": 0}, "max_new_tokens must be at least 1, not 0"),
        ([[1]], {"top_p": 0.0}, r"top_p must be in \(0, 1\], not 0.0"),
        ([[1]], {"top_p": 1.5}, r"top_p must be in \(0, 1\], not 1.5"),
        ([[1]], {"temperature": -1.0}, "must not be negative"),
        ([[1]], {"top_k": -2}, "must not be negative"),
        ([[1]], {"temperature": [1.0, 0.5]}, "temperature has 2 values for 1 prompts"),
    ],
)
def test_bad_requests_are_one_line_errors(prompts, settings, message):
    with pytest.raises(ValueError, match=message) as error:
        generate(LEARNED, {}, prompts, **({"max_new_tokens": 5} | settings))
    assert "\n" not in str(error.value)

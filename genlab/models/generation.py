"""Text generation with a key-value cache: one compiled function fills the cache and decodes.

Prompts are padded on the left to a power of two, so that all rows write the same cache slot, and one
compilation serves every prompt length up to it. Sampling settings are traced arrays, one per request.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genlab.models import placement
from genlab.models.gpt import GPT

NO_TOKEN = -1  # a stop token that no token equals


class Sampling(NamedTuple):
    """How each request picks its next token, arrays of shape [B].

    `temperature` 0 is greedy. `top_k` 0 and `top_p` 1 leave all tokens in.
    """

    temperature_B: jax.Array
    top_k_B: jax.Array
    top_p_B: jax.Array


def truncate(logits_BV, sampling: Sampling):
    """Returns logits with all but the top-k tokens, and of these all but the top-p nucleus, at -inf.

    The nucleus is the smallest set of most likely tokens whose probabilities sum to at least p
    (Holtzman et al. 2019, arXiv 1904.09751, section 3.1). Tokens as likely as the last one stay in.
    """
    V = logits_BV.shape[-1]
    sorted_BV = -jnp.sort(-logits_BV, axis=-1)
    k_B1 = jnp.where(sampling.top_k_B > 0, sampling.top_k_B, V)[:, None]
    rank_V = jnp.arange(V)
    sorted_BV = jnp.where(rank_V < k_B1, sorted_BV, -jnp.inf)
    probabilities_BV = jax.nn.softmax(sorted_BV, axis=-1)
    # A token stays while those before it have not reached p: the first one always does.
    before_BV = jnp.cumsum(probabilities_BV, axis=-1) - probabilities_BV
    kept_BV = (rank_V < k_B1) & (before_BV < sampling.top_p_B[:, None])
    lowest_B1 = jnp.min(jnp.where(kept_BV, sorted_BV, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits_BV >= lowest_B1, logits_BV, -jnp.inf)


def sample_token(logits_BV, key, step, sampling: Sampling):
    """Returns the next tokens, int32 [B], for float32 logits [B, V].

    Row b's randomness is fold_in(fold_in(key, b), step): it depends on nothing else in the batch.
    """
    greedy_B = jnp.argmax(logits_BV, axis=-1)
    temperature_B1 = sampling.temperature_B[:, None]
    scaled_BV = logits_BV / jnp.where(temperature_B1 > 0, temperature_B1, 1.0)
    # Sorting the vocabulary is the dearest part of a step: leave it out where no request needs it.
    truncated = jnp.any((sampling.top_k_B > 0) | (sampling.top_p_B < 1))
    scaled_BV = jax.lax.cond(truncated, lambda x: truncate(x, sampling), lambda x: x, scaled_BV)
    fold = functools.partial(jax.random.fold_in, key)
    keys_B = jax.vmap(lambda row: jax.random.fold_in(fold(row), step))(jnp.arange(len(logits_BV)))
    sampled_B = jax.vmap(jax.random.categorical)(keys_B, scaled_BV)
    return jnp.where(sampling.temperature_B > 0, sampled_B, greedy_B).astype(jnp.int32)


class _Decoding(NamedTuple):
    """The carry of the decoding loop."""

    step: jax.Array
    logits_BV: jax.Array
    cache: tuple
    tokens_BN: jax.Array
    done_B: jax.Array


def decode(model: GPT, params, prompts_BP, start_B, sampling, key, max_new_tokens, stop_token, *, room):
    """Returns the tokens that follow left-padded prompts [B, P]: int32 [B, room], and how many are real, [B].

    `start_B`: the first real slot of each row. `room`: static, at least `max_new_tokens`, which is traced. A row ends
    after `stop_token`.
    """
    B, P = prompts_BP.shape
    variables = {"params": params}
    cache = model.empty_cache(B, P + room, start_B)
    states_BPD, cache = model.apply(variables, prompts_BP, cache=cache, method="hidden_states")
    logits_BV = model.apply(variables, states_BPD[:, -1], method="logits")
    tokens_BN = jnp.full((B, room), NO_TOKEN, jnp.int32)

    def unfinished(c: _Decoding):
        return (c.step < max_new_tokens) & ~jnp.all(c.done_B)

    def advance(c: _Decoding) -> _Decoding:
        token_B = sample_token(c.logits_BV, key, c.step, sampling)
        token_B = jnp.where(c.done_B, NO_TOKEN, token_B)
        tokens_BN = c.tokens_BN.at[:, c.step].set(token_B)
        done_B = c.done_B | (token_B == stop_token)
        inputs_B1 = jnp.maximum(token_B, 0)[:, None]
        logits_B1V, cache = model.apply(variables, inputs_B1, cache=c.cache)
        return _Decoding(c.step + 1, logits_B1V[:, 0], cache, tokens_BN, done_B)

    start = _Decoding(jnp.zeros((), jnp.int32), logits_BV, cache, tokens_BN, jnp.zeros((B,), bool))
    tokens_BN = jax.lax.while_loop(unfinished, advance, start).tokens_BN
    return tokens_BN, jnp.sum(tokens_BN != NO_TOKEN, axis=-1)


@functools.lru_cache(maxsize=32)
def compiled_decode(model: GPT, room: int, where):
    """`decode`, filling the cache included, as one function of its own for each plan that it is traced under."""
    return jax.jit(functools.partial(decode, model, room=room))


def generate(
    model: GPT,
    params,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float | Sequence[float] = 1.0,
    top_k: int | Sequence[int] = 0,
    top_p: float | Sequence[float] = 1.0,
    stop_token: int | None = None,
    seed: int = 0,
) -> list[np.ndarray]:
    """Returns the tokens that the model writes after each prompt, int32 arrays of at most `max_new_tokens`.

    `temperature` (0 is greedy), `top_k` (0 is all) and `top_p` are one for all or one per prompt. A row ends with
    `stop_token` if it comes. Compiled once per number of prompts and per power of two of the prompt and new lengths.
    Under a plan (genlab/models/placement.py) the prompts are cut over the devices, and `params` may be.

    Raises ValueError for an empty prompt, tokens outside the vocabulary, settings out of range, and prompts that do
    not leave room for `max_new_tokens` in the model's context.
    """
    prompts = [np.asarray(prompt, np.int32).reshape(-1) for prompt in prompts]
    check_prompts(model, prompts, max_new_tokens)
    sampling = _sampling(len(prompts), temperature, top_k, top_p)
    longest = max(len(prompt) for prompt in prompts)
    P = _power_of_two(longest, model.context_length)
    padded_BP = np.zeros((len(prompts), P), np.int32)
    for row, prompt in zip(padded_BP, prompts, strict=True):
        row[P - len(prompt) :] = prompt
    start_B = np.array([P - len(prompt) for prompt in prompts], np.int32)
    room = _power_of_two(max_new_tokens, model.context_length)
    tokens_BN, length_B = compiled_decode(model, room, placement.where())(
        params,
        padded_BP,
        start_B,
        sampling,
        jax.random.key(seed),
        max_new_tokens,
        NO_TOKEN if stop_token is None else stop_token,
    )
    tokens_BN, length_B = jax.device_get((tokens_BN, length_B))
    return [row[:length] for row, length in zip(tokens_BN, length_B, strict=True)]


def check_prompts(model: GPT, prompts: Sequence[np.ndarray], max_new_tokens: int) -> None:
    """Raises ValueError, in one line, for prompts that the model cannot continue by `max_new_tokens`."""
    if not prompts:
        raise ValueError("there is no prompt: give at least one")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
    for i, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ValueError(f"prompt {i} is empty: give at least one token")
        if prompt.min() < 0 or prompt.max() >= model.vocab_size:
            raise ValueError(f"prompt {i} has tokens outside the vocabulary of {model.vocab_size}")
        if len(prompt) + max_new_tokens > model.context_length:
            raise ValueError(
                f"prompt {i} of {len(prompt)} tokens and {max_new_tokens} new ones do not fit the model's "
                f"context_length {model.context_length}: shorten the prompt or ask for fewer tokens"
            )


def _sampling(count: int, temperature, top_k, top_p) -> Sampling:
    """Returns the settings as arrays [count]; raises ValueError where one is out of range."""
    named = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    for name, value in named.items():
        if np.ndim(value) and len(value) != count:
            raise ValueError(f"{name} has {len(value)} values for {count} prompts: give one, or one per prompt")
    if np.any(np.less(temperature, 0)) or np.any(np.less(top_k, 0)):
        raise ValueError(f"temperature {temperature} and top_k {top_k} must not be negative")
    if np.any(np.less_equal(top_p, 0)) or np.any(np.greater(top_p, 1)):
        raise ValueError(f"top_p must be in (0, 1], not {top_p}")
    kinds = (np.float32, np.int32, np.float32)
    return Sampling(*(np.full(count, v, kind) for v, kind in zip(named.values(), kinds, strict=True)))


def _power_of_two(length: int, limit: int) -> int:
    """Returns the least power of two from `length` (and 16) up, but at most `limit`."""
    return min(max(16, 1 << (length - 1).bit_length()), limit)

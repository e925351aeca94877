"""Induction heads: heads that, at a token seen before, look at what came after it then, and so copy it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError
from genlab.models import ops
from genlab.models.representations import attention_by_layer
from genlab.objectives.metric import Estimate, ratio_estimate
from genlab.objectives.probes import Collect


@dataclasses.dataclass(frozen=True)
class InductionHeads:
    """Scores of every head on a random pattern of tokens that is repeated (Olsson et al. 2022, arXiv 2209.11895).

    "induction/prefix_matching_block_1_head_0" and so on: the attention from a token of a repetition to the tokens that
    followed it before, the mean over such tokens (their section "Prefix matching"); and "induction/previous_token_...",
    the attention to the token before, which the head that an induction head reads from pays (the same, "previous token
    heads"). "induction/prefix_matching" and "induction/previous_token" are those of the best head, with ".../chance"
    what even attention would pay. "induction/first_loss" and "induction/repeated_loss" are the losses, in nats per
    token, where the pattern is new and where it is repeated.

    The tokens of a pattern are drawn, each once, from those that occur in held-out data, evenly.

    Attributes:
      length: of the pattern; by default as long as fits, with as many tokens as there are to draw.
      repeats: how often it stands in the sequence.
      examples: patterns, at most as many as there are held-out examples.
    """

    length: int | None = None
    repeats: int = 2
    examples: int = 128

    def check(self, objective: Any, data: Any) -> None:
        """See genlab/objectives/probes.py."""
        model = getattr(objective, "model", None)
        if not (hasattr(model, "vocab_size") and hasattr(model, "stack_config") and model.stack_config().causal):
            raise ConfigError(f"induction heads are of causal Transformers over tokens, not of "
                              f"{type(objective).__name__}")
        if self.repeats < 2:
            raise ConfigError(f"repeats={self.repeats} repeats nothing; it must be at least 2")
        if self.examples < 1:
            raise ConfigError(f"examples={self.examples} must be at least 1")
        room = min(data.sequence_length, objective.model.context_length) // self.repeats
        most = min(room, data.vocab_size)
        length = most if self.length is None else self.length
        if not 2 <= length <= most:
            raise ConfigError(f"a pattern of length {length}, {self.repeats} times over, must have 2 tokens or more, "
                              f"at most {room} in sequences of {data.sequence_length} tokens and at most "
                              f"{data.vocab_size}, the vocabulary")

    def run(self, collect: Collect) -> dict[str, Estimate]:
        """See genlab/objectives/probes.py."""
        tokens = collect("held_out", tokens_of, self.examples)["tokens"]
        vocabulary = tuple(np.unique(tokens[:, 1:]).tolist())  # Without a separator that only begins sequences.
        most = min((tokens.shape[1] - 1) // self.repeats, len(vocabulary))
        length = most if self.length is None else self.length
        if length > most:
            raise ConfigError(f"a pattern of {length} tokens needs as many to draw from; held-out data has "
                              f"{len(vocabulary)}")
        found = collect("held_out", RepeatedPattern(vocabulary, length, self.repeats), self.examples)
        said = {f"induction/{name}": _mean(found[name]) for name in ("first_loss", "repeated_loss")}
        later_T = np.arange(length, length * self.repeats)  # the queries, of which T + 1 keys are seen
        repeated_T = later_T // length  # earlier occurrences
        chance = {"prefix_matching": repeated_T / (later_T + 1), "previous_token": 1 / (later_T + 1)}
        for name, even_T in chance.items():
            heads = {f"induction/{name}_block_{layer}_head_{head}": _mean(found[name][:, layer, head])
                     for layer in range(found[name].shape[1]) for head in range(found[name].shape[2])}
            said |= {f"induction/{name}": max(heads.values()),
                     f"induction/{name}/chance": Estimate(float(even_T.mean()), np.nan), **heads}
        return said | {"induction/examples": Estimate(float(len(tokens)), np.nan)}


@dataclasses.dataclass(frozen=True)
class RepeatedPattern:
    """What is read of a model on a pattern for each example of a batch: scores [B, L, H] and losses [B].

    Attributes:
      vocabulary: the tokens to draw from, each at most once.
      length: of the pattern.
      repeats: of it.
    """

    vocabulary: tuple[int, ...]
    length: int
    repeats: int = 2

    def __call__(self, objective: Any, variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """See genlab/objectives/probes.py."""
        tokens_BT = self.sequences(batch["index"])
        logits_BTV, layers = attention_by_layer(objective.model, variables, tokens_BT)
        losses_BT, _ = ops.cross_entropy(logits_BTV[:, :-1], tokens_BT[:, 1:])
        weights_BLHTT = jnp.stack(layers, axis=1)
        return {
            "prefix_matching": prefix_matching(weights_BLHTT, tokens_BT, self.length),
            "previous_token": jnp.diagonal(weights_BLHTT, -1, -2, -1)[..., self.length - 1:].mean(axis=-1),
            # Nothing tells the first token of a repetition apart from any other but the pattern's length.
            "first_loss": losses_BT[:, :self.length - 1].mean(axis=-1),
            "repeated_loss": losses_BT[:, self.length:].mean(axis=-1),
        }

    def sequences(self, index_B: jax.Array) -> jax.Array:
        """Patterns and their repetitions, int32 [B, repeats length]: a pure function of the example's index."""
        def pattern(index):
            key = jax.random.fold_in(jax.random.key(0), index)
            return jax.random.permutation(key, jnp.asarray(self.vocabulary, jnp.int32))[:self.length]

        return jnp.tile(jax.vmap(pattern)(index_B), (1, self.repeats))


def prefix_matching(weights_BLHTT: jax.Array, tokens_BT: jax.Array, start: int) -> jax.Array:
    """The attention from each token to all that followed an earlier one like it, mean over tokens from `start` on.

    Args:
      weights_BLHTT: attention of every layer and head.
      tokens_BT: what was read.
      start: the first token that counts, at least 1.

    Returns:
      [B, L, H].
    """
    T = tokens_BT.shape[1]
    same_BTT = tokens_BT[:, :, None] == tokens_BT[:, None, :-1]  # of query t and key s - 1
    earlier_TT = jnp.arange(T)[:, None] > jnp.arange(T - 1)
    paid_BLHT = jnp.einsum("blhts,bts->blht", weights_BLHTT[..., 1:], same_BTT & earlier_TT)
    return paid_BLHT[..., start:].mean(axis=-1)


def tokens_of(objective: Any, variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The tokens of a batch."""
    return {"tokens": batch["tokens"]}


def _mean(values_N: np.ndarray) -> Estimate:
    return ratio_estimate(values_N, np.ones(len(values_N)))

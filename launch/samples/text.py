"""Text that continues a prompt, and attention over it."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from genlab.configuration import ConfigError
from genlab.figures.attention_maps import attention_maps
from genlab.models.representations import attention_by_layer
from genlab.trained import Trained


def continuations(run: Trained, prompts: Sequence[str], tokens: int | None, **settings: Any) -> list[str]:
    """Each prompt with what follows it.

    Args:
      run: of an objective that generates, on text.
      prompts: the texts to continue.
      tokens: most new ones; by default 128, or what the model's context holds beside the prompt.
      settings: temperature, top_k, top_p, seed (genlab/models/generation.py).
    """
    objective, tokenizer = run.experiment.objective, run.experiment.data.load_tokenizer(run.folder / "data")
    encoded = [[tokenizer.separator, *tokenizer.encode(text)] for text in prompts]
    room = objective.model.context_length - max(map(len, encoded))
    with run.program.plan.placing():
        found = objective.generate(run.variables, encoded, max_new_tokens=tokens or max(1, min(128, room)),
                                   stop_token=tokenizer.separator, **settings)
    return [text + tokenizer.decode(new) for text, new in zip(prompts, found, strict=True)]


def draw_attention(run: Trained, prompt: str) -> tuple[Figure, str]:
    """(every layer's and head's attention over a prompt, after a separator as in training; a line about it).

    Raises:
      ConfigError: no prompt, or a longer one than the model's context holds.
    """
    model, tokenizer = run.experiment.objective.model, run.experiment.data.load_tokenizer(run.folder / "data")
    if not prompt:
        raise ConfigError("--attention needs a text to look at: give a --prompt")
    tokens = np.array([tokenizer.separator, *tokenizer.encode(prompt)])
    if len(tokens) > model.context_length:
        raise ConfigError(f"the prompt has {len(tokens)} tokens, its separator among them, and the model's context "
                          f"holds {model.context_length}; shorten it")
    _, layers = jax.jit(functools.partial(attention_by_layer, model))(run.variables, tokens[None])
    weights = np.stack([np.asarray(layer[0]) for layer in layers])
    names = ["start", *(tokenizer.decode([token]) for token in tokens[1:])]
    figure = attention_maps(weights, names)
    return figure, "layers: {}, heads: {}, tokens: {}".format(*weights.shape)

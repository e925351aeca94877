"""Text that continues a prompt."""

from collections.abc import Sequence
from typing import Any

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
    found = objective.generate(run.variables, encoded, max_new_tokens=tokens or max(1, min(128, room)),
                               stop_token=tokenizer.separator, **settings)
    return [text + tokenizer.decode(new) for text, new in zip(prompts, found, strict=True)]

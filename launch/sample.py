"""Samples from a run: text that continues a prompt.

    python -m launch.sample --workdir=runs/gpt --prompt="def main(" --temperature=0.7
"""

from absl import flags

from genlab.configuration import ConfigError
from genlab.experiment import load_run
from genlab.training.program import enable_compilation_cache
from launch import flags as command

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_PROMPT = flags.DEFINE_multi_string("prompt", [""], "Text to continue; give it again for more prompts at once.")
_TOKENS = flags.DEFINE_integer("tokens", None, "Most new tokens of a continuation; by default 128, or what the "
                               "model's context holds beside the prompt.", lower_bound=1)
_TEMPERATURE = flags.DEFINE_float("temperature", 0.8, "0 takes the most likely token.", lower_bound=0.0)
_TOP_K = flags.DEFINE_integer("top_k", 0, "Sample among so many most likely tokens; 0 for all.", lower_bound=0)
_TOP_P = flags.DEFINE_float("top_p", 1.0, "Sample among the tokens that hold this much of the probability.",
                            lower_bound=0.0, upper_bound=1.0)
_SAMPLES = flags.DEFINE_integer("samples", 1, "Continuations of each prompt.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Another seed gives another text.")


def main() -> int:
    """Prints each prompt with its continuations."""
    enable_compilation_cache()
    run = load_run(_WORKDIR.value)
    objective, data = run.experiment.objective, run.experiment.data
    if not hasattr(objective, "generate") or not hasattr(data, "load_tokenizer"):
        raise ConfigError(f"{_WORKDIR.value} holds a run of {type(objective).__name__} on {type(data).__name__}, "
                          "which makes no text")
    tokenizer = data.load_tokenizer(run.folder / "data")
    texts = [prompt for prompt in _PROMPT.value for _ in range(_SAMPLES.value)]
    prompts = [[tokenizer.separator, *tokenizer.encode(text)] for text in texts]
    room = objective.model.context_length - max(map(len, prompts))
    continuations = objective.generate(
        run.variables, prompts, max_new_tokens=_TOKENS.value or max(1, min(128, room)), temperature=_TEMPERATURE.value,
        top_k=_TOP_K.value, top_p=_TOP_P.value, stop_token=tokenizer.separator, seed=_SEED.value)
    for index, (text, tokens) in enumerate(zip(texts, continuations, strict=True)):
        if index:
            print("-" * 80)
        print(text + tokenizer.decode(tokens))
    return 0


if __name__ == "__main__":
    command.run(main)

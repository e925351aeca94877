"""Text as training data: a corpus, a tokenizer and a sequence length."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from genlab.configuration import ConfigError
from genlab.data.corpora import Corpus, StandardLibrary
from genlab.data.sources import Splits, TokenWindows
from genlab.data.streams import token_stream
from genlab.data.tokenizers import Bytes, Tokenizer, TokenizerConfig


@dataclass(frozen=True)
class Text:
    """Documents joined by separators, cut into sequences: each token is a target once an epoch.

    Examples are {"tokens": [sequence_length + 1]} in the smallest unsigned dtype; inputs are all but
    the last, targets all but the first.

    Attributes:
      source: where documents come from.
      tokenizer: what makes tokens of them.
      sequence_length: targets in an example.
      max_tokens: train on so many tokens from the start of the corpus; none for all.
      max_held_out_tokens: likewise for the held-out text.
    """

    source: Corpus = StandardLibrary()
    tokenizer: TokenizerConfig = Bytes()
    sequence_length: int = 256
    max_tokens: int | None = None
    max_held_out_tokens: int | None = None

    def __post_init__(self):
        if self.sequence_length < 1:
            raise ConfigError(f"sequence_length {self.sequence_length} must be at least 1")
        for name in ("max_tokens", "max_held_out_tokens"):
            if getattr(self, name) is not None and getattr(self, name) < 2:
                raise ConfigError(f"{name} {getattr(self, name)} must be at least 2")

    @property
    def vocab_size(self) -> int:
        """The tokenizer's vocabulary."""
        return self.tokenizer.vocab_size

    @property
    def tokens_per_example(self) -> int:
        """Targets in an example."""
        return self.sequence_length

    def load(self) -> Splits:
        """The corpus as examples; it is read once per process, whatever the sequence length."""
        tokenizer = self.tokenizer.prepare(self.source)
        streams = {
            "train": token_stream(self.source, self.tokenizer, "train", self.max_tokens),
            "held_out": token_stream(
                self.source, self.tokenizer, "held_out", self.max_held_out_tokens
            ),
        }
        windows = {name: TokenWindows(s.tokens, self.sequence_length) for name, s in streams.items()}
        hashes = "".join(stream.sha256 for stream in streams.values())
        description = {
            "data_hash": hashlib.sha256(hashes.encode()).hexdigest(),
            "source": type(self.source).__name__,
            "tokenizer": type(self.tokenizer).__name__,
            "vocab_size": self.vocab_size,
            "sequence_length": self.sequence_length,
            **self.source.describe(),
        }
        for name, stream in streams.items():
            facts = stream.facts() | {"examples": len(windows[name])}
            description |= {f"{name}_{key}": value for key, value in facts.items()}
        return Splits(**windows, description=description, files=tokenizer.files())

    def load_tokenizer(self, folder: Path | None = None) -> Tokenizer:
        """The tokenizer ready for use: from a finished run's data folder, or from the corpus."""
        if folder is None:
            return self.tokenizer.prepare(self.source)
        return self.tokenizer.restore(folder)

"""Examples as a pure function of (seed, step): sources, tokenizers, batches."""

from genlab.data.batches import Batches, sequential_batches
from genlab.data.corpora import Corpus, StandardLibrary
from genlab.data.sources import InMemory, Source, Splits, TokenWindows, gather_examples
from genlab.data.text import Text
from genlab.data.tokenizers import Bytes, Tokenizer

__all__ = [
    "Batches",
    "Bytes",
    "Corpus",
    "InMemory",
    "Source",
    "Splits",
    "StandardLibrary",
    "Text",
    "TokenWindows",
    "Tokenizer",
    "gather_examples",
    "sequential_batches",
]

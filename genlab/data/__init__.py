"""Examples as a pure function of (seed, step): sources, tokenizers, batches."""

from genlab.data.batches import Batches, sequential_batches
from genlab.data.byte_pairs import BytePairEncoding
from genlab.data.corpora import Corpus, StandardLibrary, TextFiles
from genlab.data.sources import InMemory, Source, Splits, TokenWindows, gather_examples
from genlab.data.text import Text
from genlab.data.tfds_text import TfdsText
from genlab.data.token_files import TokenFiles
from genlab.data.tokenizers import Bytes, Tokenizer

__all__ = [
    "Batches",
    "BytePairEncoding",
    "Bytes",
    "Corpus",
    "InMemory",
    "Source",
    "Splits",
    "StandardLibrary",
    "Text",
    "TextFiles",
    "TfdsText",
    "TokenFiles",
    "TokenWindows",
    "Tokenizer",
    "gather_examples",
    "sequential_batches",
]

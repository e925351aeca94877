"""Examples as a pure function of (seed, step): sources, tokenizers, transforms, batches."""

from genlab.data.batches import Batches, sequential_batches
from genlab.data.byte_pairs import BytePairEncoding
from genlab.data.color_transforms import ColorJitter, GaussianBlur, Grayscale
from genlab.data.corpora import Corpus, StandardLibrary, TextFiles
from genlab.data.functions import Functions, GaussianClasses, LinearFunctions
from genlab.data.image_sources import Digits, ImageSource, TfdsImages
from genlab.data.images import Images
from genlab.data.patterns import Patterns
from genlab.data.points import Checkerboard, EightGaussians, Points, TwoMoons
from genlab.data.rand_augment import RandAugment
from genlab.data.sources import InMemory, Source, Splits, TokenWindows, gather_examples
from genlab.data.text import Text
from genlab.data.tfds_text import TfdsText
from genlab.data.token_files import TokenFiles
from genlab.data.tokenizers import Bytes, Tokenizer
from genlab.data.transforms import CenterCrop, InceptionCrop, RandomCrop, RandomFlip, Resize, Transform

__all__ = [
    "Batches",
    "BytePairEncoding",
    "Bytes",
    "CenterCrop",
    "Checkerboard",
    "ColorJitter",
    "Corpus",
    "Digits",
    "EightGaussians",
    "Functions",
    "GaussianBlur",
    "GaussianClasses",
    "Grayscale",
    "ImageSource",
    "Images",
    "InMemory",
    "InceptionCrop",
    "LinearFunctions",
    "Patterns",
    "Points",
    "RandAugment",
    "RandomCrop",
    "RandomFlip",
    "Resize",
    "Source",
    "Splits",
    "StandardLibrary",
    "Text",
    "TextFiles",
    "TfdsImages",
    "TfdsText",
    "TokenFiles",
    "TokenWindows",
    "Tokenizer",
    "Transform",
    "TwoMoons",
    "gather_examples",
    "sequential_batches",
]

"""A measured value with its standard error, and the checks that every measure makes of its features."""

from typing import NamedTuple

import numpy as np

from genlab.configuration import ConfigError


class Score(NamedTuple):
    """A value and its standard error, of which each measure says what it covers."""

    value: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.value:.4g} +- {self.standard_error:.2g}"


def proportion(true_N: np.ndarray) -> Score:
    """The mean of booleans [N], and the binomial standard error of two more that are true and two that are not.

    That is Agresti and Coull 1998 ("Approximate is better than exact for interval estimation of binomial proportions").
    The plain one is 0 where all are alike; twice this one is then 2.8 / N, near the 3 / N of an exact 95 % bound.
    """
    N, adjusted = len(true_N), (np.sum(true_N) + 2) / (len(true_N) + 4)
    return Score(float(np.mean(true_N)), float(np.sqrt(adjusted * (1 - adjusted) / (N + 4))))


def read_accuracy(probabilities_NK: np.ndarray, labels_N: np.ndarray) -> Score:
    """How many samples a classifier reads as the class that was asked for.

    Args:
      probabilities_NK: the classifier's, or its logits, float [N, K].
      labels_N: the class of each sample, int [N].

    Raises:
      ConfigError: other shapes, or a label that is no class of the classifier.
    """
    probabilities_NK, labels_N = np.asarray(probabilities_NK), np.asarray(labels_N)
    if probabilities_NK.ndim != 2 or labels_N.shape != probabilities_NK.shape[:1] or not len(labels_N):
        raise ConfigError(f"probabilities must be [N, K] and labels [N] with N >= 1, not "
                          f"{list(probabilities_NK.shape)} and {list(labels_N.shape)}")
    K = probabilities_NK.shape[1]
    if labels_N.min() < 0 or labels_N.max() >= K:
        raise ConfigError(f"labels go from {labels_N.min()} to {labels_N.max()}; the classifier knows 0 to {K - 1}")
    if not np.isfinite(probabilities_NK).all():
        raise ConfigError("the classifier's probabilities are not all finite")
    return proportion(probabilities_NK.argmax(axis=1) == labels_N)


def checked(features_ND: np.ndarray, name: str, at_least: int = 2) -> np.ndarray:
    """Returns the features as an array.

    Raises:
      ConfigError: they are not [N, D], fewer than `at_least`, or not finite.
    """
    features_ND = np.asarray(features_ND)
    if features_ND.ndim != 2 or features_ND.shape[1] == 0:
        raise ConfigError(f"features of {name} must be [N, D], not {list(features_ND.shape)}")
    if len(features_ND) < at_least:
        raise ConfigError(f"{len(features_ND)} {name} are too few; this measure needs at least {at_least}")
    if not np.isfinite(features_ND.sum(dtype=np.float64)):
        raise ConfigError(f"features of {name} are not all finite")
    return features_ND


def checked_pair(samples_ND, references_MD, at_least: int = 2, names=("samples", "references")):
    """Returns both as arrays.

    Raises:
      ConfigError: as `checked`, or the two differ in width.
    """
    pair = tuple(checked(each, name, at_least) for each, name in zip((samples_ND, references_MD), names, strict=True))
    check_widths(pair[0].shape[1], pair[1].shape[1], *names)
    return pair


def check_widths(width: int, other: int, name: str = "samples", other_name: str = "references") -> None:
    """Raises ConfigError unless the two feature widths are one."""
    if width != other:
        raise ConfigError(f"{name} have {width} features and {other_name} {other}; "
                          "both must come from the same extractor")

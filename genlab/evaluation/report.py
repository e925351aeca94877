"""One record of what a set of samples scores, with all that is needed to tell whether two records compare."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from genlab.configuration import ConfigError
from genlab.evaluation.distances import kernel_distance, sliced_wasserstein
from genlab.evaluation.extractors import Extractor, InceptionFeatures
from genlab.evaluation.frechet import FeatureStatistics, frechet_score
from genlab.evaluation.manifold import compare_distances, nearest, precision_recall
from genlab.evaluation.score import Score, check_widths

MEASURES = ("frechet", "kernel", "sliced_wasserstein", "precision_recall", "neighbours")


@dataclass(frozen=True)
class Scoring:
    """What is measured, and how.

    Attributes:
      measures: any of "frechet", "kernel", "sliced_wasserstein", "precision_recall" (with density and coverage) and
        "neighbours" (the nearest training examples).
      k: the neighbour that the balls of precision and recall reach to.
      balls: samples, and references, drawn of all, that precision, recall, density and coverage compare at most: the
        time that they take grows as the square.
      kernel_block: examples in a block of the kernel distance.
      power: p of the sliced Wasserstein distance.
      projections: its directions.
      seed: of directions and blocks.
    """

    measures: tuple[str, ...] = MEASURES
    k: int = 3
    balls: int = 10_000
    kernel_block: int = 1_000
    power: int = 2
    projections: int = 256
    seed: int = 0

    def __post_init__(self):
        if unknown := [name for name in self.measures if name not in MEASURES]:
            raise ConfigError(f"there is no measure {unknown[0]!r}; there are: {', '.join(MEASURES)}")
        if self.balls < self.k + 1:
            raise ConfigError(f"balls={self.balls} must be above k={self.k}")
        if not self.measures:
            raise ConfigError(f"measures is empty; there are: {', '.join(MEASURES)}")


@dataclass(frozen=True)
class References:
    """What samples are compared with.

    Attributes:
      name: for example "CIFAR-10 train".
      images: as the extractor takes them, or None if there are statistics alone.
      statistics: moments for the Fréchet distance, such as a published file's; None: those of `images`.
      statistics_name: for example the file's name.
    """

    name: str
    images: np.ndarray | None = None
    statistics: FeatureStatistics | None = None
    statistics_name: str = ""

    def __post_init__(self):
        if self.images is None and self.statistics is None:
            raise ConfigError(f"references {self.name!r} have neither images nor statistics")


@dataclass(frozen=True)
class SampleScores:
    """Scores of one set of samples.

    Attributes:
      extractor, extractor_hash: of the features.
      samples, references, held_out: numbers of each; references and held_out are 0 where there are none.
      matched: the smaller number of samples and held-out data, drawn of the more, for scores that compare the two: most
        distances are biased upwards, the more the fewer there are.
      reference_name: what the references are.
      statistics: what the Fréchet distance is to: name, count (None if unknown) and hash of the moments.
      settings: `Scoring`'s.
      scores: by name. Those that begin with "held_out_" are of `matched` held-out data in place of samples, what a
        perfect model would read; those with "matched_" are of as many samples, where there are more of these in all.
    """

    extractor: str
    extractor_hash: str
    samples: int
    references: int
    held_out: int
    matched: int
    reference_name: str
    statistics: dict[str, Any] | None
    settings: dict[str, Any]
    scores: dict[str, Score]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; a score is {"value", "standard_error"}."""
        return vars(self) | {"scores": {name: score._asdict() for name, score in self.scores.items()}}

    def __str__(self) -> str:
        title = (f"{self.samples:,} samples against {self.reference_name} ({self.references:,}); "
                 f"features: {self.extractor} [{self.extractor_hash}]")
        if "precision" in self.scores and self.settings["balls"] < max(self.samples, self.references):
            title += f"\nprecision, recall, density and coverage: of {self.settings['balls']:,} each at most"
        if self.matched < max(self.samples, self.held_out):
            title += f"\nheld_out_ and matched_ scores: of {self.matched:,} each, to be compared with one another"
        width = max(len(name) for name in self.scores)
        return "\n".join([title, *(f"  {name:<{width}}  {score}" for name, score in self.scores.items())])


def score_samples(samples: np.ndarray, references: References, extractor: Extractor, held_out: np.ndarray | None = None,
                  scoring: Scoring = Scoring(), on_measure: Callable[[str], None] = lambda name: None) -> SampleScores:
    """Scores samples against references.

    The Fréchet distance is named "fid" if the features are `InceptionFeatures`, "frechet_distance" otherwise; the
    kernel distance "kid" or "kernel_distance".

    Args:
      samples: as the extractor takes them, for example images uint8 [N, I, J, C].
      references: the training set, or its statistics; these suffice if "frechet" is all that is measured.
      extractor: of the features that all measures compare.
      held_out: data that the model has not seen; needed for the ratio of distances to the nearest training example,
        and scored as the samples are, for comparison.
      scoring: what is measured, and how.
      on_measure: called with the name of each measure before it is taken, which may be seconds.

    Raises:
      ConfigError: references without images for a measure that needs them, too few of either, different widths.
    """
    on_measure("features")
    x_ND = extractor(samples)
    y_MD = None if references.images is None else extractor(references.images)
    h_HD = None if held_out is None else extractor(held_out)
    if y_MD is None and (needing := [name for name in scoring.measures if name != "frechet"]):
        raise ConfigError(f"{needing[0]} needs references' images, and {references.name!r} are statistics alone")
    theirs = None
    if "frechet" in scoring.measures:
        theirs = references.statistics or FeatureStatistics.of(y_MD, "references")
        check_widths(x_ND.shape[1], len(theirs.mean))
    inception = isinstance(extractor, InceptionFeatures)
    known = references.statistics is not None  # then the Fréchet distance's error is the samples' alone
    def distances(features_ND):
        return _distances(features_ND, y_MD, theirs, known, inception, scoring, on_measure)

    scores = distances(x_ND)
    matched = 0 if h_HD is None else min(len(x_ND), len(h_HD))
    alike = {} if h_HD is None else {"held_out": h_HD} | ({"matched": x_ND} if matched < len(x_ND) else {})
    for prefix, features_ND in alike.items():
        found = distances(_drawn(features_ND, matched, scoring.seed))
        scores |= {f"{prefix}_{name}": score for name, score in found.items()}
    if "neighbours" in scoring.measures:
        on_measure("neighbours")
        scores |= _neighbours(x_ND, y_MD, h_HD)
    statistics = theirs and {
        "name": references.statistics_name if references.statistics else references.name,
        "count": theirs.count, "hash": theirs.hash}
    return SampleScores(
        extractor=extractor.name, extractor_hash=extractor.hash, samples=len(x_ND),
        references=0 if y_MD is None else len(y_MD), held_out=0 if h_HD is None else len(h_HD), matched=matched,
        reference_name=references.name, statistics=statistics,
        settings=vars(scoring) | {"measures": list(scoring.measures)}, scores=scores)


def _distances(x_ND, y_MD, statistics, known: bool, inception: bool, scoring: Scoring, on_measure) -> dict[str, Score]:
    def frechet():
        score = frechet_score(x_ND, statistics, None if known else y_MD)
        return {"fid" if inception else "frechet_distance": score}

    def kernel():
        score = kernel_distance(x_ND, y_MD, scoring.kernel_block, scoring.seed)
        return {"kid" if inception else "kernel_distance": score}

    def sliced():
        score = sliced_wasserstein(x_ND, y_MD, scoring.power, scoring.projections, scoring.seed)
        return {"sliced_wasserstein": score}

    def balls():
        pair = (_drawn(each, scoring.balls, scoring.seed) for each in (x_ND, y_MD))
        return precision_recall(*pair, scoring.k)._asdict()

    scores = {}
    for name, measure in {"frechet": frechet, "kernel": kernel, "sliced_wasserstein": sliced,
                          "precision_recall": balls}.items():
        if name in scoring.measures:
            on_measure(name)
            scores |= measure()
    return scores


def _drawn(features_ND, count: int, seed: int):
    """So many of the features at most, drawn without replacement."""
    return features_ND[np.random.default_rng(seed).permutation(len(features_ND))[:count]]


def _neighbours(x_ND, y_MD, h_HD) -> dict[str, Score]:
    distance_N = nearest(x_ND, y_MD).distance
    error = float(distance_N.std(ddof=1) / np.sqrt(len(distance_N)))
    scores = {"neighbour_distance": Score(float(distance_N.mean()), error)}
    if h_HD is not None:
        compared = compare_distances(distance_N, nearest(h_HD, y_MD).distance)
        scores |= {f"neighbour_{name}": score for name, score in compared._asdict().items()}
    return scores

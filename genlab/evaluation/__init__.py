"""How good samples are: distances of feature sets, precision and recall, nearest training examples."""

from genlab.evaluation.distances import kernel_distance, sliced_wasserstein
from genlab.evaluation.extractors import (
    Extractor,
    InceptionFeatures,
    NetworkFeatures,
    PixelFeatures,
    PointFeatures,
)
from genlab.evaluation.frechet import FeatureStatistics, frechet_distance, frechet_score
from genlab.evaluation.manifold import (
    Memorisation,
    Neighbours,
    PrecisionRecall,
    memorisation,
    nearest,
    precision_recall,
)
from genlab.evaluation.report import MEASURES, References, SampleScores, Scoring, score_samples
from genlab.evaluation.score import Score, proportion, read_accuracy

__all__ = [
    "MEASURES",
    "Extractor",
    "FeatureStatistics",
    "InceptionFeatures",
    "Memorisation",
    "Neighbours",
    "NetworkFeatures",
    "PixelFeatures",
    "PointFeatures",
    "PrecisionRecall",
    "References",
    "SampleScores",
    "Score",
    "Scoring",
    "frechet_distance",
    "frechet_score",
    "kernel_distance",
    "memorisation",
    "nearest",
    "precision_recall",
    "proportion",
    "read_accuracy",
    "score_samples",
    "sliced_wasserstein",
]

"""Scores of a diffusion run's samples, in features that are named on the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from genlab.configuration import ConfigError
from genlab.evaluation import Extractor, InceptionFeatures, NetworkFeatures, SampleScores, Score, read_accuracy
from genlab.objectives.generation import SampleQuality
from genlab.trained import Trained, load_run


def scores(run: Trained, evaluation: SampleQuality, classifier: Trained | None,
           given: dict[str, np.ndarray] | None = None,
           on_measure: Callable[[str], None] = lambda name: None) -> tuple[SampleScores, dict[str, Score]]:
    """(the record, what a classifier reads: "read_as_asked", the share of samples it takes for the class asked for).

    Args:
      run: of a diffusion model.
      evaluation: what is sampled and measured.
      classifier: see `extractor_of`.
      given: "sample", and "label" where classes were asked for, in place of new samples.
      on_measure: see `score_samples`.
    """
    record, made = evaluation.score(run.collect, given, on_measure)
    asked_for = "label" in given if given else run.experiment.objective.model.num_classes
    if classifier is None or not asked_for:
        return record, {}
    probabilities = _in_batches(classifier, made["sample"])
    return record, {"read_as_asked": read_accuracy(probabilities, made["label"])}


def extractor_of(features: str, run: Trained) -> tuple[Extractor | None, Trained | None]:
    """(the extractor of these features, None for pixels; the classifier that they are of, if they are).

    Args:
      features: "pixels", a classifier's run folder, or Inception's weights, an .npz (genlab/evaluation/extractors.py).
      run: of a diffusion model, whose samples are compared.

    Raises:
      ConfigError: features that its samples have not.
    """
    if features == "pixels":
        return None, None
    shape = getattr(run.experiment.data, "image_shape", None)
    if shape is None:
        raise ConfigError(f"--features={features} reads images, and this run makes points: leave it out")
    if features.endswith(".npz"):
        if shape[-1] != 3:
            raise ConfigError(f"--features={features}: Inception reads images of 3 channels, and the samples are of "
                              f"{shape}")
        return InceptionFeatures(features), None
    classifier = load_run(Path(features))
    objective = classifier.experiment.objective
    if not hasattr(objective, "outputs") or not hasattr(classifier.experiment.data, "image_shape"):
        raise ConfigError(f"{features} is a run of {type(objective).__name__}, which gives no features of images")
    if classifier.experiment.data.image_shape != shape:
        raise ConfigError(f"{features} reads images of {classifier.experiment.data.image_shape}, and the samples are "
                          f"of {shape}")

    def apply(variables: Any, images: jax.Array) -> jax.Array:
        return objective.outputs(variables, {"image": images})["features"]

    extractor = NetworkFeatures(f"features of {classifier.experiment.name or features}, step {classifier.step}", apply,
                                classifier.variables)
    return extractor, classifier if hasattr(objective, "probabilities") else None


def _in_batches(classifier: Trained, images: np.ndarray, size: int = 256) -> np.ndarray:
    objective = classifier.experiment.objective

    @jax.jit
    def probabilities(variables, images):
        return objective.outputs(variables, {"image": images})["probabilities"]

    parts = [images[start:start + size] for start in range(0, len(images), size)]
    filled = [np.resize(part, (size, *part.shape[1:])) for part in parts]
    found = [np.asarray(probabilities(classifier.variables, each))[:len(part)]
             for each, part in zip(filled, parts, strict=True)]
    return np.concatenate(found)

"""Pictures of what a run makes of held-out images: predictions, attention, reconstructions."""

import functools

import jax
import numpy as np
from matplotlib.figure import Figure

from genlab.configuration import ConfigError
from genlab.data import gather_examples
from genlab.figures.predictions import predictions
from genlab.figures.reconstructions import reconstructions
from genlab.models.representations import attention_map
from genlab.models.vit import ViT
from genlab.trained import Trained, load_splits


def held_out_images(run: Trained, count: int, seed: int) -> dict[str, np.ndarray]:
    """So many held-out examples: evenly spaced for seed 0, drawn at random for others."""
    source = load_splits(run.experiment.data).held_out
    count = min(count, len(source))
    if seed:
        chosen = np.sort(np.random.default_rng(seed).choice(len(source), count, replace=False))
    else:
        chosen = np.arange(count) * len(source) // count
    return gather_examples(source, chosen)


def draw(run: Trained, count: int, seed: int, attention: bool) -> tuple[Figure, str]:
    """(a figure of what the run makes of held-out images, a line about it).

    Raises:
      ConfigError: a run that makes nothing to be drawn, or attention of a model that has none.
    """
    objective = run.experiment.objective
    if hasattr(objective, "probabilities"):
        return _predictions(run, held_out_images(run, count, seed), attention)
    if attention:
        raise ConfigError(f"a run of {type(objective).__name__} is drawn without attention; leave --attention out")
    if hasattr(objective, "reconstruct"):
        return _reconstructions(run, held_out_images(run, count, seed))
    raise ConfigError(f"launch.sample draws runs of diffusion, classification and masked autoencoding, not of "
                      f"{type(objective).__name__}")


def _predictions(run: Trained, examples: dict[str, np.ndarray], attention: bool) -> tuple[Figure, str]:
    objective, data = run.experiment.objective, run.experiment.data
    maps = None
    if attention:
        if not isinstance(objective.model, ViT):
            raise ConfigError(f"a {type(objective.model).__name__} has no attention to draw; leave --attention out")
        images = objective.pixels.normalize(examples["image"])
        model, variables = objective.trunk(run.variables)
        maps = np.asarray(jax.jit(functools.partial(attention_map, model))(variables, images))
    probabilities = np.asarray(jax.jit(objective.outputs)(run.variables, {"image": examples["image"]})["probabilities"])
    right = (probabilities.argmax(axis=-1) == examples["label"]).sum()
    figure = predictions(examples["image"], examples["label"], probabilities, data.source.class_names, maps)
    return figure, f"{right} of {len(probabilities)} right"


def _reconstructions(run: Trained, examples: dict[str, np.ndarray]) -> tuple[Figure, str]:
    objective = run.experiment.objective
    seen, filled = jax.jit(objective.reconstruct)(run.variables, examples["image"], jax.random.key(0))
    figure = reconstructions(examples["image"], np.asarray(seen), np.asarray(filled))
    return figure, f"{objective.model.mask_ratio:.0%} of the patches masked"

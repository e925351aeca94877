"""ViT image classification: digits in a minute, CIFAR-10 on two cores, ImageNet by big_vision's recipe.

    python -m launch.train --config=experiments/vision/vit.py:digits --workdir=runs/vit-digits
    python -m launch.sample --workdir=runs/vit-digits --attention
    python -m launch.train --config=experiments/vision/vit.py:cifar10 --workdir=runs/vit-cifar10
    python -m launch.train --config=experiments/vision/vit.py:imagenet,S/16 --workdir=runs/vit-s16
    python -m launch.train --config=experiments/vision/vit.py:augreg,B/16 --workdir=runs/vit-b16

The argument is DATASET or DATASET,SIZE; SIZE is a name of genlab/models/vit.py, such as Ti/4 or B/16, and `mini` for
digits and cifar10, the default there (experiments/vision/datasets.py says how datasets are prepared). `augreg` is
ImageNet by another recipe.

Measured on the two cores of a shared Sapphire Rapids Xeon, float32, Python 3.11.7, test accuracy:

    digits     30 s       98.1 % (seed 0; standard error .7)
    cifar10    7.5 min    66.8 % (seed 0; standard error .5); 63.1 % with --config.objective.model.positions=learned

Not measured: the named sizes, which need an accelerator.

Published, not run here: S/16 on ImageNet, 90 epochs, 76.5 % top-1 (Beyer et al. 2022, arXiv 2205.01580, table 1).
"""

import dataclasses

from experiments.vision import recipes
from experiments.vision.datasets import IMAGENET, fields, parse
from genlab.configuration import ConfigError
from genlab.data import RandAugment
from genlab.experiment import Experiment
from genlab.models.vit import ViT, vit
from genlab.objectives.classification import Classification
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training


def get_config(argument: str = "digits") -> Experiment:
    """The experiment for DATASET or DATASET,SIZE."""
    dataset, size = parse(argument, tuple(RECIPES))
    recipe, default_size = RECIPES[dataset]
    return recipe(size or default_size)


# Fixed positions: with learned ones digits end at 93 % in place of 98, all of the training set read.
_MINI = {"depth": 4, "pooling": "mean", "positions": "sincos2d"}
MINI = {"digits": ViT(patch_size=2, width=64, num_heads=4, **_MINI),
        "cifar10": ViT(patch_size=4, width=96, num_heads=3, **_MINI)}


def model(dataset: str, size: str, **settings) -> ViT:
    """The ViT of a size for a dataset's images."""
    if size == "mini" and dataset in MINI:
        return dataclasses.replace(MINI[dataset], **fields(dataset), **settings)
    return vit(size, **fields(dataset), **settings)


def named(size: str, dataset: str) -> str:
    """The run's name."""
    return f"vit-{size}-{dataset}".replace("/", "")


def digits(size: str) -> Experiment:
    """See recipes.py."""
    return recipes.digits(named(size, "digits"), model("digits", size))


def cifar10(size: str) -> Experiment:
    """See recipes.py."""
    if size == "mini":
        return recipes.cifar10_in_minutes(named(size, "cifar10"), model("cifar10", size))
    settings = {"pooling": "mean", "stochastic_depth": 0.1, "dtype": "bfloat16"}
    return recipes.cifar10(named(size, "cifar10"), model("cifar10", size, **settings), mixup=0.2)


def imagenet(size: str) -> Experiment:
    """Beyer et al. 2022 ("Better plain ViT baselines"): 90 epochs, batch 1,024, mean pooling, sin-cos positions,
    Mixup .2, RandAugment (2, 10), without the released configuration's hidden layer before the head. Their weight
    decay, 1e-4, is not multiplied by the learning rate of 1e-3; ours is."""
    augmentation = (*IMAGENET.augmentation, RandAugment(2, 10))
    settings = {"pooling": "mean", "positions": "sincos2d", "dtype": "bfloat16", "scan_layers": True}
    return Experiment(
        name=named(size, "imagenet"),
        objective=Classification(model=model("imagenet", size, **settings), mixup=0.2),
        data=dataclasses.replace(IMAGENET, augmentation=augmentation),
        optimizer=AdamW(learning_rate=1e-3, weight_decay=0.1, beta2=0.999, epsilon=1e-8, warmup_steps=10_000,
                        warmup_fraction=0.0, final_fraction=0.0),
        training=Training(batch_size=1_024, steps_per_dispatch=1, evaluate_steps=5_000, evaluate_examples=0,
                          checkpoint_steps=5_000),
    ).train_on(examples=90 * 1_281_167)


# Mixup's parameter and RandAugment's magnitude, of two operations, by size.
AUGREG = {"Ti/16": (0.0, 0), "S/32": (0.2, 15), **dict.fromkeys(("S/16", "B/32", "B/16", "L/16"), (0.5, 15))}


def augreg(size: str) -> Experiment:
    """Steiner et al. 2021 (arXiv 2106.10270), figure 4: 300 epochs, batch 4,096, class token, augmentation by size, as
    big_vision's configuration of it has them, with its sigmoid loss (without its hidden layer before the head, and its
    head's bias, which starts at -6.9)."""
    if size not in AUGREG:
        raise ConfigError(f"augreg has no settings for {size!r}; it has some for: {', '.join(AUGREG)}")
    mixup, magnitude = AUGREG[size]
    baseline = imagenet(size)
    settings = {"pooling": "class_token", "dtype": "bfloat16", "scan_layers": True}
    return dataclasses.replace(
        baseline, name=named(size, "augreg"),
        objective=Classification(model=model("imagenet", size, **settings), loss_function="sigmoid", mixup=mixup),
        data=dataclasses.replace(IMAGENET, augmentation=(*IMAGENET.augmentation, RandAugment(2, magnitude))),
        training=dataclasses.replace(baseline.training, batch_size=4_096),
    ).train_on(examples=300 * 1_281_167)


RECIPES = {"digits": (digits, "mini"), "cifar10": (cifar10, "mini"), "imagenet": (imagenet, "S/16"),
           "augreg": (augreg, "B/16")}

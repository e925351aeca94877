"""Pre-train, then transfer, by one config: the run that another begins with is trained first, in its folder `start`.

    python -m launch.train --config=experiments/vision/transfer.py:digits --workdir=runs/transfer
    python -m launch.train --config=experiments/vision/transfer.py:digits --workdir=runs/frozen \\
        --config.optimizer.layer_decay=0
    python -m launch.train --config=experiments/vision/transfer.py:distill --workdir=runs/distilled
    python -m launch.train --config=experiments/vision/transfer.py:cifar10 --workdir=runs/transfer-cifar10

- digits: a ViT learns to fill in masked digits of 8 x 8 pixels without labels; then it is fine-tuned on 100 labelled
  digits at twice the size, with a new head, resampled positions and learning rates that decay by layer. `scratch` is
  the same without the pre-training.
- distill: a small ViT learns from a larger one, which is trained first.
- cifar10: masked autoencoding on all images, then 2,000 labels.

A finished run of your own is a start too: --config.start=runs/vit-b16.

Measured on one of two shared cores of a Sapphire Rapids Xeon (both were busy), float32, Python 3.11.7, seed 0, test
accuracy:

    digits     65 s     89.7 % (standard error 1.6), both runs
    scratch    34 s     61.7 % (2.6)
    distill    55 s     88.6 % (1.7), a student of 14,866 parameters, its teacher included

Not measured: cifar10.
"""

import dataclasses

from experiments.vision import mae, vit
from experiments.vision.datasets import CIFAR10, DIGITS
from genlab.configuration import ConfigError
from genlab.experiment import Experiment
from genlab.objectives.classification import Classification, Distillation
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training


def get_config(argument: str = "digits") -> Experiment:
    """The experiment for a name of EXPERIMENTS."""
    if argument not in EXPERIMENTS:
        raise ConfigError(f"there is no transfer {argument!r}; there are: {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[argument]()


def digits() -> Experiment:
    """From masked digits to 100 labels."""
    alone = scratch()
    return dataclasses.replace(alone, name="transfer-digits", start=mae.get_config("digits"),
                               optimizer=dataclasses.replace(alone.optimizer, layer_decay=0.8))


def scratch() -> Experiment:
    """100 labels alone."""
    encoder = mae.get_config("digits").objective.model.encoder
    return Experiment(
        name="scratch-digits",
        objective=Classification(model=dataclasses.replace(encoder, image_size=16), label_smoothing=0.1),
        data=dataclasses.replace(DIGITS, image_size=16, max_examples=100),
        optimizer=AdamW(learning_rate=1e-3, weight_decay=0.1),
        training=Training(steps=400, batch_size=48, ema_decay=0.99),
    )


def distill() -> Experiment:
    """From a ViT of width 64 to one of width 24: function matching with Mixup."""
    teacher = vit.get_config("digits")
    student = dataclasses.replace(teacher.objective.model, width=24, num_heads=2, depth=2)
    return dataclasses.replace(
        teacher, name="distilled-digits", start=teacher,
        objective=Distillation(model=student, teacher=teacher.objective, mixup=0.2))


def cifar10() -> Experiment:
    """From masked images to 2,000 labels."""
    source = mae.get_config("cifar10")
    return Experiment(
        name="transfer-cifar10",
        start=source,
        objective=Classification(model=source.objective.model.encoder, label_smoothing=0.1),
        data=dataclasses.replace(CIFAR10, max_examples=2_000),
        optimizer=AdamW(learning_rate=1e-3, weight_decay=0.1, layer_decay=0.75),
        training=Training(steps=600, batch_size=128, evaluate_examples=0),
    )


EXPERIMENTS = {"digits": digits, "scratch": scratch, "distill": distill, "cifar10": cifar10}

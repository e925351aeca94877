"""What ViT and Mixer share: how models of patches are trained on digits and on CIFAR-10."""

import dataclasses

from experiments.vision.datasets import CIFAR10, DIGITS
from genlab.data import RandAugment
from genlab.experiment import Experiment
from genlab.models.mixer import Mixer
from genlab.models.vit import ViT
from genlab.objectives.classification import Classification
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training


def digits(name: str, model: ViT | Mixer) -> Experiment:
    """Shifts by a pixel and smoothed labels keep 200,000 parameters from learning 1,437 digits by heart."""
    return Experiment(
        name=name,
        objective=Classification(model=model, label_smoothing=0.1),
        data=DIGITS,
        optimizer=AdamW(learning_rate=2e-3, weight_decay=0.1),
        training=Training(steps=1_600, batch_size=64, ema_decay=0.99, evaluate_steps=400),
    )


def cifar10_in_minutes(name: str, model: ViT | Mixer) -> Experiment:
    """Six epochs with crops and flips: what two cores can do."""
    return Experiment(
        name=name,
        objective=Classification(model=model),
        data=CIFAR10,
        optimizer=AdamW(learning_rate=2e-3, weight_decay=0.05),
        training=Training(batch_size=128, evaluate_examples=0),
    ).train_on(examples=300_000)


def cifar10(name: str, model: ViT | Mixer, mixup: float) -> Experiment:
    """200 epochs with RandAugment and Mixup, for the named sizes on a GPU; not measured."""
    return Experiment(
        name=name,
        objective=Classification(model=model, mixup=mixup),
        data=dataclasses.replace(CIFAR10, augmentation=(*CIFAR10.augmentation, RandAugment(2, 10))),
        optimizer=AdamW(learning_rate=1e-3, weight_decay=0.05),
        training=Training(batch_size=512, evaluate_steps=1_000, evaluate_examples=0),
    ).train_on(examples=200 * 50_000)

"""SimCLR, judged by a linear probe: CIFAR-10 on two cores, ImageNet by the paper's recipe.

    python -m launch.train --config=experiments/vision/simclr.py:cifar10 --workdir=runs/simclr-cifar10
    python -m launch.evaluate --workdir=runs/simclr-cifar10 --evaluation=few_shot --untrained
    python -m launch.train --config=experiments/vision/simclr.py:imagenet --workdir=runs/simclr-r50

The record's metrics hold the probe after training; --untrained gives that of the random trunk it is to beat.

Measured on one of two shared cores of a Sapphire Rapids Xeon (both were busy), float32, Python 3.11.7, seed 0, probe of
CIFAR-10's test accuracy on 5, 10 and 25 labels a class:

    cifar10    16 min     27.4, 31.8, 36.6 % (standard errors .6, .4, .6)
    untrained             20.5, 22.2, 24.2 % (.6, .6, .4)

Published, not run here: ResNet-50 on ImageNet, batch 4,096, 1,000 epochs, 69.3 % by linear probe (Chen et al. 2020,
arXiv 2002.05709, table 6; with LARS, which is not here).
"""

import dataclasses

from experiments.vision.datasets import CIFAR10, IMAGENET, fields, parse
from genlab.data import ColorJitter, GaussianBlur, Grayscale, InceptionCrop, RandomFlip
from genlab.experiment import Experiment
from genlab.models.resnet import RESNET_SIZES
from genlab.models.simclr import SimCLR
from genlab.models.vit import ViT
from genlab.objectives.probes import FewShotProbe
from genlab.objectives.simclr import ContrastiveViews
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training


def get_config(argument: str = "cifar10") -> Experiment:
    """The experiment for a dataset."""
    dataset, _ = parse(argument, ("cifar10", "imagenet"))
    return {"cifar10": cifar10, "imagenet": imagenet}[dataset]()


def cifar10() -> Experiment:
    """Crops, flips, colours at half strength and no blur, as in the paper's appendix B.9."""
    encoder = ViT(patch_size=4, width=96, depth=4, num_heads=3, pooling="mean", **fields("cifar10"))
    augmentation = (InceptionCrop(area=(0.2, 1.0)), RandomFlip(), ColorJitter(strength=0.5), Grayscale())
    return Experiment(
        name="simclr-cifar10",
        objective=ContrastiveViews(model=SimCLR(encoder), temperature=0.2),
        data=dataclasses.replace(CIFAR10, augmentation=augmentation, views=2),
        optimizer=AdamW(learning_rate=2e-3, weight_decay=0.05),
        training=Training(batch_size=256, steps_per_dispatch=4),
        evaluations=(FewShotProbe(),),
    ).train_on(examples=150_000)


def imagenet() -> Experiment:
    """ResNet-50, batch 4,096, 100 epochs, temperature .1, all of appendix A's augmentation; AdamW in place of LARS."""
    encoder = dataclasses.replace(RESNET_SIZES["50"], **fields("imagenet"), dtype="bfloat16")
    augmentation = (InceptionCrop(), RandomFlip(), ColorJitter(), Grayscale(), GaussianBlur())
    return Experiment(
        name="simclr-r50-imagenet",
        objective=ContrastiveViews(model=SimCLR(encoder), temperature=0.1),
        data=dataclasses.replace(IMAGENET, augmentation=augmentation, views=2),
        optimizer=AdamW(learning_rate=2e-3, weight_decay=0.1, warmup_steps=0, warmup_fraction=0.1, final_fraction=0.0),
        training=Training(batch_size=4_096, steps_per_dispatch=1, evaluate_steps=5_000, checkpoint_steps=2_000),
        evaluations=(FewShotProbe(train_examples=50_000),),
    ).train_on(examples=100 * 1_281_167)

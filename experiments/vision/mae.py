"""Masked autoencoding of images, judged by a linear probe: CIFAR-10 on two cores, ImageNet by the paper's recipe.

    python -m launch.train --config=experiments/vision/mae.py:digits --workdir=runs/mae-digits
    python -m launch.train --config=experiments/vision/mae.py:cifar10 --workdir=runs/mae-cifar10
    python -m launch.evaluate --workdir=runs/mae-cifar10 --evaluation=few_shot --untrained
    python -m launch.sample --workdir=runs/mae-cifar10
    python -m launch.train --config=experiments/vision/mae.py:imagenet --workdir=runs/mae-b16

The record's metrics hold the probe after training; --untrained gives that of the random trunk it is to beat.

Measured on one of two shared cores of a Sapphire Rapids Xeon (both were busy), float32, Python 3.11.7, seed 0, probe of
CIFAR-10's test accuracy on 5, 10 and 25 labels a class:

    cifar10    11.5 min   27.4, 32.1, 36.4 % (standard errors .8, .4, .6)
    untrained             20.8, 23.3, 25.3 % (.6, .6, .4)

Published, not run here: ViT-B/16 on ImageNet, 1,600 epochs, 68.0 % by linear probe and 83.6 % fine-tuned (He et al.
2021, arXiv 2111.06377, table 3 and appendix).
"""

import dataclasses

from experiments.vision.datasets import CIFAR10, DIGITS, IMAGENET, fields, parse
from genlab.data import InceptionCrop, RandomFlip
from genlab.experiment import Experiment
from genlab.models.mae import MAE
from genlab.models.vit import ViT, vit
from genlab.objectives.masked_autoencoding import MaskedAutoencoding
from genlab.objectives.probes import FewShotProbe
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training


def get_config(argument: str = "digits") -> Experiment:
    """The experiment for a dataset."""
    dataset, _ = parse(argument, ("digits", "cifar10", "imagenet"))
    return {"digits": digits, "cifar10": cifar10, "imagenet": imagenet}[dataset]()


def digits() -> Experiment:
    """A minute."""
    encoder = ViT(patch_size=2, width=64, depth=4, num_heads=4, pooling="mean", **fields("digits"))
    return Experiment(
        name="mae-digits",
        objective=MaskedAutoencoding(model=MAE(encoder, mask_ratio=0.5, decoder_width=32, decoder_depth=1),
                                     normalize_targets=False),
        data=dataclasses.replace(DIGITS, augmentation=()),
        optimizer=AdamW(learning_rate=2e-3, weight_decay=0.05),
        training=Training(steps=2_000, batch_size=64),
        evaluations=(FewShotProbe(train_examples=0),),
    )


def cifar10() -> Experiment:
    """Eight epochs of a ViT that sees 16 of its 64 patches."""
    encoder = ViT(patch_size=4, width=128, depth=4, num_heads=4, pooling="mean", **fields("cifar10"))
    return Experiment(
        name="mae-cifar10",
        objective=MaskedAutoencoding(model=MAE(encoder, decoder_width=64, decoder_depth=1)),
        data=dataclasses.replace(CIFAR10, augmentation=(InceptionCrop(area=(0.2, 1.0)), RandomFlip())),
        optimizer=AdamW(learning_rate=2e-3, weight_decay=0.05),
        training=Training(batch_size=128),
        evaluations=(FewShotProbe(),),
    ).train_on(examples=400_000)


def imagenet() -> Experiment:
    """He et al. 2021, table 8: 1,600 epochs, batch 4,096, 1.5e-4 per 256 examples, beta2 .95, only crops and flips."""
    encoder = vit("B/16", positions="sincos2d", dtype="bfloat16", scan_layers=True, **fields("imagenet"))
    decoder = {"decoder_width": 512, "decoder_depth": 8, "decoder_num_heads": 16}
    return Experiment(
        name="mae-b16-imagenet",
        objective=MaskedAutoencoding(model=MAE(encoder, **decoder)),
        data=dataclasses.replace(IMAGENET, augmentation=(InceptionCrop(area=(0.2, 1.0)), RandomFlip())),
        optimizer=AdamW(learning_rate=1.5e-4 * 4_096 / 256, weight_decay=0.05, beta2=0.95, epsilon=1e-8,
                        warmup_steps=0, warmup_fraction=40 / 1_600, final_fraction=0.0),
        training=Training(batch_size=4_096, steps_per_dispatch=1, evaluate_steps=20_000, checkpoint_steps=5_000),
        evaluations=(FewShotProbe(train_examples=50_000),),
    ).train_on(examples=1_600 * 1_281_167)

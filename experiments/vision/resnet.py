"""Convolutional image classification: ResNets on CIFAR-10 and ImageNet, and the networks they are compared with.

    python -m launch.train --config=experiments/vision/resnet.py:digits --workdir=runs/resnet-digits
    python -m launch.train --config=experiments/vision/resnet.py:cifar10 --workdir=runs/resnet-cifar10
    python -m launch.train --config=experiments/vision/resnet.py:cifar10,cifar-20 --workdir=runs/resnet-20
    python -m launch.train --config=experiments/vision/resnet.py:imagenet,50 --workdir=runs/resnet-50

The argument is DATASET or DATASET,SIZE. SIZE is a name of RESNET_SIZES (18 to 152, bit-50x1, cifar-20, ...), another
network of HISTORY (mlp, alexnet, googlenet, vgg-16, densenet-121, ...), or `mini`, the default for digits and
cifar10 (experiments/vision/datasets.py says how datasets are prepared).

Measured on one of two shared cores of a Sapphire Rapids Xeon (both were busy), float32, Python 3.11.7, test accuracy:

    digits     19 s     99.7 % (seed 0; standard error .3)
    cifar10    21 min   79.7 % (seed 0; standard error .4)

Not measured: the named sizes, which need an accelerator.

Published, not run here: ResNet-50 on ImageNet, 90 epochs, 76.4 % top-1 (Goyal et al. 2017, arXiv 1706.02677, table 1).
"""

import dataclasses
import math
from typing import Any

from experiments.vision.datasets import CIFAR10, DIGITS, IMAGENET, fields, parse
from genlab.configuration import ConfigError
from genlab.data import InceptionCrop, RandomFlip
from genlab.experiment import Experiment
from genlab.models.alexnet import AlexNet
from genlab.models.densenet import DENSENET_SIZES
from genlab.models.googlenet import GoogLeNet
from genlab.models.mlp import MLP
from genlab.models.resnet import RESNET_SIZES, ResNet
from genlab.models.vgg import VGG_SIZES
from genlab.objectives.classification import Classification
from genlab.training.optimizers import SGD
from genlab.training.settings import Training

MINI = ResNet(depths=(1, 1, 1), widths=(16, 32, 64), stem="small")
HISTORY = {"mlp": MLP(), "alexnet": AlexNet(), "googlenet": GoogLeNet(),
           **{f"vgg-{layers}": network for layers, network in VGG_SIZES.items()},
           **{f"densenet-{layers}": network for layers, network in DENSENET_SIZES.items()}}


def get_config(argument: str = "digits") -> Experiment:
    """The experiment for DATASET or DATASET,SIZE."""
    dataset, size = parse(argument, tuple(RECIPES))
    recipe, default_size = RECIPES[dataset]
    return recipe(size or default_size)


def model(dataset: str, size: str, **settings) -> Any:
    """The network of a name for a dataset's images; of ResNets, 32 x 32 images get the small stem."""
    sizes = {"mini": MINI, **RESNET_SIZES, **HISTORY}
    if size not in sizes:
        raise ConfigError(f"there is no network {size!r}; there are: {', '.join(sizes)}")
    if dataset != "imagenet" and hasattr(sizes[size], "stem"):
        settings["stem"] = "small"
    return dataclasses.replace(sizes[size], **fields(dataset), **settings)


def sgd(learning_rate: float, weight_decay: float, **settings) -> SGD:
    """SGD with momentum .9 whose weight decay is that of the papers, inside the gradient.

    Ours acts beside the momentum; over 1 / (1 - .9) updates a gradient's part adds up to ten times itself.
    """
    return SGD(learning_rate=learning_rate, momentum=0.9, nesterov=True, weight_decay=10 * weight_decay, clip_norm=None,
               warmup_steps=0, final_fraction=0.0, **settings)


def digits(size: str) -> Experiment:
    """A minute of the mini size."""
    return Experiment(
        name=f"resnet-{size}-digits",
        objective=Classification(model=model("digits", size), label_smoothing=0.1),
        data=DIGITS,
        optimizer=sgd(0.1, 5e-4, warmup_fraction=0.1),
        training=Training(steps=800, batch_size=64, evaluate_steps=200),
    )


def cifar10(size: str) -> Experiment:
    """Twelve epochs of the mini size on two cores; 94 % and more takes a GPU and the named sizes."""
    mini = size == "mini"
    settings = {} if mini else {"dtype": "bfloat16"}
    return Experiment(
        name=f"resnet-{size}-cifar10",
        objective=Classification(model=model("cifar10", size, **settings)),
        data=CIFAR10,
        optimizer=sgd(0.2 if mini else 0.4, 5e-4, warmup_fraction=0.15),
        training=Training(batch_size=128 if mini else 512, steps_per_dispatch=4, evaluate_steps=0 if mini else 980,
                          evaluate_examples=0),
    ).train_on(examples=500_000 if mini else 60 * 50_000)


def imagenet(size: str) -> Experiment:
    """Goyal et al. 2017: 90 epochs, .1 per 256 examples, five epochs of warm-up, weight decay 1e-4,
    crops of 8 % of the area and more; a cosine in place of steps."""
    batch_size = 1_024
    steps = math.ceil(90 * 1_281_167 / batch_size)
    return Experiment(
        name=f"resnet-{size}-imagenet",
        objective=Classification(model=model("imagenet", size, dtype="bfloat16")),
        data=dataclasses.replace(IMAGENET, augmentation=(InceptionCrop(), RandomFlip())),
        optimizer=sgd(0.1 * batch_size / 256, 1e-4, warmup_fraction=5 / 90),
        training=Training(steps=steps, batch_size=batch_size, steps_per_dispatch=1, evaluate_steps=5_000,
                          evaluate_examples=0, checkpoint_steps=5_000),
    )


RECIPES = {"digits": (digits, "mini"), "cifar10": (cifar10, "mini"), "imagenet": (imagenet, "50")}

"""MLP-Mixer image classification: digits in a minute, CIFAR-10 on two cores, ImageNet by the paper's recipe.

    python -m launch.train --config=experiments/vision/mixer.py:digits --workdir=runs/mixer-digits
    python -m launch.train --config=experiments/vision/mixer.py:cifar10 --workdir=runs/mixer-cifar10
    python -m launch.train --config=experiments/vision/mixer.py:imagenet,B/16 --workdir=runs/mixer-b16

The argument is DATASET or DATASET,SIZE; SIZE is a name of genlab/models/mixer.py, such as S/16 or B/16, and `mini` for
digits and cifar10, the default there (experiments/vision/datasets.py says how datasets are prepared).

Measured on one of two shared cores of a Sapphire Rapids Xeon (both were busy), float32, Python 3.11.7, test accuracy:

    digits     27 s     97.8 % (seed 0; standard error .8)
    cifar10    18 min   70.5 % (seed 0; standard error .5)

Not measured: the named sizes, which need an accelerator.

Published, not run here: B/16 on ImageNet alone, 300 epochs, 76.44 % top-1 (Tolstikhin et al. 2021, arXiv 2105.01601,
table 3).
"""

import dataclasses

from experiments.vision import recipes
from experiments.vision.datasets import IMAGENET, fields, parse
from genlab.data import RandAugment
from genlab.experiment import Experiment
from genlab.models.mixer import Mixer, mixer
from genlab.objectives.classification import Classification
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training


def get_config(argument: str = "digits") -> Experiment:
    """The experiment for DATASET or DATASET,SIZE."""
    dataset, size = parse(argument, tuple(RECIPES))
    recipe, default_size = RECIPES[dataset]
    return recipe(size or default_size)


MINI = {"digits": Mixer(patch_size=2, width=64, depth=4, token_mlp_width=32, channel_mlp_width=256),
        "cifar10": Mixer(patch_size=4, width=128, depth=4, token_mlp_width=64, channel_mlp_width=512)}


def model(dataset: str, size: str, **settings) -> Mixer:
    """The Mixer of a size for a dataset's images."""
    if size == "mini" and dataset in MINI:
        return dataclasses.replace(MINI[dataset], **fields(dataset), **settings)
    return mixer(size, **fields(dataset), **settings)


def named(size: str, dataset: str) -> str:
    """The run's name."""
    return f"mixer-{size}-{dataset}".replace("/", "")


def digits(size: str) -> Experiment:
    """See recipes.py."""
    return recipes.digits(named(size, "digits"), model("digits", size))


def cifar10(size: str) -> Experiment:
    """See recipes.py."""
    if size == "mini":
        return recipes.cifar10_in_minutes(named(size, "cifar10"), model("cifar10", size))
    settings = {"stochastic_depth": 0.1, "dtype": "bfloat16"}
    return recipes.cifar10(named(size, "cifar10"), model("cifar10", size, **settings), mixup=0.5)


def imagenet(size: str) -> Experiment:
    """Tolstikhin et al. 2021, section 3 and appendix B, for ImageNet alone: 300 epochs, batch 4,096, linear decay,
    RandAugment of magnitude 15, Mixup .5, stochastic depth .1; the sigmoid loss is that of big_vision's configuration
    (whose head's bias starts at -6.9). Their weight decay of .1 is multiplied by the learning rate, as ours is."""
    augmentation = (*IMAGENET.augmentation, RandAugment(2, 15))
    return Experiment(
        name=named(size, "imagenet"),
        objective=Classification(model=model("imagenet", size, stochastic_depth=0.1, dtype="bfloat16"),
                                 loss_function="sigmoid", mixup=0.5),
        data=dataclasses.replace(IMAGENET, augmentation=augmentation),
        optimizer=AdamW(learning_rate=1e-3, decay="linear", weight_decay=0.1, beta2=0.999, epsilon=1e-8,
                        warmup_steps=10_000, warmup_fraction=0.0, final_fraction=0.0),
        training=Training(batch_size=4_096, steps_per_dispatch=1, evaluate_steps=2_000, evaluate_examples=0,
                          checkpoint_steps=2_000),
    ).train_on(examples=300 * 1_281_167)


RECIPES = {"digits": (digits, "mini"), "cifar10": (cifar10, "mini"), "imagenet": (imagenet, "B/16")}

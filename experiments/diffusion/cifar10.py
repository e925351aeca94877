"""Diffusion on CIFAR-10: a small DiT for two cores, and the published recipes for accelerators.

    python -m launch.train --config=experiments/diffusion/cifar10.py:mini --workdir=runs/cifar10-diffusion
    python -m launch.sample --workdir=runs/cifar10-diffusion --images=64 --output=runs/cifar10-diffusion/grid.png
    python -m launch.train --config=experiments/diffusion/cifar10.py:ddpm++,subvp --workdir=runs/ddpmpp-subvp

The argument is RECIPE or RECIPE,VARIANT (experiments/vision/datasets.py says how CIFAR-10 is prepared):

    mini       a small class-conditional DiT
    ddpm       DDPM (Ho et al. 2020, arXiv 2006.11239)
    ddpm++     vp (default), subvp, deep-vp, deep-subvp (Song et al. 2020, arXiv 2011.13456, continuous training)
    ncsn++     ve (default), deep-ve (the same)
    edm        unconditional (default), conditional (Karras et al. 2022, arXiv 2206.00364, config F, without its
               augmentation)
    flow       flow matching (Lipman et al. 2022, arXiv 2210.02747) with DDPM++
    dit        S/2 (default), B/2, ... (Peebles and Xie 2022, arXiv 2212.09748), on pixels, with a velocity on a cosine
               schedule

Measured on one of two shared cores (both were busy), float32, Python 3.11.7, seed 0: mini, 7.2 min, held-out loss
.099, .082, .072, .070 after 200, 600, 1,000 and 1,568 steps; the README shows samples on the way. Two epochs of so
small a network end at coloured shapes, not at objects.

Published, not run here:

    recipe                 FID      bits/dim    where
    ddpm                   3.17     3.75        Ho, table 1 (bits/dim is a bound)
    ddpm++ vp              2.55     3.16        Song, tables 3 and 2
    ddpm++ subvp           2.61     3.02
    ddpm++ deep-vp         2.41     3.13
    ddpm++ deep-subvp      2.41     2.99
    ncsn++ ve              2.38                 table 3, predictor-corrector sampling
    ncsn++ deep-ve         2.20
    edm unconditional      1.97                 Karras, table 2, VP, 35 network evaluations
    edm conditional        1.79
    flow                   6.35     2.99        Lipman, table 1, with a larger network of another kind
"""

import dataclasses

from experiments.vision.datasets import CIFAR10
from genlab.configuration import ConfigError
from genlab.data import RandomFlip
from genlab.diffusion import schedules, times
from genlab.diffusion.denoiser import Prediction
from genlab.diffusion.paths import EDM, VE, VP, Flow, SubVP
from genlab.experiment import Experiment
from genlab.models.dit import DiT, dit
from genlab.models.unet import unet
from genlab.objectives.diffusion import ImageDiffusion
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training

DATA = dataclasses.replace(CIFAR10, augmentation=(RandomFlip(),))
IMAGE = {"image_size": 32, "channels": 3}
DEEP = {"steps": 950_000}  # as released


def get_config(argument: str = "mini") -> Experiment:
    """The experiment for RECIPE or RECIPE,VARIANT."""
    name, _, variant = argument.partition(",")
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe {name!r} here; there are: {', '.join(RECIPES)}")
    recipe, variants = RECIPES[name]
    variant = variant or variants[0]
    if name != "dit" and variant not in variants:
        raise ConfigError(f"{name} has no variant {variant!r}; it has: {', '.join(filter(None, variants)) or 'none'}")
    experiment = recipe(variant)
    label = "-".join(filter(None, (name, variant))).replace("/", "")
    return dataclasses.replace(experiment, name=f"cifar10-{label}")


def mini(_: str) -> Experiment:
    """Two epochs of a small DiT: of the networks here, what sees most images a minute on a CPU."""
    network = DiT(**IMAGE, num_classes=10, patch_size=4, width=96, depth=4, num_heads=3)
    return Experiment(
        objective=ImageDiffusion(model=network, prediction=Prediction("velocity"), label_dropout=0.15,
                                 path=VP(schedules.Cosine()), times=times.UniformTime()),
        data=DATA,
        optimizer=AdamW(learning_rate=2e-3),
        training=Training(batch_size=64, ema_decay=0.999, evaluate_steps=200, evaluate_examples=1_024),
    ).train_on(examples=100_000)


def paper(objective: ImageDiffusion, **training) -> Experiment:
    """Settings of Song et al. 2020 (appendix H.1 and their code): Adam at 2e-4, batch 128, gradients clipped to norm 1,
    1.3 million updates, of deep networks .95 million."""
    settings = {"steps": 1_300_000, "batch_size": 128, "ema_decay": 0.9999, "steps_per_dispatch": 4,
                "evaluate_steps": 10_000, "checkpoint_steps": 10_000}
    return Experiment(
        objective=objective, data=DATA,
        optimizer=AdamW(learning_rate=2e-4, decay="constant", warmup_steps=5_000, warmup_fraction=0.0, beta2=0.999,
                        epsilon=1e-8),
        training=Training(**settings | training),
    )


def ddpm(_: str) -> Experiment:
    """Ho et al. 2020, appendix B: 800,000 updates; a thousand discrete times."""
    path = VP(schedules.Discrete(1_000), start=1e-3)
    objective = ImageDiffusion(model=unet("ddpm", **IMAGE, dropout=0.1), path=path, dequantize=False)
    return paper(objective, steps=800_000)


def ddpm_plus_plus(variant: str) -> Experiment:
    """Times from 1e-5 in training and likelihoods, samples to 1e-3, as in the paper (appendix C)."""
    deep, _, sde = variant.rpartition("-")
    path = VP(start=1e-5) if sde == "vp" else SubVP(start=1e-5)
    network = unet("ddpm++deep" if deep else "ddpm++", **IMAGE, dropout=0.1)
    objective = ImageDiffusion(model=network, path=path, sampling_start=1e-3, dequantize=False)
    return paper(objective, **(DEEP if deep else {}))


def ncsn_plus_plus(variant: str) -> Experiment:
    """The paper's images lie in [0, 1], where sigma runs from .01 to 50; here they lie in [-1, 1]. Its network sees
    16 log sigma in Fourier features, here 64 times a quarter of it."""
    deep = variant.startswith("deep")
    network = unet("ncsn++deep" if deep else "ncsn++", **IMAGE, dropout=0.1, fourier_scale=64.0)
    objective = ImageDiffusion(model=network, path=VE(sigma_min=0.02, sigma_max=100.0), noise_level="log_noise",
                               dequantize=False)
    return paper(objective, ema_decay=0.999, **(DEEP if deep else {}))


def edm(variant: str) -> Experiment:
    """Karras et al. 2022, table 7 and appendix F.2: 200 million images in batches of 512, half-life of the moving
    average 500,000 images, learning rate 1e-3 after 10 million images, no clipping of gradients."""
    network = unet("ddpm++", **IMAGE, channel_multipliers=(2, 2, 2), dropout=0.13,
                   num_classes=10 if variant == "conditional" else 0)
    objective = ImageDiffusion(model=network, path=EDM(), prediction=Prediction("edm", data_std=0.5),
                               weighting="prediction", times=times.LogNormal(mean=-1.2, std=1.2),
                               noise_level="log_noise", scale_inputs=True, dequantize=False)
    experiment = paper(objective, batch_size=512, ema_decay=0.5 ** (512 / 500_000))
    optimizer = dataclasses.replace(experiment.optimizer, learning_rate=1e-3, warmup_steps=10_000_000 // 512,
                                    clip_norm=None)
    return dataclasses.replace(experiment, optimizer=optimizer).train_on(examples=200e6)


def flow(_: str) -> Experiment:
    """Lipman et al. 2022, appendix E.1: 391,000 updates of 256 at 5e-4, linearly to zero; their U-Net is another."""
    objective = ImageDiffusion(model=unet("ddpm++", **IMAGE), path=Flow(), prediction=Prediction("velocity"),
                               weighting="prediction", dequantize=False)
    experiment = paper(objective, steps=391_000, batch_size=256)
    optimizer = dataclasses.replace(experiment.optimizer, learning_rate=5e-4, decay="linear", final_fraction=0.0,
                                    warmup_steps=45_000)
    return dataclasses.replace(experiment, optimizer=optimizer)


def diffusion_transformer(size: str) -> Experiment:
    """Peebles and Xie 2022, section 4: AdamW at 1e-4 without warm-up, decay or clipping, batch 256, label dropout .1;
    400,000 updates. Theirs works on an autoencoder's latents of ImageNet."""
    network = dit(size, **IMAGE, num_classes=10)
    objective = ImageDiffusion(model=network, path=VP(schedules.Cosine()), prediction=Prediction("velocity"),
                               label_dropout=0.1)
    experiment = paper(objective, steps=400_000, batch_size=256)
    optimizer = dataclasses.replace(experiment.optimizer, learning_rate=1e-4, warmup_steps=0, clip_norm=None)
    return dataclasses.replace(experiment, optimizer=optimizer)


RECIPES = {"mini": (mini, ("",)), "ddpm": (ddpm, ("",)),
           "ddpm++": (ddpm_plus_plus, ("vp", "subvp", "deep-vp", "deep-subvp")),
           "ncsn++": (ncsn_plus_plus, ("ve", "deep-ve")), "edm": (edm, ("unconditional", "conditional")),
           "flow": (flow, ("",)), "dit": (diffusion_transformer, ("S/2",))}

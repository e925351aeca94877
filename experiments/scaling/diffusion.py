"""Scaling laws of diffusion on CIFAR-10 at 16 x 16 pixels: denoising loss and bits per dimension of DiT and U-Net.

    python -m launch.sweep --config=experiments/scaling/diffusion.py --workdir=runs/diffusion-sweep

Sixteen DiTs and fourteen U-Nets, five sizes by up to four numbers of examples seen; the fit sees these. The law of each
family's denoising loss in parameters and examples is chosen by backtest among them (the rule:
genlab/scaling/forecasts/backtest.py) and forecasts the family's held-out run, the largest, of 2.7 (DiT) and 2.6 times
(U-Net) the compute of any other. Exact bits per dimension of held-out images (by the probability-flow ODE, on 128
images that are the same for all runs) stand beside the loss: the form of Zhai et al. 2021 (arXiv 2106.04560) is fitted
to the compute frontiers of both.

Needs TFDS's cifar10 (experiments/vision/datasets.py says where it is looked for).

2 shared cores, float32, Python 3.11.7, seed 0: 32 runs in 43 min beside other work, the analysis 3 min.

    family   law chosen (backtest)   forecast of the largest run's loss   measured          error
    DiT      chinchilla (2.8 %)      .0698 [.0660, .0761]                 .0714             -2.2 %
    U-Net    busbridge  (2.7 %)      .0730 [.0686, .0821]                 .0756             -3.4 %

    by the frontier in FLOPs         forecast                             measured          error
    DiT      loss                    .0704 [.0611, .0818]                 .0714             -1.4 %
    U-Net    loss                    .0751 [.0658, .0796]                 .0756              -.6 %
    DiT      bits per dimension      3.917 [3.778, 3.926]                 3.882             +.9 %
    U-Net    bits per dimension      3.951 [3.603, 4.215]                 3.902             +1.2 %

At these budgets DiT denoises better at equal compute, and in bits per dimension the U-Net leads below 1e12 FLOPs. The
forms were the candidates before any run was made; learning rates were chosen in five short runs of one size of each
family, and the U-Net's grid was made smaller, its held-out run shorter (40,000 examples in place of 80,000), for time
and before any U-Net had ended. Parameters of the laws are poorly determined, and E is not identifiable, as the report
says.
"""

import dataclasses

from experiments.vision.datasets import CIFAR10
from genlab.data import RandomFlip
from genlab.diffusion import schedules
from genlab.diffusion.denoiser import Prediction
from genlab.diffusion.likelihood import ProbabilityFlow
from genlab.diffusion.paths import VP
from genlab.experiment import Experiment
from genlab.models.dit import DiT
from genlab.models.unet import UNet
from genlab.objectives.diffusion import ImageDiffusion
from genlab.objectives.generation import BitsPerDimension
from genlab.scaling import ByFamily, ComputeOptimal
from genlab.sweeps import Sweep
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training

DATA = dataclasses.replace(CIFAR10, image_size=16, augmentation=(RandomFlip(),))
IMAGE = {"image_size": 16, "channels": 3}
EXAMPLES = (12_500, 25_000, 50_000, 100_000)
GRID = {
    "dit": {16: EXAMPLES[1:], 24: EXAMPLES, 32: EXAMPLES, 48: EXAMPLES[:3], 64: EXAMPLES[:2]},
    "unet": {4: EXAMPLES, 6: EXAMPLES, 8: EXAMPLES[:3], 12: EXAMPLES[:2], 16: EXAMPLES[:1]},
}
HELD_OUT = {"dit": (64, 80_000), "unet": (16, 40_000)}


def get_model(family: str, width: int) -> DiT | UNet:
    """A network of a ladder: only the width differs."""
    if family == "dit":
        return DiT(**IMAGE, patch_size=2, width=width, depth=4, num_heads=max(1, width // 16))
    return UNet(**IMAGE, width=width, channel_multipliers=(1, 2), blocks=1, attention_resolutions=(8,))


def get_config(family: str = "dit", width: int = 32, examples: float = 25_000) -> Experiment:
    """One run of the sweep."""
    return Experiment(
        name=f"{family}-width{width}-{examples / 1e3:g}k",
        objective=ImageDiffusion(model=get_model(family, width), path=VP(schedules.Cosine()),
                                 prediction=Prediction("velocity")),
        data=DATA,
        optimizer=AdamW(learning_rate=(0.2 if family == "dit" else 0.05) / width),
        training=Training(batch_size=16, ema_decay=0.995, evaluate_examples=2_048, log_steps=200, writers=()),
        evaluations=(BitsPerDimension(ProbabilityFlow(steps=8), held_out_examples=128),),
    ).train_on(examples=examples)


def get_sweep() -> Sweep:
    """Both families' grids, their held-out runs and the analysis."""
    grid = [get_config(family, width, examples)
            for family, sizes in GRID.items() for width, seen in sizes.items() for examples in seen]
    analysis = ByFamily(ComputeOptimal(laws=("chinchilla", "kaplan", "busbridge"), tokens="examples"),
                        frontier=("loss", "bits_per_dimension"))
    return Sweep(grid, held_out=[get_config(family, *HELD_OUT[family]) for family in HELD_OUT], analysis=analysis,
                 name="diffusion")

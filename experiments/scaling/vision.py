"""Scaling laws of ViT and MLP-Mixer on CIFAR-10: loss and error against compute, a law and a checked forecast for each.

    python -m launch.sweep --config=experiments/scaling/vision.py --workdir=runs/vision

Eleven runs of each family, four sizes by three numbers of examples seen, at least 780 updates each; the fit sees these.
The law of each family's loss in parameters and examples is chosen by backtest among the eleven (the rule:
genlab/scaling/forecasts/backtest.py) and forecasts the family's twelfth run, the largest size with three times the
compute of any other. The form of Zhai et al. 2021 (arXiv 2106.04560), E = a + b (C + d)^-c, is fitted to each
family's compute frontier of loss and of error rate beside it.

Needs TFDS's cifar10 (experiments/vision/datasets.py says where it is looked for).

MEASURED
"""

from experiments.vision.datasets import CIFAR10, fields
from genlab.experiment import Experiment
from genlab.models.mixer import Mixer
from genlab.models.vit import ViT
from genlab.objectives.classification import Classification
from genlab.scaling import ByFamily, ComputeOptimal
from genlab.sweeps import Sweep
from genlab.training.loop import Training
from genlab.training.optimizers import AdamW

DEPTH, PATCH_SIZE = 4, 4
EXAMPLES = (50_000, 100_000, 200_000)
GRID = {16: EXAMPLES, 32: EXAMPLES, 48: EXAMPLES, 64: EXAMPLES[:2]}
HELD_OUT = (64, 320_000)


def get_model(family: str, width: int) -> ViT | Mixer:
    """A model of the ladder: only the width differs."""
    shape = {"width": width, "depth": DEPTH, "patch_size": PATCH_SIZE, **fields("cifar10")}
    if family == "vit":
        return ViT(num_heads=width // 16, pooling="mean", positions="sincos2d", **shape)
    return Mixer(token_mlp_width=64, channel_mlp_width=4 * width, **shape)


def get_config(family: str = "vit", width: int = 32, examples: float = 25_000) -> Experiment:
    """One run of the sweep."""
    return Experiment(
        name=f"{family}-width{width}-{examples / 1e3:.0f}k",
        objective=Classification(model=get_model(family, width)),
        data=CIFAR10,
        optimizer=AdamW(learning_rate=0.1 / width, weight_decay=0.05),
        training=Training(batch_size=32, evaluate_examples=0, log_steps=200, writers=()),
    ).train_on(examples=examples)


def get_sweep() -> Sweep:
    """Both families' grids, their held-out runs and the analysis."""
    families = ("vit", "mixer")
    grid = [get_config(family, width, examples)
            for family in families for width, seen in GRID.items() for examples in seen]
    analysis = ByFamily(ComputeOptimal(laws=("chinchilla", "kaplan", "busbridge"), tokens="examples"),
                        frontier=("loss", "error"))
    held_out = [get_config(family, *HELD_OUT) for family in families]
    return Sweep(grid, held_out=held_out, analysis=analysis, name="vision")

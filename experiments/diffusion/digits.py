"""Diffusion of scikit-learn's digits: class-conditional samples, likelihoods and inverse problems in five minutes.

    python -m launch.train --config=experiments/diffusion/digits.py --workdir=runs/digits
    python -m launch.sample --workdir=runs/digits --images=100 --guidance=2
    python -m launch.evaluate --workdir=runs/digits --evaluation=likelihood,samples

The argument is unet (default) or dit.
"""

from genlab.configuration import ConfigError
from genlab.data import Digits, Images
from genlab.diffusion import times
from genlab.diffusion.paths import VP
from genlab.experiment import Experiment
from genlab.models.dit import DiT
from genlab.models.unet import UNet
from genlab.objectives.diffusion import ImageDiffusion
from genlab.objectives.grey_levels import GreyLevels
from genlab.training.loop import Training
from genlab.training.optimizers import AdamW

IMAGE = {"image_size": 8, "channels": 1, "num_classes": 10}
NETWORKS = {
    "unet": UNet(**IMAGE, width=32, channel_multipliers=(1, 2), blocks=2, attention_resolutions=(4,), dropout=0.1),
    "dit": DiT(**IMAGE, patch_size=2, width=96, depth=4, num_heads=4),
}


def get_config(network: str = "unet") -> Experiment:
    """The experiment for a network's name."""
    if network not in NETWORKS:
        raise ConfigError(f"there is no network {network!r} here; there are: {', '.join(NETWORKS)}")
    # Half the times uniform in t, where samples are decided, half in log-SNR, where likelihood is.
    both = times.Mixture((times.UniformTime(), times.UniformLogSnr()), (0.5, 0.5))
    return Experiment(
        name=f"digits-{network}",
        objective=ImageDiffusion(model=NETWORKS[network], path=VP(), times=both, label_dropout=0.15,
                                 pixels=GreyLevels(17)),
        data=Images(source=Digits()),
        optimizer=AdamW(learning_rate=2e-3, weight_decay=0.0),
        training=Training(steps=3_000, batch_size=64, ema_decay=0.998, evaluate_steps=1_000),
    )

"""score_sde's DDPM++ (https://github.com/yang-song/score_sde, its JAX modules), against genlab's U-Net.

Both networks stand in the same loss, genlab's denoising score matching on the VP path, which is score_sde's with
continuous times (losses.get_sde_loss_fn): a batch says by a seed which times and noise its examples draw, so both sides
draw the same ones. Settings are those of its configs/vp/cifar10_ddpmpp_continuous.py but for the sizes and for dropout,
which would be another on either side.

score_sde's loop scans five steps a dispatch. Its step is run alone, in its favour: within a scan, gradients of XLA's
convolutions are plain loops on CPU (genlab/models/fast_convolutions.py). Gradients differ by up to 5e-5, nearly all of
it because it rounds the embedding's frequencies otherwise: with the same ones, by 7e-6 (width 16, 16 pixels).

models/ncsnpp.py and what defines its layers are taken as they are. What it imports beside is replaced: models/utils.py,
which needs an optimizer of Flax that is no more and TensorFlow, by the two functions asked of it, and ml_collections,
there for a type, by an empty one.
"""

import dataclasses
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError
from genlab.diffusion.paths import VP
from genlab.models.unet import unet
from genlab.models.unet_layers import groups
from genlab.objectives.diffusion import ImageDiffusion
from launch.benchmarks.peer import PeerStep
from launch.benchmarks.shapes import BATCH_SIZE, Sizes

PyTree = Any
CHANNELS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeededDiffusion(ImageDiffusion):
    """Diffusion whose times and noise are those of its batch's "seed" [B], of which the first one counts."""

    def loss(self, variables, batch, key, train: bool):
        """See `ScoreMatching`."""
        return super().loss(variables, batch, jax.random.key(batch["seed"][0]), train)


@dataclasses.dataclass(frozen=True)
class UNetShape(Sizes):
    """A DDPM++'s size: four levels with attention in the second, as the paper's for CIFAR-10 (128, 32 and 4)."""

    width: int
    image_size: int
    blocks: int

    default = "32,16,1 32,32,1 64,16,1"

    def objective(self) -> SeededDiffusion:
        """The loss of a network of this size. Raises ConfigError for a width that score_sde's norms cannot cut."""
        for channels in (self.width * multiple for multiple in (1, 2, 3, 4)):
            if min(channels // 4, 32) != groups(channels):
                raise ConfigError(f"--shapes: at width {self.width}, score_sde's norms do not divide {channels} "
                                  "channels into groups: 8, 16 or a multiple of 32 would do")
        network = unet("ddpm++", image_size=self.image_size, channels=CHANNELS, width=self.width, blocks=self.blocks,
                       attention_resolutions=(self.image_size // 2,))
        return SeededDiffusion(model=network, path=VP(start=1e-5), dequantize=False)

    def batches(self, steps: int) -> dict[str, np.ndarray]:
        """Random images and seeds of so many steps."""
        images = np.random.default_rng(0).integers(
            0, 256, (steps, BATCH_SIZE, self.image_size, self.image_size, CHANNELS), np.uint8)
        return {"image": images, "seed": np.repeat(np.arange(steps, dtype=np.int32)[:, None], BATCH_SIZE, axis=1)}


@dataclasses.dataclass(frozen=True)
class ScoreSDE:
    """A checkout's module models.ncsnpp."""

    ncsnpp: types.ModuleType
    name = "score_sde"

    def step(self, shape: UNetShape) -> PeerStep:
        """Its training step for a model of this shape."""
        objective = shape.objective()
        network = self.ncsnpp.NCSNpp(_config(objective.model))
        objective = dataclasses.replace(objective, model=_Network(network))
        image = jnp.zeros((1, shape.image_size, shape.image_size, CHANNELS))
        return PeerStep(
            init=lambda key: network.init(key, image, jnp.zeros(1))["params"],
            loss=lambda params, batch: objective.loss({"params": params}, batch, None, True)[0],
            as_genlab=lambda tree: _as_genlab(tree, shape),
            decay_mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree))  # Its biases have many names.


def load(path: str) -> ScoreSDE:
    """The peer of a folder that holds models/ncsnpp.py. Raises ConfigError if there is none."""
    folder = Path(path) / "models"
    if not (folder / "ncsnpp.py").is_file():
        raise ConfigError(f"--peer={path} has no models/ncsnpp.py; give the root of a checkout of score_sde")
    modules = {name: types.ModuleType(name) for name in ("ml_collections", "score_sde", "score_sde.utils")}
    modules["ml_collections"].ConfigDict = types.SimpleNamespace
    modules["score_sde"].__path__ = [str(folder)]  # By its own name: "models" might be anybody's.
    modules["score_sde.utils"].register_model = lambda name: lambda model: model
    modules["score_sde.utils"].get_sigmas = lambda config: jnp.zeros(1)  # Asked for, and used by other settings alone.
    sys.modules.update(modules)
    return ScoreSDE(importlib.import_module("score_sde.ncsnpp"))


@dataclasses.dataclass(frozen=True)
class _Network:
    """score_sde's, as a genlab objective calls one."""

    module: Any
    num_classes = 0

    def apply(self, variables, x, noise_level, label, train, rngs):
        return self.module.apply(variables, x, noise_level, train=train, rngs=rngs)


def _config(model) -> types.SimpleNamespace:
    """What NCSNpp reads of configs/vp/cifar10_ddpmpp_continuous.py, at the size of genlab's `model`."""
    return types.SimpleNamespace(
        data=types.SimpleNamespace(centered=True), training=types.SimpleNamespace(continuous=True),
        model=types.SimpleNamespace(
            nf=model.width, ch_mult=model.channel_multipliers, num_res_blocks=model.blocks,
            attn_resolutions=model.attention_resolutions, dropout=0.0, nonlinearity="swish", scale_by_sigma=False,
            resamp_with_conv=True, conditional=True, fir=False, fir_kernel=(1, 3, 3, 1), skip_rescale=True,
            resblock_type="biggan", progressive="none", progressive_input="none", progressive_combine="sum",
            embedding_type="positional", init_scale=0.0))


def _as_genlab(tree: PyTree, shape: UNetShape) -> PyTree:
    blocks, attentions = _names(shape)
    return {
        "embedding": {"up": tree["Dense_0"], "down": tree["Dense_1"]},
        "input": tree["Conv_0"], "output_norm": tree["GroupNorm_0"], "output": tree["Conv_1"],
    } | {name: _block(tree[f"ResnetBlockBigGANpp_{i}"]) for i, name in enumerate(blocks)} | {
        name: _attention(tree[f"AttnBlockpp_{i}"]) for i, name in enumerate(attentions)}


def _names(shape: UNetShape) -> tuple[list[str], list[str]]:
    """genlab's names of residual blocks and of attention, each in the order in which they run; score_sde counts."""
    levels = range(1, len(shape.objective().model.channel_multipliers) + 1)
    blocks, attentions = [], []
    for level in levels:
        blocks += [f"down_{level}_block_{i}" for i in range(1, shape.blocks + 1)]
        blocks += [f"down_{level}_resample"] * (level < levels[-1])
    attentions += [f"down_2_attention_{i}" for i in range(1, shape.blocks + 1)]
    blocks += ["middle_block_1", "middle_block_2"]
    attentions += ["middle_attention", f"up_2_attention_{shape.blocks + 1}"]
    for level in reversed(levels):
        blocks += [f"up_{level}_block_{i}" for i in range(1, shape.blocks + 2)]
        blocks += [f"up_{level}_resample"] * (level > 1)
    return blocks, attentions


def _block(tree: PyTree) -> PyTree:
    block = {"norm_1": tree["GroupNorm_0"], "conv_1": tree["Conv_0"], "condition": tree["Dense_0"],
             "norm_2": tree["GroupNorm_1"], "conv_2": tree["Conv_1"]}
    if "Conv_2" in tree:
        block["shortcut"] = {"kernel": tree["Conv_2"]["kernel"][0, 0], "bias": tree["Conv_2"]["bias"]}
    return block


def _attention(tree: PyTree) -> PyTree:
    qkv = [tree[f"NIN_{i}"] for i in range(3)]
    return {"norm": tree["GroupNorm_0"],
            "qkv": {"kernel": jnp.concatenate([part["W"] for part in qkv], axis=1),
                    "bias": jnp.concatenate([part["b"] for part in qkv])},
            "out": {"kernel": tree["NIN_3"]["W"], "bias": tree["NIN_3"]["b"]}}

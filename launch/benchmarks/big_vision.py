"""big_vision's ViT and MLP-Mixer (https://github.com/google-research/big_vision), against genlab's.

Both see 32 x 32 pixels in [-1, 1] in patches of 4, pool the mean of the patches, and are trained on the softmax
cross-entropy of 10 classes. big_vision's modules are taken as they are; what they import beside (its `utils` and
`models.common`, which need TensorFlow) only loads checkpoints, and is replaced by empty modules. Its training step is
optax alone, as for every peer.
"""

import dataclasses
import importlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from genlab.configuration import ConfigError
from genlab.models.mixer import Mixer
from genlab.models.vit import ViT
from genlab.objectives.classification import Classification
from launch.benchmarks.peer import PeerStep
from launch.benchmarks.shapes import BATCH_SIZE, Sizes, TransformerShape

PyTree = Any
IMAGE_SIZE, PATCH_SIZE, CLASSES = 32, 4, 10


class ViTShape(TransformerShape):
    """A ViT's size."""

    default = "64,4,4 128,6,4 192,12,3"  # The last is Ti/4.

    def objective(self) -> Classification:
        """Classification of small images, the rest as big_vision has it."""
        return Classification(model=ViT(
            num_classes=CLASSES, image_size=IMAGE_SIZE, patch_size=PATCH_SIZE, pooling="mean", zero_head=False,
            **dataclasses.asdict(self)))

    def batches(self, steps: int) -> dict[str, np.ndarray]:
        """Random images and labels of so many steps."""
        return _random_images(steps)


@dataclasses.dataclass(frozen=True)
class MixerShape(Sizes):
    """A Mixer's size, its MLPs as wide as the paper's are in proportion."""

    width: int
    depth: int

    default = "64,4 128,6 256,8"

    def objective(self) -> Classification:
        """Classification of small images, the rest as big_vision has it."""
        return Classification(model=Mixer(num_classes=CLASSES, image_size=IMAGE_SIZE, patch_size=PATCH_SIZE,
                                          width=self.width, depth=self.depth, zero_head=False))

    def batches(self, steps: int) -> dict[str, np.ndarray]:
        """Random images and labels of so many steps."""
        return _random_images(steps)


@dataclasses.dataclass(frozen=True)
class BigVision:
    """A checkout's modules of ViT and Mixer."""

    vit: types.ModuleType
    mlp_mixer: types.ModuleType
    name = "big_vision"

    def step(self, shape: ViTShape | MixerShape) -> PeerStep:
        """Its training step for a model of this shape."""
        model, as_genlab = (self._vit if isinstance(shape, ViTShape) else self._mixer)(shape)

        def loss(params, batch):
            pixels = batch["image"].astype(jnp.float32) / 127.5 - 1
            logits_BK, _ = model.apply({"params": params}, pixels, train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits_BK, batch["label"]).mean()

        image = jnp.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3))
        return PeerStep(init=lambda key: model.init(key, image)["params"], loss=loss, as_genlab=as_genlab)

    def _vit(self, shape: ViTShape) -> tuple[Any, Callable]:
        model = self.vit.Model(CLASSES, patch_size=(PATCH_SIZE,) * 2, width=shape.width, depth=shape.depth,
                               num_heads=shape.num_heads, pool_type="gap", head_zeroinit=False)

        def as_genlab(tree):
            encoder = tree["Transformer"]
            blocks = {f"block_{i}": _vit_block(encoder[f"encoderblock_{i}"], shape.width) for i in range(shape.depth)}
            return {
                "position_embedding": tree["pos_embedding"][0], "head": tree["head"],
                "patch_embedding": _patch_embedding(tree["embedding"]),
                "transformer": blocks | {"final_norm": encoder["encoder_norm"]},
            }

        return model, as_genlab

    def _mixer(self, shape: MixerShape) -> tuple[Any, Callable]:
        model = self.mlp_mixer.Model(CLASSES, patch_size=(PATCH_SIZE,) * 2, hidden_dim=shape.width,
                                     num_blocks=shape.depth, tokens_mlp_dim=shape.width // 2,
                                     channels_mlp_dim=4 * shape.width)

        def as_genlab(tree):
            return {f"block_{i}": _mixer_block(tree[f"MixerBlock_{i}"]) for i in range(shape.depth)} | {
                "final_norm": tree["pre_head_layer_norm"], "head": tree["head"],
                "patch_embedding": _patch_embedding(tree["stem"]),
            }

        return model, as_genlab


def load(path: str) -> BigVision:
    """The peer of a folder that holds big_vision/. Raises ConfigError if there is none, or einops is missing."""
    folder = Path(path)
    if not (folder / "big_vision" / "models" / "vit.py").is_file():
        raise ConfigError(f"--peer={path} has no big_vision/models/vit.py; give the root of a checkout of big_vision")
    for name in ("utils", "models.common"):
        sys.modules[f"big_vision.{name}"] = types.ModuleType(f"big_vision.{name}")
    sys.path.insert(0, str(folder.resolve()))
    try:
        return BigVision(*(importlib.import_module(f"big_vision.models.{name}") for name in ("vit", "mlp_mixer")))
    except ModuleNotFoundError as error:
        raise ConfigError(f"big_vision needs {error.name}: pip install {error.name}") from error


def _random_images(steps: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {"image": random.integers(0, 256, (steps, BATCH_SIZE, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
            "label": random.integers(0, CLASSES, (steps, BATCH_SIZE), np.int32)}


def _patch_embedding(tree: PyTree) -> PyTree:
    return {"kernel": tree["kernel"].reshape(-1, tree["kernel"].shape[-1]), "bias": tree["bias"]}


def _vit_block(tree: PyTree, width: int) -> PyTree:
    attention = tree["MultiHeadDotProductAttention_0"]
    parts = [attention[name] for name in ("query", "key", "value")]
    return {
        "attention_norm": tree["LayerNorm_0"], "mlp_norm": tree["LayerNorm_1"],
        "attention": {
            "qkv": {"kernel": jnp.concatenate([part["kernel"].reshape(width, width) for part in parts], axis=1),
                    "bias": jnp.concatenate([part["bias"].reshape(width) for part in parts])},
            "output": {"kernel": attention["out"]["kernel"].reshape(width, width), "bias": attention["out"]["bias"]},
        },
        "mlp": _mlp(tree["MlpBlock_0"]),
    }


def _mixer_block(tree: PyTree) -> PyTree:
    return {"token_norm": tree["LayerNorm_0"], "token_mlp": _mlp(tree["token_mixing"]),
            "channel_norm": tree["LayerNorm_1"], "channel_mlp": _mlp(tree["channel_mixing"])}


def _mlp(tree: PyTree) -> PyTree:
    return {"up": tree["Dense_0"], "down": tree["Dense_1"]}

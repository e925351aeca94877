"""timm's Vision Transformer (https://github.com/huggingface/pytorch-image-models), against genlab's.

vit_base_patch16_224, or another size by its arguments: class token, learned positions, softmax cross-entropy. Both
sides get bytes and turn them into numbers in [-1, 1] within the step. For the comparison of losses timm's GELU, by erf,
is replaced by GELU by tanh.
"""

import dataclasses
import types
from typing import Any

import numpy as np

from genlab.experiment import Experiment
from launch.benchmarks.pytorch.peer import first_batch, images, installed, own_loss, use_tanh_gelu
from launch.benchmarks.pytorch.settings import TimedShape, accelerated, own_config, timed
from launch.benchmarks.pytorch.weights import block, linear, norm, patches

BATCH_SIZE = 256


class ViTShape(TimedShape):
    """The size of a ViT with patches of 16; on a CPU with images of 32 pixels."""

    default = "768,12,12"  # B/16.

    def experiment(self) -> Experiment:
        """genlab's own recipe for B/16, without what it does to images and labels, and with a head that is not zero."""
        experiment = own_config("vision/vit.py", "augreg,B/16")
        I, B = (224, BATCH_SIZE) if accelerated() else (32, 4)
        model = dataclasses.replace(experiment.objective.model, image_size=I, mlp_width=None,
                                    zero_head=False, **dataclasses.asdict(self))
        objective = dataclasses.replace(experiment.objective, model=model, loss_function="softmax", mixup=0.0)
        return timed(experiment, B, objective)


@dataclasses.dataclass(frozen=True)
class Timm:
    """The installed package."""

    timm: types.ModuleType
    name = "timm"
    draws = False

    def module(self, model: Any) -> Any:
        """See `TorchPeer`."""
        return self.timm.create_model(
            "vit_base_patch16_224", img_size=model.image_size, patch_size=model.patch_size, embed_dim=model.width,
            depth=model.depth, num_heads=model.num_heads, num_classes=model.num_classes)

    def as_torch(self, params: Any, model: Any) -> dict[str, np.ndarray]:
        """See `TorchPeer`."""
        stack = params["transformer"]
        found = {"cls_token": params["class_token"][None], "pos_embed": params["position_embedding"][None]}
        found |= patches("patch_embed.proj", params["patch_embedding"], model.patch_size)
        for i in range(model.depth):
            its, name = stack[f"block_{i}"], f"blocks.{i}"
            found |= norm(f"{name}.norm1", its["attention_norm"]) | norm(f"{name}.norm2", its["mlp_norm"])
            found |= block(name, its, attention=("attn.qkv", "attn.proj"), mlp=("mlp.fc1", "mlp.fc2"))
        return found | norm("norm", stack["final_norm"]) | linear("head", params["head"])

    def batch(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `TorchPeer`."""
        return images(batch)

    def loss(self, module: Any, batch: dict[str, Any]) -> Any:
        """See `TorchPeer`."""
        import torch

        return torch.nn.functional.cross_entropy(module(batch["image"].float() / 127.5 - 1), batch["label"])

    def match(self, module: Any) -> None:
        """See `TorchPeer`."""
        use_tanh_gelu(module)

    def exact(self, objective: Any) -> tuple:
        """See `TorchPeer`."""
        return first_batch(objective, 2), own_loss(objective), self.loss


def load(path: str | None = None) -> Timm:
    """The peer; there is no checkout. Raises ConfigError where PyTorch or timm is missing."""
    installed("torch")
    return Timm(installed("timm"))

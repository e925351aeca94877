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
from launch.benchmarks import torch_peer
from launch.benchmarks.torch_peer import linear, norm, patches

BATCH_SIZE = 256


@dataclasses.dataclass(frozen=True)
class ViTShape:
    """The size of a ViT with patches of 16; on a CPU with images of 32 pixels."""

    width: int
    depth: int
    num_heads: int

    default = "768,12,12"  # B/16.

    def __str__(self) -> str:
        return f"{self.width},{self.depth},{self.num_heads}"

    def experiment(self) -> Experiment:
        """genlab's own recipe for B/16, without what it does to images and labels, and with a head that is not zero."""
        experiment = torch_peer.own_config("vision/vit.py", "augreg,B/16")
        I, B = (224, BATCH_SIZE) if torch_peer.accelerated() else (32, 4)
        model = dataclasses.replace(experiment.objective.model, image_size=I, width=self.width, depth=self.depth,
                                    num_heads=self.num_heads, mlp_width=None, zero_head=False)
        objective = dataclasses.replace(experiment.objective, model=model, loss_function="softmax", mixup=0.0)
        return torch_peer.timed(experiment, B, objective)

    def objective(self) -> Any:
        """Of the experiment."""
        return self.experiment().objective


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
            block, name = stack[f"block_{i}"], f"blocks.{i}"
            found |= norm(f"{name}.norm1", block["attention_norm"]) | norm(f"{name}.norm2", block["mlp_norm"])
            found |= linear(f"{name}.attn.qkv", block["attention"]["qkv"])
            found |= linear(f"{name}.attn.proj", block["attention"]["output"])
            found |= linear(f"{name}.mlp.fc1", block["mlp"]["up"]) | linear(f"{name}.mlp.fc2", block["mlp"]["down"])
        return found | norm("norm", stack["final_norm"]) | linear("head", params["head"])

    def batch(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `TorchPeer`."""
        return {"image": np.ascontiguousarray(batch["image"].transpose(0, 3, 1, 2)),
                "label": batch["label"].astype(np.int64)}

    def loss(self, module: Any, batch: dict[str, Any]) -> Any:
        """See `TorchPeer`."""
        import torch

        return torch.nn.functional.cross_entropy(module(batch["image"].float() / 127.5 - 1), batch["label"])

    def match(self, module: Any) -> None:
        """See `TorchPeer`."""
        torch_peer.use_tanh_gelu(module)

    def exact(self, objective: Any) -> tuple:
        """See `TorchPeer`."""
        batch = {name: array[0] for name, array in torch_peer.random_batches(objective, 2, 1).items()}
        return batch, torch_peer.own_loss(objective), lambda module, batch: self.loss(module, batch)


def load(path: str | None = None) -> Timm:
    """The peer; there is no checkout. Raises ConfigError where PyTorch or timm is missing."""
    torch_peer.installed("torch")
    return Timm(torch_peer.installed("timm"))

"""The DiT of its authors (https://github.com/facebookresearch/DiT), against genlab's.

Both see 32 x 32 pixels in patches of 2, so 256 tokens as on the paper's latents, ten classes, of which a tenth is
hidden, and predict a velocity on a cosine schedule; the checkout's module has no variances to predict then. Its step is
written here: its own train.py draws from a thousand discrete times and predicts variances. For the comparison the noise
level's sines and cosines, which the checkout has at other frequencies, are replaced by genlab's.
"""

import dataclasses
import math
import types
from typing import Any

import numpy as np

from genlab.diffusion.paths import VP
from genlab.diffusion.schedules import Cosine
from genlab.experiment import Experiment
from genlab.models.noise_embedding import sinusoidal
from launch.benchmarks.pytorch.peer import images, load_file
from launch.benchmarks.pytorch.settings import TimedShape, accelerated, own_config, timed
from launch.benchmarks.pytorch.weights import block, linear, patches

BATCH_SIZE = 256
# Of alpha(t) = cos(u(t)) / cos(u(0)), u(t) = pi / 2 (t + OFFSET) / (1 + OFFSET), in the recipe's times.
SCHEDULE = Cosine()
START, END, OFFSET = VP(SCHEDULE).start, SCHEDULE.end, SCHEDULE.offset


class DiTShape(TimedShape):
    """The size of a DiT with patches of 2; on a CPU with images of 8 pixels."""

    default = "768,12,12"  # B/2.

    def experiment(self) -> Experiment:
        """genlab's own recipe for B/2 on CIFAR-10, without the moving average, which both sides could have."""
        experiment = own_config("diffusion/cifar10.py", "dit,B/2")
        I, B = (32, BATCH_SIZE) if accelerated() else (8, 4)
        model = dataclasses.replace(experiment.objective.model, image_size=I, **dataclasses.asdict(self))
        return timed(experiment, B, dataclasses.replace(experiment.objective, model=model))


@dataclasses.dataclass(frozen=True)
class AuthorsDiT:
    """A checkout's models.py."""

    models: types.ModuleType
    name = "DiT"
    draws = True

    def module(self, model: Any) -> Any:
        """See `TorchPeer`."""
        return self.models.DiT(
            input_size=model.image_size, patch_size=model.patch_size, in_channels=model.channels,
            hidden_size=model.width, depth=model.depth, num_heads=model.num_heads, num_classes=model.num_classes,
            class_dropout_prob=0.1, learn_sigma=False)

    def as_torch(self, params: Any, model: Any) -> dict[str, np.ndarray]:
        """See `TorchPeer`."""
        stack = params["transformer"]
        found = patches("x_embedder.proj", params["patch_embedding"], model.patch_size)
        found |= linear("t_embedder.mlp.0", params["noise_up"]) | linear("t_embedder.mlp.2", params["noise_down"])
        found["y_embedder.embedding_table.weight"] = params["label_embedding"]
        for i in range(model.depth):
            its, name = stack[f"block_{i}"], f"blocks.{i}"
            found |= block(name, its, attention=("attn.qkv", "attn.proj"), mlp=("mlp.fc1", "mlp.fc2"))
            modulations = [its[part]["modulation"] for part in ("attention_norm", "mlp_norm")]
            found |= linear(f"{name}.adaLN_modulation.1", modulations)
        found |= linear("final_layer.adaLN_modulation.1", stack["final_norm"]["modulation"])
        return found | linear("final_layer.linear", params["pixels"])

    def batch(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `TorchPeer`."""
        return images(batch)

    def loss(self, module: Any, batch: dict[str, Any]) -> Any:
        """The mean of alpha^2 |error of the velocity|^2: genlab's, of the same times, noise and hidden labels."""
        import torch

        image = batch["image"]
        B, draw = len(image), {"device": image.device}
        x_0 = 2 * (image.float() + torch.rand(image.shape, **draw)) / 256 - 1
        t_B = START + (END - START) * (torch.arange(B, **draw) + torch.rand(B, **draw)) / B
        quarter = 0.5 * math.pi / (1 + OFFSET)
        alpha_B = torch.cos(quarter * (t_B + OFFSET)) / math.cos(quarter * OFFSET)
        alpha = alpha_B[:, None, None, None]
        sigma, noise = torch.sqrt(1 - alpha**2), torch.randn(image.shape, **draw)
        velocity = module(alpha * x_0 + sigma * noise, 1_000 * t_B, batch["label"])
        return (alpha * (velocity.float() - (alpha * noise - sigma * x_0))).square().mean()

    def match(self, module: Any) -> None:
        """See `TorchPeer`."""
        import torch

        def embed(t_B, width):
            return torch.from_numpy(np.array(sinusoidal(t_B.cpu().numpy(), width))).to(t_B.device)

        module.t_embedder.timestep_embedding = embed
        module.eval()  # It hides labels only in training.

    def exact(self, objective: Any) -> tuple:
        """Squared errors of given numbers: the losses themselves draw."""
        random, model = np.random.default_rng(2), objective.model
        shape = (2, model.image_size, model.image_size, model.channels)
        batch = {"x": random.standard_normal(shape, np.float32), "target": random.standard_normal(shape, np.float32),
                 "level": np.float32([20.0, 700.0]), "label": np.int64([0, model.num_classes])}

        def ours(params, batch):
            velocity = model.apply({"params": params}, batch["x"], batch["level"], batch["label"])
            return ((velocity - batch["target"]) ** 2).mean()

        def theirs(module, batch):
            x, target = (batch[name].permute(0, 3, 1, 2) for name in ("x", "target"))
            return ((module(x, batch["level"], batch["label"]) - target) ** 2).mean()

        return batch, ours, theirs


def load(path: str) -> AuthorsDiT:
    """The peer of a folder that holds models.py. Raises ConfigError if there is none, or no PyTorch or timm."""
    return AuthorsDiT(load_file(path, "models.py", "DiT"))

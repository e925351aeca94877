"""PyTorch's half of a comparison: a training step as its own users write it, and a float32 loss with its gradient.

torch.compile, autocast to bfloat16 (parameters, norms and the residual stream stay float32), scaled dot-product
attention, gradients clipped, fused AdamW, TF32 where a product is in float32. The only module here that imports
PyTorch when it is imported.
"""

from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from genlab.configuration import ConfigError
from genlab.training.optimizers import AdamW
from launch.benchmarks.pytorch.peer import Arrays, TorchPeer
from launch.benchmarks.timing import Side

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def wait(_: Any = None) -> None:
    """Until the device has done all it was given."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def module_with(peer: TorchPeer, model: Any, params: Any) -> torch.nn.Module:
    """A module on the device, with genlab's (unrolled) parameters; raises ConfigError where they do not fit."""
    module, arrays = peer.module(model), peer.as_torch(params, model)
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    shapes = {name: tuple(parameter.shape) for name, parameter in trained.items()}
    ours = {name: tuple(array.shape) for name, array in arrays.items()}
    if shapes != ours:
        name = sorted(dict(shapes.items() ^ ours.items()))[0]
        raise ConfigError(f"{peer.name}'s parameters are not genlab's: {name} is {shapes.get(name, 'missing')} there, "
                          f"{ours.get(name, 'missing')} here")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(torch.from_numpy(np.array(arrays[name])))
    return module.to(DEVICE)


def tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    """Arrays on the device."""
    return {name: torch.from_numpy(np.array(array)).to(DEVICE) for name, array in arrays.items()}


def loss_and_gradient(peer: TorchPeer, model: Any, params: Any, loss: Any, batch: Arrays) -> tuple[float, Arrays]:
    """(loss, gradient by name) in float32, of the module that computes what genlab's model does."""
    _allow_tf32(False)
    module = module_with(peer, model, params)
    peer.match(module)
    value = loss(module, tensors(batch))
    value.backward()
    return value.item(), {name: p.grad.cpu().numpy() for name, p in module.named_parameters() if p.requires_grad}


class TorchTrainer:
    """PyTorch's training step on the same batches again and again, one a dispatch, at a constant learning rate."""

    def __init__(self, peer: TorchPeer, model: Any, params: Any, batches: list[Arrays], optimizer: AdamW, mode: str):
        _allow_tf32(True)
        self.name, self.clip_norm = peer.name, optimizer.clip_norm
        self.module = module_with(peer, model, params).train()
        self.batches = [tensors(peer.batch(batch)) for batch in batches]
        self.optimizer = _adamw(self.module, optimizer)
        self.loss = torch.compile(lambda batch: peer.loss(self.module, batch), mode=mode)
        self.steps = 0

    def dispatch(self) -> torch.Tensor:
        """Starts one step; returns its loss."""
        batch = self.batches[self.steps % len(self.batches)]
        self.steps += 1
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = self.loss(batch)
        loss.backward()
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def side(self) -> Side:
        """For timing."""
        return Side(self.name, self.dispatch, wait)


def _allow_tf32(allowed: bool) -> None:
    """Whether products and convolutions of float32 numbers may round them to ten bits."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def _adamw(module: torch.nn.Module, optimizer: AdamW) -> torch.optim.Optimizer:
    """With weight decay on matrices and tables alone, as nanoGPT has it."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [{"params": [p for p in trained if p.dim() >= 2], "weight_decay": optimizer.weight_decay},
              {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=optimizer.learning_rate, betas=(optimizer.beta1, optimizer.beta2),
                             eps=optimizer.epsilon, fused=DEVICE == "cuda")


def versions() -> dict[str, str | None]:
    """What decides this side's speed."""
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE
    timm = metadata.version("timm") if find_spec("timm") else None
    return {"torch": torch.__version__, "cuda": torch.version.cuda, "timm": timm, "device": name}


def release() -> None:
    """Gives memory that no tensor holds back to the device, where the other side may need it."""
    if DEVICE == "cuda":
        torch.cuda.empty_cache()


def out_of_memory(error: BaseException) -> bool:
    """Whether the device has no memory left."""
    return isinstance(error, torch.OutOfMemoryError)

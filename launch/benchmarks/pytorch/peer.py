"""What an implementation in PyTorch must tell to be timed beside genlab's; nothing here imports PyTorch.

Nothing of a peer is copied here: it is imported from the checkout that --peer names, or from an installed package. A
peer is timed as it is; where it computes something else than genlab's model (GELU by erf and not by tanh), its `match`
says so, for the comparison of losses and gradients alone.
"""

import dataclasses
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from genlab.configuration import ConfigError

PyTree = Any
Arrays = dict[str, np.ndarray]

_HOW_TO_INSTALL = {"torch": "torch (a build for this machine's CUDA)", "timm": "timm"}


class TorchPeer(Protocol):
    """An implementation in PyTorch of one family.

    Attributes:
      name: what a table calls it.
      draws: whether the training loss draws noise of its own, so that two sides' losses differ by chance.
    """

    name: str
    draws: bool

    def module(self, model: Any) -> Any:
        """A fresh torch module of the size of genlab's `model`."""

    def as_torch(self, params: PyTree, model: Any) -> Arrays:
        """genlab's parameters, or their gradient, with blocks unrolled, by the names of the module's parameters."""

    def batch(self, batch: Arrays) -> Arrays:
        """genlab's batch as `loss` takes it."""

    def loss(self, module: Any, batch: dict[str, Any]) -> Any:
        """The training loss of a batch of tensors."""

    def match(self, module: Any) -> None:
        """Makes the module compute what genlab's model does."""

    def exact(self, objective: Any) -> tuple[Arrays, Callable, Callable]:
        """(a batch, genlab's loss of (parameters, batch), the module's of (module, tensors)); neither draws."""


def installed(name: str) -> types.ModuleType:
    """An installed package. Raises ConfigError, with what to install, where there is none."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        what = _HOW_TO_INSTALL.get(error.name, error.name)
        raise ConfigError(f"this compares with PyTorch, which needs {error.name}: pip install {what}") from error


def load_file(path: str, file: str, peer: str) -> types.ModuleType:
    """The module of one file of a checkout. Raises ConfigError where the file or what it imports is missing."""
    found = Path(path) / file
    if not found.is_file():
        raise ConfigError(f"--peer={path} has no {file}; give the root of a checkout of {peer}")
    installed("torch")
    name = f"{peer.lower()}_{found.stem}"
    spec = importlib.util.spec_from_file_location(name, found)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{peer} needs {error.name}: pip install {error.name}") from error
    return module


def check_devices() -> None:
    """Raises ConfigError unless PyTorch and JAX compute on the same kind of device."""
    torch = installed("torch")
    ours = jax.default_backend()
    if torch.cuda.is_available() != (ours == "gpu"):
        lacks, install = ("PyTorch", "a CUDA build of torch") if ours == "gpu" else ("JAX", '"jax[cuda12]"')
        raise ConfigError(f"{lacks} sees no GPU, but the other side does: pip install {install}")


def random_batches(objective: Any, batch_size: int, steps: int) -> Arrays:
    """Stacked random batches of an objective: tokens, or images and labels, each [steps, B, ...]."""
    random, model = np.random.default_rng(0), objective.model
    highest = {"tokens": getattr(model, "vocab_size", None), "image": 256, "label": getattr(model, "num_classes", None)}
    return {name: random.integers(0, highest[name], (steps, *leaf.shape), leaf.dtype)
            for name, leaf in objective.dummy_batch(batch_size).items()}


def images(batch: Arrays) -> Arrays:
    """A batch of images and labels as torch has them: [B, C, I, J], and labels of 64 bits."""
    return {"image": np.ascontiguousarray(batch["image"].transpose(0, 3, 1, 2)),
            "label": batch["label"].astype(np.int64)}


def first_batch(objective: Any, batch_size: int) -> Arrays:
    """One random batch."""
    return {name: array[0] for name, array in random_batches(objective, batch_size, 1).items()}


def float32(objective: Any) -> Any:
    """The same objective in float32, its blocks unrolled and nothing computed twice."""
    return dataclasses.replace(objective, model=dataclasses.replace(
        objective.model, dtype="float32", scan_layers=False, remat="none"))


def own_loss(objective: Any) -> Callable:
    """(parameters, batch) -> genlab's training loss, where it draws nothing."""
    return lambda params, batch: objective.loss({"params": params}, batch, jax.random.key(0), True)[0]


def use_tanh_gelu(module: Any) -> None:
    """Replaces GELU by erf, which is PyTorch's default, by GELU by tanh."""
    for part in module.modules():
        if type(part).__name__ == "GELU":
            part.approximate = "tanh"

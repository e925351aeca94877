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
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError, field_names
from genlab.experiment import Experiment
from launch import flags as command

PyTree = Any
Arrays = dict[str, np.ndarray]

STEPS_PER_DISPATCH = 8
# What decides how genlab's side computes, or decides the same for both.
SETTABLE = ("training.batch_size", "training.steps_per_dispatch", "objective.loss_chunk", *(
    f"objective.model.{name}" for name in ("scan_layers", "remat", "attention_block", "vocab_size", "context_length",
                                           "image_size", "num_classes")))
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


def accelerated() -> bool:
    """Whether this is no CPU, on which only tiny models are tried."""
    return jax.default_backend() != "cpu"


def own_config(file: str, argument: str) -> Experiment:
    """genlab's own experiment, of a file of experiments/."""
    folder = Path(__file__).parents[2] / "experiments"
    return command.load_config(f"{folder / file}:{argument}", override_with=False)


def timed(experiment: Experiment, batch_size: int, objective: Any) -> Experiment:
    """The experiment as it is timed, with --config.FIELD=VALUE in it.

    One device, batches whole, blocks unrolled and nothing computed twice (PyTorch's side does so too), no moving
    average. Raises ConfigError for overrides that the other side cannot follow.
    """
    model = dataclasses.replace(objective.model, dtype="bfloat16", scan_layers=False, remat="none")
    training = dataclasses.replace(experiment.training, batch_size=batch_size, micro_batches=1, ema_decay=None,
                                   steps_per_dispatch=STEPS_PER_DISPATCH, devices=1)
    experiment = dataclasses.replace(experiment, objective=dataclasses.replace(objective, model=model),
                                     training=training)
    found = command.apply_overrides(experiment)
    if _with_settable_fields(found, experiment) != experiment:
        raise ConfigError(f"PyTorch's side follows in nothing but {', '.join(SETTABLE)}: set no other --config.FIELD "
                          "(--shapes sets the model's size)")
    found.objective.validate()
    return found


def _with_settable_fields(config: Any, other: Any, path: str = "") -> Any:
    """A config with another's values in the fields that can be set."""
    changes = {}
    for name in field_names(config):
        mine, its, inner = getattr(config, name), getattr(other, name), f"{path}.{name}".removeprefix(".")
        if inner in SETTABLE:
            changes[name] = its
        elif any(field.startswith(f"{inner}.") for field in SETTABLE):
            changes[name] = _with_settable_fields(mine, its, inner)
    return dataclasses.replace(config, **changes)


def random_batches(objective: Any, batch_size: int, steps: int) -> Arrays:
    """Stacked random batches of an objective: tokens, or images and labels, each [steps, B, ...]."""
    random, model = np.random.default_rng(0), objective.model
    highest = {"tokens": getattr(model, "vocab_size", None), "image": 256, "label": getattr(model, "num_classes", None)}
    return {name: random.integers(0, highest[name], (steps, *leaf.shape), leaf.dtype)
            for name, leaf in objective.dummy_batch(batch_size).items()}


def noised(params: PyTree) -> PyTree:
    """Parameters on the host, with noise, so that those that start at zero are compared too."""
    random = np.random.default_rng(1)
    return jax.tree.map(lambda x: np.asarray(x) + 0.02 * random.standard_normal(x.shape, np.float32), params)


def unrolled(params: PyTree) -> PyTree:
    """Parameters with a scanned stack's blocks one by one."""
    stack = params["transformer"]
    if "blocks" not in stack:
        return params
    depth = len(jax.tree.leaves(stack["blocks"])[0])
    blocks = {f"block_{i}": jax.tree.map(lambda x, i=i: x[i], stack["blocks"]) for i in range(depth)}
    return params | {"transformer": {k: v for k, v in stack.items() if k != "blocks"} | blocks}


def float32(objective: Any) -> Any:
    """The same objective in float32, its blocks unrolled and nothing computed twice."""
    return dataclasses.replace(objective, model=dataclasses.replace(
        objective.model, dtype="float32", scan_layers=False, remat="none"))


def own_loss(objective: Any) -> Callable:
    """(parameters, batch) -> genlab's training loss, where it draws nothing."""
    return lambda params, batch: objective.loss({"params": params}, batch, jax.random.key(0), True)[0]


def linear(name: str, tree: PyTree) -> Arrays:
    """A linear layer, or one of several side by side whose trees are given, as torch names it."""
    trees = tree if isinstance(tree, list) else [tree]
    found = {f"{name}.weight": jnp.concatenate([t["kernel"] for t in trees], axis=1).T}
    if "bias" in trees[0]:
        found[f"{name}.bias"] = jnp.concatenate([t["bias"] for t in trees])
    return found


def norm(name: str, tree: PyTree) -> Arrays:
    """A LayerNorm as torch names it."""
    return {f"{name}.weight": tree["scale"], f"{name}.bias": tree["bias"]}


def patches(name: str, tree: PyTree, patch_size: int) -> Arrays:
    """A patch embedding as the convolution that torch has in its place."""
    p, (rows, width) = patch_size, tree["kernel"].shape
    kernel = tree["kernel"].reshape(p, p, rows // p**2, width).transpose(3, 2, 0, 1)
    return {f"{name}.weight": kernel, f"{name}.bias": tree["bias"]}


def use_tanh_gelu(module: Any) -> None:
    """Replaces GELU by erf, which is PyTorch's default, by GELU by tanh."""
    for part in module.modules():
        if type(part).__name__ == "GELU":
            part.approximate = "tanh"

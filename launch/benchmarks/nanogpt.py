"""nanoGPT's model (https://github.com/karpathy/nanoGPT), against genlab's GPT-2.

Its training step is that of its train.py without accumulation: torch.compile, autocast to bfloat16, flash attention,
gradients clipped, fused AdamW. For the comparison of losses its GELU, by erf, is replaced by GPT-2's, by tanh.
"""

import contextlib
import dataclasses
import io
import types
from typing import Any

import numpy as np

from genlab.experiment import Experiment
from launch.benchmarks import torch_peer
from launch.benchmarks.torch_peer import linear, norm

BATCH_SIZE = 32  # A micro-batch of genlab's own recipe; half as many where a model is deeper than 124M's: two train.


@dataclasses.dataclass(frozen=True)
class GPT2Shape:
    """A GPT-2's size; on a CPU with 64 tokens and a vocabulary of 256."""

    width: int
    depth: int
    num_heads: int

    default = "768,12,12 1024,24,16"  # 124M and 350M.

    def __str__(self) -> str:
        return f"{self.width},{self.depth},{self.num_heads}"

    def experiment(self) -> Experiment:
        """genlab's own recipe of GPT-2's sizes, with nanoGPT's vocabulary: a multiple of 64."""
        experiment = torch_peer.own_config("language/gpt.py", "124M")
        B = BATCH_SIZE if self.depth <= 12 else BATCH_SIZE // 2
        T, V, B = (1_024, 50_304, B) if torch_peer.accelerated() else (64, 256, 4)
        model = dataclasses.replace(experiment.objective.model, context_length=T, vocab_size=V, width=self.width,
                                    depth=self.depth, num_heads=self.num_heads)
        return torch_peer.timed(experiment, B, dataclasses.replace(experiment.objective, model=model))

    def objective(self) -> Any:
        """Of the experiment."""
        return self.experiment().objective


@dataclasses.dataclass(frozen=True)
class NanoGPT:
    """A checkout's model.py."""

    model: types.ModuleType
    name = "nanoGPT"
    draws = False

    def module(self, model: Any) -> Any:
        """See `TorchPeer`."""
        config = self.model.GPTConfig(
            block_size=model.context_length, vocab_size=model.vocab_size, n_layer=model.depth, n_head=model.num_heads,
            n_embd=model.width, dropout=0.0, bias=model.use_bias)
        with contextlib.redirect_stdout(io.StringIO()):
            return self.model.GPT(config)

    def as_torch(self, params: Any, model: Any) -> dict[str, np.ndarray]:
        """See `TorchPeer`."""
        stack = params["transformer"]
        found = {"transformer.wte.weight": params["token_embedding"],
                 "transformer.wpe.weight": params["position_embedding"]}
        for i in range(model.depth):
            block, name = stack[f"block_{i}"], f"transformer.h.{i}"
            found |= norm(f"{name}.ln_1", block["attention_norm"]) | norm(f"{name}.ln_2", block["mlp_norm"])
            found |= linear(f"{name}.attn.c_attn", block["attention"]["qkv"])
            found |= linear(f"{name}.attn.c_proj", block["attention"]["output"])
            found |= linear(f"{name}.mlp.c_fc", block["mlp"]["up"]) | linear(f"{name}.mlp.c_proj", block["mlp"]["down"])
        return found | norm("transformer.ln_f", stack["final_norm"])

    def batch(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `TorchPeer`."""
        tokens = batch["tokens"].astype(np.int64)
        return {"inputs": np.ascontiguousarray(tokens[:, :-1]), "targets": np.ascontiguousarray(tokens[:, 1:])}

    def loss(self, module: Any, batch: dict[str, Any]) -> Any:
        """See `TorchPeer`."""
        return module(batch["inputs"], batch["targets"])[1]

    def match(self, module: Any) -> None:
        """See `TorchPeer`."""
        torch_peer.use_tanh_gelu(module)

    def exact(self, objective: Any) -> tuple:
        """See `TorchPeer`."""
        batch = {name: array[0] for name, array in torch_peer.random_batches(objective, 1, 1).items()}
        return batch, torch_peer.own_loss(objective), lambda module, batch: self.loss(module, batch)


def load(path: str) -> NanoGPT:
    """The peer of a folder that holds model.py. Raises ConfigError if there is none, or no PyTorch."""
    return NanoGPT(torch_peer.load_file(path, "model.py", "nanoGPT"))

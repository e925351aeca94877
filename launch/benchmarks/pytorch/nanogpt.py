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
from launch.benchmarks.pytorch.peer import first_batch, load_file, own_loss, use_tanh_gelu
from launch.benchmarks.pytorch.settings import TimedShape, accelerated, own_config, timed
from launch.benchmarks.pytorch.weights import block, norm

BATCH_SIZE = 32  # A micro-batch of genlab's own recipe; half as many where a model is deeper than 124M's: two train.


class GPT2Shape(TimedShape):
    """A GPT-2's size; on a CPU with 64 tokens and a vocabulary of 256."""

    default = "768,12,12 1024,24,16"  # 124M and 350M.

    def experiment(self) -> Experiment:
        """genlab's own recipe of GPT-2's sizes, with nanoGPT's vocabulary: a multiple of 64."""
        experiment = own_config("language/gpt.py", "124M")
        B = BATCH_SIZE if self.depth <= 12 else BATCH_SIZE // 2
        T, V, B = (1_024, 50_304, B) if accelerated() else (64, 256, 4)
        model = dataclasses.replace(experiment.objective.model, context_length=T, vocab_size=V, width=self.width,
                                    depth=self.depth, num_heads=self.num_heads)
        return timed(experiment, B, dataclasses.replace(experiment.objective, model=model))


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
            its, name = stack[f"block_{i}"], f"transformer.h.{i}"
            found |= norm(f"{name}.ln_1", its["attention_norm"]) | norm(f"{name}.ln_2", its["mlp_norm"])
            found |= block(name, its, attention=("attn.c_attn", "attn.c_proj"), mlp=("mlp.c_fc", "mlp.c_proj"))
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
        use_tanh_gelu(module)

    def exact(self, objective: Any) -> tuple:
        """See `TorchPeer`."""
        return first_batch(objective, 1), own_loss(objective), self.loss


def load(path: str) -> NanoGPT:
    """The peer of a folder that holds model.py. Raises ConfigError if there is none, or no PyTorch."""
    return NanoGPT(load_file(path, "model.py", "nanoGPT"))

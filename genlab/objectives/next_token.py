"""Next-token prediction: the autoregressive language-modelling objective."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError
from genlab.models import generation
from genlab.models.gpt import GPT
from genlab.objectives.metric import Metric
from genlab.scaling.counting.conventions import CONVENTIONS, DecoderShape


@dataclasses.dataclass(frozen=True)
class NextToken:
    """Predicts each token from those before it: mean cross-entropy in nats per token.

    A batch holds "tokens" [B, T + 1] of any integer type and, optionally, "loss_mask" [B, T + 1]
    (which tokens count as targets; the first never does) and "example_weight" [B] (0 for padding).
    `z_loss` is the coefficient of (log Z)^2, which keeps logits from drifting (Chowdhery et al.
    2022, arXiv 2204.02311, section 5: 1e-4). `loss_chunk` is how many positions of every sequence
    have logits at a time, all by default: fewer take less memory, and a third more arithmetic in the
    head (genlab/models/token_losses.py).
    """

    model: GPT
    z_loss: float = 0.0
    loss_chunk: int | None = None

    # What Kaplan 2020, section 2.1 leaves out of N: the tables, and the head that stands in their place.
    embedding_parameters: ClassVar[tuple[str, ...]] = ("token_embedding", "position_embedding", "head")

    @property
    def family(self) -> str:
        """The family of the model, for the run record."""
        return "gpt"

    @property
    def dtype(self) -> str:
        """The type that matmuls run in: what the device's peak rate is looked up by."""
        return self.model.dtype

    def validate(self) -> None:
        """Raises ValueError, in one line, for a config that cannot run."""
        self.model.validate()
        if self.z_loss < 0:
            raise ConfigError(f"z_loss must not be negative, not {self.z_loss}")
        if self.loss_chunk is not None and self.loss_chunk < 1:
            raise ConfigError(f"loss_chunk={self.loss_chunk} must be at least 1 position, or None for all at once")

    def check_data(self, data) -> None:
        """Raises ValueError, in one line, for data that this model cannot read."""
        if not hasattr(data, "sequence_length"):
            raise ValueError(f"next-token prediction needs text, not {type(data).__name__}")
        if data.sequence_length > self.model.context_length:
            raise ValueError(f"data.sequence_length={data.sequence_length} is longer than the model's "
                             f"context_length={self.model.context_length}")
        if data.vocab_size > self.model.vocab_size:
            raise ValueError(f"the tokenizer has {data.vocab_size} tokens, but the model's vocab_size is "
                             f"{self.model.vocab_size}")

    def dummy_batch(self, batch_size: int, data=None) -> dict:
        """Returns the shapes of a batch of `data`, by default of sequences as long as the model's context."""
        T = getattr(data, "sequence_length", None) or self.model.context_length
        return {"tokens": jax.ShapeDtypeStruct((batch_size, T + 1), jnp.int32)}

    def flops_conventions(self, data=None) -> dict[str, float]:
        """Returns training FLOPs per token under each textbook convention (genlab/scaling/counting/conventions.py)."""
        stack = self.model.stack_config()
        tree = jax.eval_shape(self.init, jax.random.key(0))["params"]
        sizes = {path[0].key: leaf.size for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
                 if path[0].key in self.embedding_parameters}
        params = sum(leaf.size for leaf in jax.tree.leaves(tree))
        shape = DecoderShape(
            params=params, params_non_embedding=params - sum(sizes.values()), depth=stack.depth,
            width=stack.width, sequence_length=self.dummy_batch(1, data)["tokens"].shape[1] - 1,
            vocab_size=self.model.vocab_size, num_heads=stack.num_heads, mlp_width=stack.mlp_width)
        return {name: convention(shape) for name, convention in CONVENTIONS.items()}

    def init(self, key) -> dict:
        """Returns {"params": fresh parameters (float32)}; call it under jit, eagerly it takes seconds."""
        return {"params": self.model.init(key, jnp.zeros((1, 1), jnp.int32))["params"]}

    def loss(self, variables, batch, key, train: bool):
        """Returns (loss in nats per token, metrics per example, {}).

        "accuracy" is among them only when not training: an argmax over V costs time.
        """
        tokens = batch["tokens"].astype(jnp.int32)
        inputs_BT, targets_BT = tokens[:, :-1], tokens[:, 1:]
        rngs = {"dropout": key} if train and self.model.dropout else None
        losses_BT, log_z_BT, correct_BT = self.model.apply(
            variables, inputs_BT, targets_BT, train, self.loss_chunk, accuracy=not train, rngs=rngs, method="losses")
        weight_BT = jnp.ones(targets_BT.shape, jnp.float32)
        if "loss_mask" in batch:
            weight_BT *= batch["loss_mask"][:, 1:]
        if "example_weight" in batch:
            weight_BT *= batch["example_weight"][:, None]
        weight_B = weight_BT.sum(axis=-1)

        def metric(values_BT):
            return Metric((values_BT * weight_BT).sum(axis=-1), weight_B)

        metrics = {"loss": metric(losses_BT)}
        loss = metrics["loss"].mean()
        if self.z_loss:
            metrics["z_loss"] = metric(jnp.square(log_z_BT))
            loss += self.z_loss * metrics["z_loss"].mean()
        if not train:
            metrics["accuracy"] = metric(correct_BT)
        return loss, metrics, {}

    def outputs(self, variables, batch) -> dict[str, jax.Array]:
        """Returns of each token after the first its "log_probability" in nats, and "correct": if none is likelier."""
        tokens = batch["tokens"].astype(jnp.int32)
        losses_BT, _, correct_BT = self.model.apply(variables, tokens[:, :-1], tokens[:, 1:], False, self.loss_chunk,
                                                    accuracy=True, method="losses")
        return {"log_probability": -losses_BT, "correct": correct_BT}

    def generate(self, variables, prompts, **settings) -> list[np.ndarray]:
        """Returns the tokens that follow each prompt; settings and errors as in models.generation.generate."""
        return generation.generate(self.model, variables["params"], prompts, **settings)

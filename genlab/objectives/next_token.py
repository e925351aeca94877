"""Next-token prediction: the autoregressive language-modelling objective."""

import dataclasses

import jax
import jax.numpy as jnp

from genlab.models.gpt import GPT
from genlab.objectives.metric import Metric


def cross_entropy(logits, targets):
    """Returns (-log softmax(logits)[target], log sum exp(logits)), nats, each [...], for logits [..., V] and integer targets."""
    log_z = jax.nn.logsumexp(logits, axis=-1)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return log_z - picked, log_z


@dataclasses.dataclass(frozen=True)
class NextToken:
    """Predicts each token from those before it: mean cross-entropy in nats per token.

    A batch holds "tokens" [B, T + 1] of any integer type and, optionally, "loss_mask" [B, T + 1] (which tokens count
    as targets; the first never does) and "example_weight" [B] (0 for padding). `z_loss` is the coefficient of
    (log Z)^2, which keeps logits from drifting (Chowdhery et al. 2022, section 5: 1e-4).
    """

    model: GPT = GPT()
    z_loss: float = 0.0

    @property
    def family(self) -> str:
        """The family of the model, for the run record."""
        return "gpt"

    def validate(self) -> None:
        """Raises ValueError, in one line, for a config that cannot run."""
        self.model.validate()
        if self.z_loss < 0:
            raise ValueError(f"z_loss must not be negative, not {self.z_loss}")

    def dummy_batch(self, batch_size: int, sequence_length: int | None = None) -> dict:
        """Returns the shapes of a batch; `sequence_length` None means the model's context_length."""
        T = sequence_length or self.model.context_length
        return {"tokens": jax.ShapeDtypeStruct((batch_size, T + 1), jnp.int32)}

    def init(self, key) -> dict:
        """Returns fresh parameters (float32); call it under jit, eagerly it takes seconds."""
        return self.model.init(key, jnp.zeros((1, 1), jnp.int32))["params"]

    def loss(self, params, batch, key, train: bool):
        """Returns (mean loss in nats per token, metrics per example); "accuracy" only when not training."""
        tokens = batch["tokens"].astype(jnp.int32)
        inputs_BT, targets_BT = tokens[:, :-1], tokens[:, 1:]
        rngs = {"dropout": key} if train and self.model.dropout else None
        logits_BTV = self.model.apply({"params": params}, inputs_BT, train=train, rngs=rngs)
        losses_BT, log_z_BT = cross_entropy(logits_BTV, targets_BT)
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
            metrics["accuracy"] = metric(jnp.argmax(logits_BTV, axis=-1) == targets_BT)
        return loss, metrics

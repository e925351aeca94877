"""SimCLR: tell the two views of an image from those of all others (Chen et al. 2020)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.models import ops
from genlab.models.simclr import SimCLR
from genlab.objectives.metric import Metric
from genlab.objectives.self_supervision import SelfSupervision


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContrastiveViews(SelfSupervision):
    """The normalised, temperature-scaled cross-entropy of a batch of pairs, NT-Xent, in nats per view.

    A training batch holds "image" uint8 [B, 2, I, J, C], two views of each image, and, optionally,
    "example_weight" [B] (0 for padding, which is nobody's negative). Held-out images [B, I, J, C] are
    contrasted with their mirror images, which is easier than two random crops. The negatives are the whole
    batch's, over all devices, but those of one micro-batch only; so a loss depends on the size of its batch.

    Attributes:
      model: an encoder and a projection head.
      temperature: divides the cosine similarities; 0.1 was best at 100 epochs, table 5.
      pixels: how bytes become floats.
    """

    model: SimCLR
    temperature: float = 0.1

    views: ClassVar[int] = 2
    couples_examples: ClassVar[bool] = True

    def validate(self) -> None:
        """Raises ConfigError, in one line, for a config that cannot run."""
        super().validate()
        if not self.temperature > 0:
            raise ConfigError(f"temperature={self.temperature} must be positive")

    def loss(self, variables, batch, key, train: bool):
        """Returns (loss in nats per view, metrics per example, updated collections).

        Metrics: "loss", and "accuracy", the share of views whose most similar one is the other of their image.
        """
        pairs = batch["image"]
        if pairs.ndim == 4:
            pairs = jnp.stack([pairs, pairs[:, :, ::-1]], axis=1)
        B, V = pairs.shape[:2]
        images_BIJC = self.pixels.normalize(pairs.reshape(B * V, *pairs.shape[2:]))
        z_BD, updates = self.apply(variables, images_BIJC, key, train)
        weight_B = batch.get("example_weight", jnp.ones((B,), jnp.float32))
        losses_B, correct_B = nt_xent(z_BD.reshape(B, V, -1), self.temperature, weight_B > 0)
        loss = Metric(losses_B * weight_B, weight_B)
        return loss.mean(), {"loss": loss, "accuracy": Metric(correct_B * weight_B, weight_B)}, updates


def nt_xent(z_B2D, temperature: float, real_B=None) -> tuple[jax.Array, jax.Array]:
    """Returns each pair's mean loss and share of views that find each other, float32 [B].

    With cosine similarities s and N = 2 B views, the loss of view i whose partner is j is
    -log(exp(s_ij / t) / sum over k != i of exp(s_ik / t)) (arXiv 2002.05709, equation 1). Examples
    that are not `real`, bool [B], are in no sum but their own.
    """
    B = z_B2D.shape[0]
    z_ND = z_B2D.reshape(2 * B, -1)
    # The largest of norm and 1e-6, so that a projection of zeros has a gradient.
    z_ND = z_ND * jax.lax.rsqrt(jnp.maximum(jnp.square(z_ND).sum(axis=-1, keepdims=True), 1e-12))
    view_N = jnp.arange(2 * B)
    hidden_NN = view_N[:, None] == view_N
    partner_N = view_N ^ 1  # views 2 b and 2 b + 1 are of image b
    if real_B is not None:
        hidden_NN |= ~jnp.repeat(real_B, 2) & (view_N[:, None] != partner_N)
    logits_NN = jnp.where(hidden_NN, ops.MASKED_SCORE, z_ND @ z_ND.T / temperature)
    losses_N, _ = ops.cross_entropy(logits_NN, partner_N)
    correct_N = (jnp.argmax(logits_NN, axis=-1) == partner_N).astype(jnp.float32)
    return losses_N.reshape(B, 2).mean(axis=-1), correct_N.reshape(B, 2).mean(axis=-1)

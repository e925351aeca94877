"""Masked autoencoding: predict the pixels of the patches that were not seen (He et al. 2021)."""

import dataclasses

import jax
import jax.numpy as jnp

from genlab.models import images
from genlab.models.mae import MAE
from genlab.objectives.metric import Metric
from genlab.objectives.self_supervision import SelfSupervision

_EPSILON = 1e-6  # added to a patch's variance: a patch of one colour has none


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedAutoencoding(SelfSupervision):
    """Mean squared error of the masked patches' pixels (arXiv 2111.06377, section 3).

    A batch holds "image" uint8 [B, I, J, C] and, optionally, "example_weight" [B] (0 for padding).
    Masks are drawn anew at each training step; held out, they are the same each time.

    Attributes:
      model: encoder, decoder and mask ratio.
      normalize_targets: each patch's pixels are centred and divided by their own standard deviation, which makes
        better features in the paper (table 1d); a loss of 1 is then that of predicting each patch's mean.
      pixels: how bytes become floats.
    """

    model: MAE
    normalize_targets: bool = True

    def loss(self, variables, batch, key, train: bool):
        """Returns (mean squared error of masked pixels, {"loss"} per example, {})."""
        images_BIJC = self.pixels.normalize(batch["image"])
        predictions, mask_BP = self._predict(variables, images_BIJC, key, train)
        targets, _, _ = self._targets(images_BIJC)
        errors_BP = jnp.square(predictions - targets).mean(axis=-1)
        losses_B = (errors_BP * mask_BP).sum(axis=-1) / mask_BP.sum(axis=-1)
        weight_B = batch.get("example_weight", jnp.ones(losses_B.shape, jnp.float32))
        loss = Metric(losses_B * weight_B, weight_B)
        return loss.mean(), {"loss": loss}, {}

    def reconstruct(self, variables, images_BIJC, key):
        """Returns (what was seen, what was made of it), uint8 [B, I, J, C], for uint8 images.

        Masked patches are grey in the first and predicted in the second, with the true mean and
        deviation of each where targets are normalised: those the model does not predict.
        """
        x_BIJC = self.pixels.normalize(images_BIJC)
        predictions, mask_BP = self._predict(variables, x_BIJC, key, False)
        targets, mean, deviation = self._targets(x_BIJC)
        hidden = mask_BP[..., None]
        seen = jnp.where(hidden, 0.0, targets * deviation + mean)
        filled = jnp.where(hidden, predictions, targets) * deviation + mean

        def as_bytes(patches):
            return self.pixels.to_bytes(images.unpatchify(patches, self.model.encoder.grid, self._patch_size))

        return as_bytes(seen), as_bytes(filled)

    @property
    def _patch_size(self) -> int:
        return self.model.encoder.patch_size

    def _predict(self, variables, images_BIJC, key, train):
        mask_key, dropout_key = jax.random.split(jax.random.key(0) if key is None else key)
        rngs = {"mask": mask_key, "dropout": dropout_key}
        return self.model.apply(variables, images_BIJC, train=train, rngs=rngs)

    def _targets(self, images_BIJC):
        """Returns (targets [B, P, p p C], mean, deviation): pixels = targets * deviation + mean."""
        patches = images.patchify(images_BIJC, self._patch_size)
        if not self.normalize_targets:
            return patches, jnp.float32(0), jnp.float32(1)
        mean = patches.mean(axis=-1, keepdims=True)
        deviation = jnp.sqrt(patches.var(axis=-1, keepdims=True) + _EPSILON)
        return (patches - mean) / deviation, mean, deviation

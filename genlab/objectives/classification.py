"""Image classification: softmax or sigmoid cross-entropy, with the mixing and smoothing of the modern recipes."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.models import ops
from genlab.objectives.image_model import ImageObjective
from genlab.objectives.metric import Metric
from genlab.objectives.pixels import mix


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification(ImageObjective):
    """Predicts the class of an image: mean cross-entropy in nats per example.

    A batch holds "image" uint8 [B, I, J, C], "label" [B] of any integer type and, optionally,
    "example_weight" [B] (0 for padding). Smoothing and mixing are for training; the held-out loss is that of
    the plain labels.

    Attributes:
      model: an image model (genlab/models): images to logits [B, num_classes].
      loss_function: "softmax", or "sigmoid": the sum of the classes' binary cross-entropies (Beyer et al. 2020,
        arXiv 2006.07159, section 5).
      label_smoothing: this share of the target is spread evenly over all classes (Szegedy et al. 2015,
        arXiv 1512.00567, section 7).
      mixup, cutmix: parameter of the Beta distribution of shares, 0 for none (genlab/objectives/pixels.py).
      pixels: how bytes become floats.
    """

    loss_function: Literal["softmax", "sigmoid"] = "softmax"
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def couples_examples(self) -> bool:
        """See `ImageObjective`; a mixed image has a partner."""
        return bool(self.mixup or self.cutmix) or super().couples_examples

    def validate(self) -> None:
        """Raises ValueError, in one line, for a config that cannot run."""
        super().validate()
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing={self.label_smoothing} is no share; it lies in [0, 1)")
        for name in ("mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)} must not be negative")

    def check_data(self, data: Any) -> None:
        """Raises ValueError, in one line, for data that this model cannot classify."""
        super().check_data(data)
        if not data.num_classes:
            raise ConfigError(f"{type(data.source).__name__} has no labels; classification needs some")
        if data.num_classes != self.model.num_classes:
            raise ConfigError(f"the data have {data.num_classes} classes, but model.num_classes is "
                              f"{self.model.num_classes}")

    def loss(self, variables, batch, key, train: bool):
        """Returns (loss in nats per example, metrics per example, updated collections).

        Metrics when training: "loss" and "accuracy" (of mixed images, none). Held out: "loss", "accuracy",
        "error" and, of more than ten classes, "top5_accuracy"; shares of 1.
        """
        images, labels = self.pixels.normalize(batch["image"]), batch["label"].astype(jnp.int32)
        weight_B = batch.get("example_weight", jnp.ones(labels.shape, jnp.float32))
        mixes = train and (self.mixup or self.cutmix)
        targets_BK = None
        if train and (mixes or self.label_smoothing):
            targets_BK = self._smooth(labels)
        model_key, mix_key = jax.random.split(key) if train else (None, None)
        if mixes:
            images, targets_BK = mix(images, targets_BK, mix_key, self.mixup, self.cutmix)
        logits_BK, updates = self.apply(variables, images, model_key, train)
        loss = Metric(self.cross_entropy(logits_BK, labels, targets_BK) * weight_B, weight_B)
        metrics = {"loss": loss}
        if not mixes:
            metrics |= _accuracies(logits_BK, labels, weight_B, everything=not train)
        return loss.mean(), metrics, updates

    def cross_entropy(self, logits_BK, labels_B, targets_BK=None):
        """Returns the loss of each example [B], in nats: of labels, or of soft targets where they are given."""
        if self.loss_function == "softmax" and targets_BK is None:
            return ops.cross_entropy(logits_BK, labels_B)[0]
        if targets_BK is None:
            targets_BK = jax.nn.one_hot(labels_B, logits_BK.shape[-1])
        if self.loss_function == "softmax":
            return -(targets_BK * jax.nn.log_softmax(logits_BK)).sum(axis=-1)
        signed = targets_BK * jax.nn.log_sigmoid(logits_BK) + (1 - targets_BK) * jax.nn.log_sigmoid(-logits_BK)
        return -signed.sum(axis=-1)

    def probabilities(self, logits_BK):
        """Returns the classes' probabilities; those of "sigmoid" need not add up to 1."""
        return jax.nn.softmax(logits_BK) if self.loss_function == "softmax" else jax.nn.sigmoid(logits_BK)

    def outputs(self, variables, batch) -> dict[str, jax.Array]:
        """Returns what evaluations read: "probabilities" [B, K] and "features" [B, D], which the head reads."""
        images = self.pixels.normalize(batch["image"])
        return {"probabilities": self.probabilities(self.model.apply(variables, images)),
                "features": self.model.apply(variables, images, method="features")}

    def trunk(self, variables) -> tuple[Any, dict]:
        """Returns (the image model, its variables): what another objective takes over."""
        return self.model, variables

    def _smooth(self, labels_B):
        K = self.model.num_classes
        return jax.nn.one_hot(labels_B, K) * (1 - self.label_smoothing) + self.label_smoothing / K


def _accuracies(logits_BK, labels_B, weight_B, everything: bool) -> dict[str, Metric]:
    correct_B = (jnp.argmax(logits_BK, axis=-1) == labels_B).astype(jnp.float32)
    found = {"accuracy": Metric(correct_B * weight_B, weight_B)}
    if everything:
        found["error"] = Metric((1 - correct_B) * weight_B, weight_B)
        if logits_BK.shape[-1] > 10:
            in_top_B = (jax.lax.top_k(logits_BK, 5)[1] == labels_B[:, None]).any(axis=-1)
            found["top5_accuracy"] = Metric(in_top_B * weight_B, weight_B)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distillation(Classification):
    """Learns a finished classifier's probabilities (Hinton et al. 2015, arXiv 1503.02531, section 2).

    loss = w T^2 KL(teacher || student, both at temperature T) + (1 - w) cross-entropy of the labels. The defaults,
    w = 1 and T = 1 on images that both see alike, mixed ones too, are "function matching" (Beyer et al. 2021,
    arXiv 2106.05237). The experiment's `start` names the teacher's run; its parameters are the collection
    "teacher", which stays as it is.

    Attributes:
      teacher: the teacher's own objective.
      temperature: T.
      teacher_weight: w.
    """

    teacher: Classification
    temperature: float = 1.0
    teacher_weight: float = 1.0

    needs_start = True

    def validate(self) -> None:
        """Raises ValueError, in one line, for a config that cannot run."""
        super().validate()
        if not self.temperature > 0:
            raise ConfigError(f"temperature={self.temperature} must be positive")
        if not 0 <= self.teacher_weight <= 1:
            raise ConfigError(f"teacher_weight={self.teacher_weight} is no share; it lies in [0, 1]")
        if self.loss_function != "softmax" or self.teacher.loss_function != "softmax":
            raise ConfigError('distillation compares softmax probabilities: loss_function must be "softmax" for both')
        for name in ("num_classes", "image_size", "channels"):
            ours, theirs = getattr(self.model, name), getattr(self.teacher.model, name)
            if ours != theirs:
                raise ConfigError(f"the teacher's {name} is {theirs}, the student's {ours}; they must be the same")

    def init(self, key) -> dict:
        """Returns the student's variables and the collection "teacher", to be taken from the teacher's run."""
        return super().init(key) | {"teacher": self.teacher.init(key)}

    def start_from(self, variables, source, source_variables) -> dict:
        """Returns the variables with a finished run's as the teacher's.

        Raises:
          ConfigError: that run is not the teacher's.
        """
        model, taken = source.trunk(source_variables) if hasattr(source, "trunk") else (None, {})
        if model != self.teacher.model:
            raise ConfigError("the run to start from is not of the teacher's model: objective.teacher must be that "
                              "run's objective")
        return variables | {"teacher": taken}

    def loss(self, variables, batch, key, train: bool):
        """As `Classification.loss`; when training, "loss" is the distillation's."""
        student = self.own(variables)
        if not train:
            return super().loss(student, batch, key, False)
        raw, labels = batch["image"].astype(jnp.float32), batch["label"].astype(jnp.int32)
        targets_BK = self._smooth(labels)
        model_key, mix_key = jax.random.split(key)
        if self.mixup or self.cutmix:
            raw, targets_BK = mix(raw, targets_BK, mix_key, self.mixup, self.cutmix)
        logits_BK, updates = self.apply(student, self.pixels.normalize(raw), model_key, True)
        told_BK = self.teacher.model.apply(variables["teacher"], self.teacher.pixels.normalize(raw))
        T = self.temperature
        told, ours = jax.nn.log_softmax(told_BK / T), jax.nn.log_softmax(logits_BK / T)
        kl_B = T**2 * (jnp.exp(told) * (told - ours)).sum(axis=-1)
        losses_B = self.teacher_weight * kl_B
        if self.teacher_weight < 1:
            losses_B += (1 - self.teacher_weight) * self.cross_entropy(logits_BK, labels, targets_BK)
        loss = Metric(losses_B, jnp.ones_like(losses_B))
        return loss.mean(), {"loss": loss}, updates

    def outputs(self, variables, batch):
        """As `Classification.outputs`, of the student."""
        return super().outputs(self.own(variables), batch)

    def trunk(self, variables):
        """As `Classification.trunk`, of the student."""
        return self.model, self.own(variables)

    def own(self, variables) -> dict:
        """Returns the student's variables alone."""
        return {name: value for name, value in variables.items() if name != "teacher"}

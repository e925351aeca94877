"""Learning in context: a function's next value from its points so far, and how near that comes to the best there is."""

import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError
from genlab.data.functions import FunctionSource
from genlab.models.in_context import InContextTransformer
from genlab.objectives.metric import Estimate, Metric, ratio_estimate
from genlab.objectives.probes import Collect
from genlab.scaling.counting.compute import count_flops


@dataclasses.dataclass(frozen=True)
class InContext:
    """The mean over k of the loss of what is said of x_k from the k points before it (Garg et al. 2022, section 2).

    A batch holds "x" float32 [B, K, D], "y" float32 [B, K] and, optionally, "example_weight" [B] (0 for padding).
    `loss_of` is "squared", (prediction - y)^2, or "logistic", log(1 + exp(-y prediction)) of classes -1 and +1 (nats).
    """

    model: InContextTransformer
    loss_of: Literal["squared", "logistic"] = "squared"

    embedding_parameters: ClassVar[tuple[str, ...]] = ("position_embedding",)

    @property
    def family(self) -> str:
        """The family of the model, for the run record."""
        return "in_context"

    @property
    def dtype(self) -> str:
        """The type that matmuls run in: what the device's peak rate is looked up by."""
        return self.model.dtype

    def validate(self) -> None:
        """Raises ConfigError, in one line, for a config that cannot run."""
        self.model.validate()
        if self.loss_of not in ("squared", "logistic"):
            raise ConfigError(f'loss_of must be "squared" or "logistic", not "{self.loss_of}"')

    def check_data(self, data: Any) -> None:
        """Raises ConfigError, in one line, for data that this model cannot read."""
        functions = getattr(data, "functions", None)
        if functions is None:
            raise ConfigError(f"learning in context needs functions (genlab.data.Functions), not {type(data).__name__}")
        if functions.dimensions != self.model.dimensions:
            raise ConfigError(f"points have {functions.dimensions} dimensions, but the model's dimensions are "
                              f"{self.model.dimensions}")
        if data.points > self.model.points:
            raise ConfigError(f"data.points={data.points} are more than the model's points {self.model.points}")
        wanted = {"value": "squared", "class": "logistic"}[functions.target]
        if self.loss_of != wanted:
            raise ConfigError(f'{type(functions).__name__} say a {functions.target}; set loss_of="{wanted}", not '
                              f'"{self.loss_of}"')

    def dummy_batch(self, batch_size: int, data: Any = None) -> dict:
        """Returns the shapes of a batch of `data`, by default of as many points as the model reads."""
        K = getattr(data, "points", self.model.points)
        shapes = {"x": (batch_size, K, self.model.dimensions), "y": (batch_size, K)}
        return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}

    def flops_conventions(self, data: Any = None) -> dict[str, float]:
        """Returns training FLOPs per example by the rule of thumb that a backward pass costs two forward ones."""
        variables = jax.eval_shape(self.init, jax.random.key(0))
        forward = count_flops(lambda v, b: self.loss(v, b, None, False)[0], variables, self.dummy_batch(1, data)).flops
        return {"3 x forward": 3.0 * forward}

    def init(self, key) -> dict:
        """Returns {"params": fresh parameters (float32)}."""
        return {"params": self.model.init(key, jnp.zeros((1, 1, self.model.dimensions)), jnp.zeros((1, 1)))["params"]}

    def loss(self, variables, batch, key, train: bool):
        """Returns (mean loss over points, {"loss"} per example, {}); held out of classes also "accuracy"."""
        said_BK, y_BK = self.model.apply(variables, batch["x"], batch["y"]), batch["y"]
        losses_BK = jnp.square(said_BK - y_BK) if self.loss_of == "squared" else jax.nn.softplus(-y_BK * said_BK)
        weight_B = y_BK.shape[1] * batch.get("example_weight", jnp.ones(len(y_BK), jnp.float32))

        def metric(values_BK):
            return Metric(values_BK.mean(axis=-1) * weight_B, weight_B)

        metrics = {"loss": metric(losses_BK)}
        if self.loss_of == "logistic" and not train:
            metrics["accuracy"] = metric(y_BK * said_BK > 0)
        return metrics["loss"].mean(), metrics, {}


@dataclasses.dataclass(frozen=True)
class KShot:
    """What k points are worth: the model's score at every k beside the best possible, on the same held-out prompts.

    For a task T such as linear_regression, and k = 0 to K - 1, "T_{k}shot/M" for each metric M: of values
    squared_error; of classes multiple_choice_grade (accuracy), log_probability (nats) and brier_score. Beside it
    "T_{k}shot/M/chance", "T_{k}shot/M/ridge" (or least_squares, bayes: genlab/data/functions.py), and, of values,
    "T_{k}shot/M/over_ridge", the ratio of the mean errors; "T/worst_over_ridge" is the largest over all k.

    Attributes:
      functions: those of the data.
      shots: which k; all by default.
      held_out_examples: prompts; 0 for all.
    """

    functions: FunctionSource | None
    shots: tuple[int, ...] = ()
    held_out_examples: int = 0

    def check(self, objective: Any, data: Any) -> None:
        """See genlab/objectives/probes.py."""
        if not isinstance(objective, InContext):
            raise ConfigError(f"{type(self).__name__} is of models that learn in context, not of "
                              f"{type(objective).__name__}")
        if self.functions != data.functions:
            raise ConfigError(f"{type(self).__name__}(functions={self.functions}) must be of the data's own functions, "
                              f"{data.functions}")
        for k in self.shots:
            if not 0 <= k < data.points:
                raise ConfigError(f"shots={k}: of {data.points} points, 0 to {data.points - 1} can be seen before the "
                                  "last")

    def run(self, collect: Collect) -> dict[str, Estimate]:
        """See genlab/objectives/probes.py."""
        prompts = collect("held_out", predictions_of, self.held_out_examples)
        said = {"model": prompts["said"]} | self.functions.predictions(prompts["x"], prompts["y"])
        metrics = {who: _metrics(self.functions.target, s, prompts["y"]) for who, s in said.items()}
        best = list(said)[1]
        found: dict[str, Estimate] = {}
        ratios = []
        for k in self.shots or range(prompts["y"].shape[1]):
            task = f"{self.functions.name}_{k}shot"
            found[f"{task}/examples"] = Estimate(float(len(prompts["y"])), np.nan)
            for who, values in metrics.items():
                for metric, values_NK in values.items():
                    name = f"{task}/{metric}" + ("" if who == "model" else f"/{who}")
                    found[name] = ratio_estimate(values_NK[:, k], np.ones(len(values_NK)))
            found |= {f"{task}/{metric}/chance": Estimate(level, np.nan)
                      for metric, level in self.functions.chance().items()}
            if self.functions.target == "value":
                ours, theirs = metrics["model"]["squared_error"][:, k], metrics[best]["squared_error"][:, k]
                ratios.append(ratio_estimate(ours, theirs))
                found[f"{task}/squared_error/over_{best}"] = ratios[-1]
        if ratios:
            found[f"{self.functions.name}/worst_over_{best}"] = max(ratios)
        return found


def predictions_of(objective: InContext, variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """What the model says of a batch's points, with the batch."""
    said_BK = objective.model.apply(variables, batch["x"], batch["y"])
    return {"said": said_BK, "x": batch["x"], "y": batch["y"]}


def _metrics(target: str, said_NK: np.ndarray, y_NK: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of each prediction, float64 [N, K]: values, or log-odds of class +1."""
    said_NK, y_NK = said_NK.astype(np.float64), y_NK.astype(np.float64)
    if target == "value":
        return {"squared_error": np.square(said_NK - y_NK)}
    log_p_NK = -np.logaddexp(0, -y_NK * said_NK)
    # Without any point the best log-odds are 0, a toss: half right.
    grade_NK = np.where(said_NK == 0, 0.5, y_NK * said_NK > 0)
    return {"multiple_choice_grade": grade_NK, "log_probability": log_p_NK,
            "brier_score": 2 * np.square(1 - np.exp(log_p_NK))}

"""A model small enough to check by hand: linear regression with noise as its dropout."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from genlab.data.sources import InMemory
from genlab.objectives.metric import Metric
from genlab.randomness import per_example


@dataclass(frozen=True)
class Regression:
    """Squared error of x @ kernel + bias; `noise` is added to the inputs in training."""

    inputs: int = 3
    noise: float = 0.0
    family: str = "regression"

    def init(self, key):
        return {"params": {"kernel": jax.random.normal(key, (self.inputs, 1)), "bias": jnp.zeros(1)}}

    def loss(self, variables, batch, key, train):
        params = variables["params"]
        x_BD = batch["x"]
        if train and self.noise:
            x_BD += self.noise * per_example(jax.random.normal, key, x_BD.shape)
        error_B = jnp.square(x_BD @ params["kernel"] + params["bias"] - batch["y"])[:, 0]
        weight_B = batch.get("example_weight", jnp.ones(len(x_BD))) * batch.get("weight", jnp.ones(len(x_BD)))
        loss = Metric(error_B * weight_B, weight_B)
        return loss.mean(), {"loss": loss}, {}


def regression_data(examples=64, inputs=3, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(examples, inputs)).astype(np.float32)
    y = x @ np.arange(1, inputs + 1, dtype=np.float32)[:, None] + 0.1
    return InMemory(x=x, y=y.astype(np.float32))

"""The training state and the one pure step that every objective and every parallel plan shares."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genlab.randomness import Examples, examples, part_of_batch, stream_key
from genlab.training.layers import layer_multipliers
from genlab.training.optimizers import Optimizer, initial_optimizer_state

PyTree = Any
Metrics = dict[str, tuple[jax.Array, jax.Array]]


class TrainState(NamedTuple):
    """Everything a step changes, and the numbers it reads.

    Attributes:
      step: completed updates, int32.
      params: float32 parameters, the collection that the optimizer trains.
      model_state: the objective's other collections by name, such as BatchNorm's "batch_stats", which the
        forward pass updates; {} for most.
      opt_state: optax state.
      ema_variables: exponential moving average of all collections, or None.
      seed: uint32; with the step it gives every random key.
      hyperparameters: float32 scalars by name (`Optimizer.hyperparameters`).
    """

    step: jax.Array
    params: PyTree
    model_state: dict[str, PyTree]
    opt_state: PyTree
    ema_variables: PyTree
    seed: jax.Array
    hyperparameters: dict[str, jax.Array]

    @property
    def variables(self) -> dict[str, PyTree]:
        """All collections, as an objective takes them."""
        return {"params": self.params, **self.model_state}

    @property
    def evaluated(self) -> dict[str, PyTree]:
        """What evaluations and samples use: the moving average where there is one."""
        return self.variables if self.ema_variables is None else self.ema_variables


def initial_state(objective: Any, optimizer: Optimizer, seed: jax.Array,
                  hyperparameters: dict[str, jax.Array], with_ema: bool) -> TrainState:
    """The state before the first step; jit it (eager initialisation takes seconds)."""
    variables = objective.init(stream_key(seed, "init"))
    model_state = {name: collection for name, collection in variables.items() if name != "params"}
    return TrainState(
        step=jnp.int32(0),
        params=variables["params"],
        model_state=model_state,
        opt_state=initial_optimizer_state(optimizer, variables["params"]),
        ema_variables=jax.tree.map(jnp.copy, variables) if with_ema else None,
        seed=jnp.asarray(seed, jnp.uint32),
        hyperparameters={name: jnp.float32(value) for name, value in hyperparameters.items()},
    )


def with_variables(state: TrainState, variables: dict[str, PyTree]) -> TrainState:
    """The state before the first step with other variables, laid out over the devices as its own."""
    placed = jax.tree.map(lambda old, new: jax.device_put(new, old.sharding), state.variables, variables)
    return state._replace(
        params=placed["params"], model_state={name: placed[name] for name in state.model_state},
        ema_variables=None if state.ema_variables is None else jax.tree.map(jnp.copy, placed))


def make_train_step(
    objective: Any, optimizer: Optimizer, *, micro_batches: int = 1, ema_decay: float | None = None,
    axis: str | None = None,
) -> Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]:
    """Builds `train_step(state, batch) -> (state, metrics)`.

    Args:
      objective: see genlab/objectives: `loss(variables, batch, key, train) -> (loss, metrics, updates)`.
      optimizer: its hyper-parameters are read from the state.
      micro_batches: the batch is cut into so many, one after another in a scan; the gradient is the
        mean over micro-batches weighted by their `loss` weights, so it is that of the whole batch. Each
        updates the model state from where the step found it; the mean of these is kept. Collections
        that the forward pass leaves alone, such as a teacher, stay as they are, to the bit.
      ema_decay: of the variables' moving average, warmed up as min(decay, (1 + t) / (10 + t)).
      axis: of the devices, where each runs the step by itself on its part of the batch; gradients are then
        averaged over it, weighted as those of micro-batches.

    Returns:
      The step. Its metrics are (total, weight) pairs of float32 scalars: the objective's, summed over
      the batch, and "gradient_norm" and "learning_rate" with weight 1.
    """

    def loss_and_gradient(state, batch, key):
        def loss(params):
            if optimizer.layer_decay == 0:  # Frozen: neither computed nor clipped.
                params = jax.tree.map(lambda p, rate: p if rate.any() else jax.lax.stop_gradient(p), params,
                                      layer_multipliers(params, 0.0))
            loss, metrics, updates = objective.loss({"params": params, **state.model_state}, batch, key, True)
            return loss, (metrics, updates)

        (_, (metrics, updates)), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
        return gradient, {name: tuple(metric.sum()) for name, metric in metrics.items()}, updates

    def train_step(state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        key = stream_key(state.seed, "train", state.step)
        whole = _whole_batch(batch, axis)
        if micro_batches == 1:
            with part_of_batch(*whole):
                gradient, metrics, changed = loss_and_gradient(state, batch, key)
        else:
            gradient, metrics, changed = _accumulate(loss_and_gradient, state, batch, key, micro_batches, whole)
        if axis is not None:
            gradient, metrics, changed = _average(gradient, metrics, changed, axis)
        learning_rate = optimizer.learning_rate_at(state.step, state.hyperparameters)
        transform = optimizer.transform(learning_rate, state.hyperparameters["weight_decay"])
        updates, opt_state = transform.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        one = jnp.float32(1)
        metrics |= {"gradient_norm": (optax.global_norm(gradient), one), "learning_rate": (learning_rate, one)}
        new = state._replace(step=state.step + 1, params=params, model_state=state.model_state | changed,
                             opt_state=opt_state)
        return new._replace(ema_variables=_update_ema(state, new, ema_decay)), metrics

    return train_step


def scan_steps(train_step: Callable) -> Callable:
    """`train_step` over the leading axis of stacked batches: many steps in one dispatch.

    On CPU XLA takes its temporary buffers from malloc at every execution; eight steps a dispatch run
    1.4 to 1.6 times as fast as eight dispatches at widths 64 and 128.
    """

    def train_steps(state: TrainState, batches: PyTree) -> tuple[TrainState, Metrics]:
        return jax.lax.scan(train_step, state, batches)

    return train_steps


def make_evaluation_step(objective: Any) -> Callable[[PyTree, PyTree], Metrics]:
    """Builds `evaluate(variables, batches) -> metrics`: (total, weight) per example, batches stacked."""

    def evaluate(variables: PyTree, batches: PyTree) -> Metrics:
        def one(batch):
            # Every batch draws its own times, noise and masks, the same at every evaluation: with shared ones the mean
            # over many batches would err by more than its standard error says.
            key = stream_key(0, "evaluate", batch["index"][0] if "index" in batch else 0)
            _, metrics, _ = objective.loss(variables, batch, key, False)
            return {name: (m.total, m.weight) for name, m in metrics.items()}

        return jax.lax.map(one, batches)

    return evaluate


def _whole_batch(batch: PyTree, axis: str | None) -> Examples:
    """The examples of a batch, or of this device's part of one."""
    rows = len(jax.tree.leaves(batch)[0])
    if axis is None:
        return examples(rows)
    first = jax.lax.axis_index(axis) * rows
    return Examples(first + jnp.arange(rows, dtype=jnp.int32), rows * jax.lax.axis_size(axis))


def _average(gradient, metrics, updates, axis):
    """The batch's gradient, metrics and updated collections from each device's."""
    weight = metrics["loss"][1]
    gradient = jax.lax.psum(jax.tree.map(lambda g: weight * g, gradient), axis)
    metrics = jax.lax.psum(metrics, axis)
    gradient = jax.tree.map(lambda g: g / metrics["loss"][1], gradient)
    return gradient, metrics, jax.lax.pmean(updates, axis)


def _accumulate(loss_and_gradient, state, batch, key, micro_batches, whole):
    # Every micro-batch takes every M-th example: cut into runs of examples, a micro-batch would lie on
    # one device, and all devices would gather and compute the whole of it.
    split = jax.tree.map(lambda x: x.reshape(-1, micro_batches, *x.shape[1:]).swapaxes(0, 1),
                         (batch, whole.position_B))

    def body(gradient, inputs):
        micro_batch, position_B = inputs
        with part_of_batch(position_B, whole.count):
            new, metrics, updates = loss_and_gradient(state, micro_batch, key)
        weight = metrics["loss"][1]
        return jax.tree.map(lambda a, b: a + weight * b, gradient, new), (metrics, updates)

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    gradient, (metrics, updates) = jax.lax.scan(body, zeros, split)
    metrics = {name: (total.sum(), weight.sum()) for name, (total, weight) in metrics.items()}
    gradient = jax.tree.map(lambda g: g / metrics["loss"][1], gradient)
    return gradient, metrics, jax.tree.map(lambda x: x.mean(axis=0), updates)


def _update_ema(state: TrainState, new: TrainState, decay: float | None) -> PyTree:
    if decay is None:
        return None
    t = state.step.astype(jnp.float32)
    d = jnp.minimum(decay, (1.0 + t) / (10.0 + t))
    return jax.tree.map(lambda ema, x: d * ema + (1.0 - d) * x, state.ema_variables, new.variables)

"""The memory of a training step: estimated from shapes before anything is compiled, and as XLA plans it.

On CPU the estimate of what a step needs beside its state was 0.57 to 1.23 times XLA's own, for small GPTs with
vocabularies of 256 to 32,768 (with remat, losses in chunks, attention in blocks, bfloat16, and without), ViTs and a
U-Net (0.67), but for rematerialised layers that are not scanned: there XLA's CPU compiler planned as much as without,
up to 3.3 times the estimate, perhaps because it merges the recomputation with the first.
"""

from dataclasses import dataclass, fields
from typing import Any

import jax
import numpy as np
from jax.extend import core

from genlab.scaling.counting.memory import estimate_memory, tree_bytes
from genlab.training.optimizers import Optimizer
from genlab.training.program import Program
from genlab.training.step import TrainState, initial_state

PyTree = Any
_OF_STATE = ("parameters", "model_state", "optimizer", "moving_average")


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of a training step.

    Attributes:
      parameters: of the model.
      model_state: other collections, such as BatchNorm's.
      optimizer: its moments.
      moving_average: of parameters and collections, if there is one.
      gradients: one for each parameter, two with micro-batches: the sum and the newest.
      activations: what the forward pass leaves for the backward pass and what both work with, of one micro-batch.
    """

    parameters: float
    model_state: float
    optimizer: float
    moving_average: float
    gradients: float
    activations: float

    @property
    def state(self) -> float:
        """What is held between steps: XLA's arguments, all but the batch."""
        return sum(getattr(self, name) for name in _OF_STATE)

    @property
    def working(self) -> float:
        """What a step needs beside the state: XLA's temporary bytes."""
        return self.gradients + self.activations

    @property
    def total(self) -> float:
        """All of it."""
        return self.state + self.working

    def per_device(self, data: int = 1, fsdp: int = 1, tensor: int = 1, sequence: int = 1) -> "TrainingMemory":
        """One device's share where every array divides: state over fsdp and tensor, activations over all four.

        Activations that a plan leaves whole, such as those between tensor-parallel layers, are not known of here.
        """
        held = fsdp * tensor
        return TrainingMemory(**{
            field.name: getattr(self, field.name) / (data * held * sequence if field.name == "activations" else held)
            for field in fields(self)})


@dataclass(frozen=True)
class CompiledMemory:
    """XLA's plan for one device, in bytes; `aliased` are outputs that take the place of arguments."""

    arguments: int
    outputs: int
    temporary: int
    aliased: int

    @property
    def total(self) -> int:
        """What must be there at once."""
        return self.arguments + self.outputs - self.aliased + self.temporary


def estimate_training_memory(objective: Any, optimizer: Optimizer, batch: PyTree, micro_batches: int = 1,
                             moving_average: bool = False) -> TrainingMemory:
    """Estimates a step's bytes on one device.

    Args:
      objective: what is trained.
      optimizer: how.
      batch: shapes of one batch, [B, ...].
      micro_batches: see `make_train_step`.
      moving_average: whether one is kept.
    """
    hyperparameters = {name: np.float32(value) for name, value in optimizer.hyperparameters(1).items()}
    state: TrainState = jax.eval_shape(
        lambda seed: initial_state(objective, optimizer, seed, hyperparameters, moving_average), np.uint32(0))
    part = jax.tree.map(lambda x: jax.ShapeDtypeStruct((x.shape[0] // micro_batches, *x.shape[1:]), x.dtype), batch)
    arguments = (state.model_state, part, jax.eval_shape(lambda: jax.random.key(0)))

    def loss(params, model_state, batch, key):
        return objective.loss({"params": params, **model_state}, batch, key, True)[0]

    found = estimate_memory(loss, state.params, state.opt_state, *arguments)
    return TrainingMemory(
        parameters=found.parameters, model_state=tree_bytes(state.model_state), optimizer=found.optimizer,
        moving_average=tree_bytes(state.ema_variables), gradients=found.gradients * (1 + (micro_batches > 1)),
        activations=max(found.activations, saved_bytes(loss, state.params, *arguments)))


def saved_bytes(loss: Any, params: PyTree, *rest: Any) -> int:
    """Bytes that the forward pass of `loss(params, *rest)` leaves for the backward pass, its arguments aside."""
    def pullback(params, *rest):
        return jax.vjp(lambda p: loss(p, *rest), params)[1]  # A pytree whose leaves are what it holds.

    jaxpr = jax.make_jaxpr(pullback)(params, *rest).jaxpr
    saved = {v for v in jaxpr.outvars if isinstance(v, core.Var)} - {*jaxpr.invars, *jaxpr.constvars}
    return sum(v.aval.size * getattr(v.aval.dtype, "itemsize", 0) for v in saved)


def compiled_memory(program: Program, hyperparameters: dict[str, float], batch: PyTree, steps: int) -> CompiledMemory:
    """Compiles the real training step for the program's plan, and tells what XLA will take of each device.

    Args:
      program: see genlab/training/program.py.
      hyperparameters: of the optimizer.
      batch: shapes of one batch, over all devices.
      steps: a dispatch.
    """
    batches = jax.tree.map(lambda x: jax.ShapeDtypeStruct((steps, *x.shape), x.dtype,
                                                          sharding=program.plan.stacked_batches), batch)
    found = program.compile_steps(program.abstract_state(hyperparameters), batches).memory_analysis()
    return CompiledMemory(found.argument_size_in_bytes, found.output_size_in_bytes, found.temp_size_in_bytes,
                          found.alias_size_in_bytes)

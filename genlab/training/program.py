"""The compiled functions of a run, shared by all runs of one shape within a process."""

import functools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from genlab.configuration import ConfigError
from genlab.data.cache import cache_folder
from genlab.models import fast_ops, placement
from genlab.scaling.counting.compute import count_flops
from genlab.training.optimizers import Optimizer
from genlab.training.plans import Plan
from genlab.training.population import current
from genlab.training.step import (
    TrainState,
    initial_state,
    make_evaluation_step,
    make_train_step,
    scan_steps,
)

PyTree = Any
# Names among an objective's `outputs`, or a hashable function (objective, variables, batch) -> {name: [B, ...]}.
Reading = tuple[str, ...] | Callable[[Any, PyTree, PyTree], dict[str, jax.Array]]

# Random numbers compile for seconds and run once: unoptimised, a GPT of two blocks starts a second earlier.
# XLA keeps to half of AVX-512's vectors unless asked: a GPT's step takes 6 to 8 % less with all of them.
_COMPILER_OPTIONS = {
    ("init", "cpu"): {"xla_backend_optimization_level": "0"},
    ("train", "cpu"): {"xla_cpu_prefer_vector_width": "512"},
}


@dataclass(eq=False)
class Program:
    """Compiles on first use, once a shape, and remembers what that took.

    Attributes:
      objective: see genlab/objectives.
      optimizer: its hyper-parameters do not matter here; they are in the state.
      micro_batches: see `make_train_step`.
      ema_decay: see `make_train_step`.
      plan: where things live.
      flops_per_step: training FLOPs of the latest step by the jaxpr counter; 0 before the first step.
      compile_seconds: spent on tracing and compiling so far.
    """

    objective: Any
    optimizer: Optimizer
    micro_batches: int
    ema_decay: float | None
    plan: Plan
    flops_per_step: float = 0.0
    compile_seconds: float = 0.0
    _compiled: dict[Any, Any] = field(default_factory=dict)
    _flops: dict[Any, float] = field(default_factory=dict)
    _compiling: Any = field(default_factory=threading.RLock)  # Runs of a population share a program.

    def initial_state(self, seed: int, hyperparameters: dict[str, float]) -> TrainState:
        """The state before the first step, on the plan's devices."""
        inputs = (np.uint32(seed), {k: np.float32(v) for k, v in hyperparameters.items()})
        shardings = self.plan.of_state(jax.eval_shape(self._initialise, *inputs))
        return self._compile("init", self._initialise, inputs, out_shardings=shardings)(*inputs)

    def abstract_state(self, hyperparameters: dict[str, float]) -> TrainState:
        """Shapes, dtypes and shardings of the state, with nothing computed."""
        inputs = (np.uint32(0), {k: np.float32(v) for k, v in hyperparameters.items()})
        shapes = jax.eval_shape(self._initialise, *inputs)
        return jax.tree.map(lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
                            shapes, self.plan.of_state(shapes))

    def _initialise(self, seed, hyperparameters):
        return initial_state(self.objective, self.optimizer, seed, hyperparameters,
                             with_ema=self.ema_decay is not None)

    def train_steps(self, state: TrainState, batches: PyTree) -> tuple[TrainState, dict]:
        """As many steps as `batches` (on the devices) has on its leading axis; `state` is given up."""
        self.count_flops(state, batches)
        population = current()
        return self.steps_alone(state, batches) if population is None else population.train_steps(self, state, batches)

    def steps_alone(self, state: TrainState, batches: PyTree) -> tuple[TrainState, dict]:
        """`train_steps` of one run."""
        return self.compile_steps(state, batches)(state, batches)

    @property
    def can_be_joined(self) -> bool:
        """Whether `steps_together` serves this plan: one that cuts neither parameters nor the step itself."""
        return not self.plan.by_device and self.plan.by_examples

    def steps_together(self, states: list[TrainState], batches: list[PyTree]) -> list[tuple[TrainState, dict]]:
        """`train_steps` of several runs in one program, their states given up; members cut over the devices."""
        arguments = (tuple(states), tuple(batches))
        return self._compile(("together", len(states)), self._joined, arguments, donate_argnums=0,
                             out_shardings=self.plan.replicated)(*arguments)

    def _joined(self, states, batches):
        cut = len(states) % self.plan.mesh.size == 0
        members = NamedSharding(self.plan.mesh, PartitionSpec("data" if cut else None))

        def stack(*leaves):
            return jax.lax.with_sharding_constraint(jnp.stack(leaves), members)

        with placement.nowhere():  # The devices share the members, and not what is within them.
            found = jax.vmap(self._steps())(jax.tree.map(stack, *states), jax.tree.map(stack, *batches))
        return [jax.tree.map(lambda x, i=i: x[i], found) for i in range(len(states))]

    def compile_steps(self, state: TrainState, batches: PyTree):
        """The compiled program of `train_steps`, whose memory and costs XLA tells; arguments may be abstract."""
        return self._compile("train", self._steps(), (state, batches), donate_argnums=0,
                             out_shardings=(self.plan.of_state(state), self.plan.replicated))

    def _steps(self):
        plan = self.plan
        step = make_train_step(self.objective, self.optimizer, micro_batches=self.micro_batches,
                               ema_decay=self.ema_decay, axis="data" if plan.by_device else None)
        if not plan.by_device:
            return scan_steps(step)
        # Each device differentiates its own examples' loss: what is varying and what replicated is the step's business.
        return jax.shard_map(scan_steps(step), mesh=plan.mesh, in_specs=(PartitionSpec(), PartitionSpec(None, "data")),
                             out_specs=PartitionSpec(), check_vma=False)

    def count_flops(self, state: TrainState, batches: PyTree) -> float:
        """FLOPs of one step, without compiling it.

        Counted on the plain operations, so that they are the same on every device: on CPU the gradients of fast
        convolutions multiply padding too, 13 % more for a ResNet-20.
        """
        shapes = tuple(x.shape[1:] for x in jax.tree.leaves(batches))
        if shapes not in self._flops:
            step = make_train_step(self.objective, self.optimizer, micro_batches=self.micro_batches,
                                   ema_decay=self.ema_decay)
            steps = jax.tree.leaves(batches)[0].shape[0]
            with fast_ops.disabled():
                self._flops[shapes] = count_flops(scan_steps(step), state, batches).flops / steps
        self.flops_per_step = self._flops[shapes]
        return self.flops_per_step

    def evaluate(self, variables: PyTree, batches: PyTree) -> dict:
        """Metrics per example of stacked batches: name -> (totals, weights), arrays [steps, examples]."""
        return self._compile("evaluate", make_evaluation_step(self.objective), (variables, batches),
                             out_shardings=self.plan.replicated)(variables, batches)

    def outputs(self, variables: PyTree, batches: PyTree, read: Reading) -> dict:
        """What is read of stacked batches, their "label" and "example_weight": name -> array [steps, examples, ...]."""
        def outputs(variables, batches):
            def one(batch):
                given = {name: batch[name] for name in ("label", "example_weight") if name in batch}
                if callable(read):
                    return read(self.objective, variables, batch) | given
                found = self.objective.outputs(variables, batch)
                for name in read:
                    if name not in found:
                        raise ConfigError(f"{type(self.objective).__name__} gives no {name}, which this evaluation "
                                          f"reads; it gives {', '.join(found)}")
                return {name: found[name] for name in read} | given

            return jax.lax.map(one, batches)

        return self._compile(("outputs", read), outputs, (variables, batches),
                             out_shardings=self.plan.replicated)(variables, batches)

    def _compile(self, name, function, arguments, **options):
        batch_shapes = tuple((x.shape, str(x.dtype)) for x in jax.tree.leaves(arguments[-1]))
        key = (name, batch_shapes)
        with self._compiling:
            if key not in self._compiled:
                started = time.perf_counter()
                with self.plan.placing():
                    traced = jax.jit(function, **options).trace(*arguments)
                self._compiled[key] = traced.lower().compile(_COMPILER_OPTIONS.get((name, jax.default_backend())))
                self.compile_seconds += time.perf_counter() - started
            return self._compiled[key]


@functools.lru_cache(maxsize=16)
def _cached_program(objective, optimizer, micro_batches, ema_decay, plan) -> Program:
    return Program(objective, optimizer, micro_batches, ema_decay, plan)


def program_for(objective: Any, optimizer: Optimizer, micro_batches: int, ema_decay: float | None,
                plan: Plan) -> Program:
    """The program of these shapes; runs that differ in hyper-parameters, seed or length share it."""
    return _cached_program(objective, optimizer.without_hyperparameters(), micro_batches, ema_decay, plan)


def enable_compilation_cache(folder: Path | None = None) -> None:
    """Keeps compiled programs on disk, however small, so that the next process starts at once.

    Args:
      folder: by default `xla` in the cache folder (genlab/data/cache.py).
    """
    jax.config.update("jax_compilation_cache_dir", str(folder or cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def count_parameters(objective: Any) -> dict[str, int]:
    """Parameters of the real tree: "params" in all, and "params_non_embedding".

    An objective names its embeddings (`embedding_parameters`): tables looked up by an index, and the
    head that multiplies with such a table or stands in its place (Kaplan 2020, section 2.1).
    """
    tree = jax.eval_shape(objective.init, jax.random.key(0))["params"]
    embeddings = getattr(objective, "embedding_parameters", ())
    total = in_embeddings = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        size = int(np.prod(leaf.shape, dtype=np.int64))
        total += size
        in_embeddings += size * any(getattr(key, "key", None) in embeddings for key in path)
    return {"params": total, "params_non_embedding": total - in_embeddings}


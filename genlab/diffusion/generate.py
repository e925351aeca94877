"""Many samples, a chunk at a time: one compiled program, called from the host until there are enough, and kept.

A chunk is cut over all devices of this process that divide it. That serves CPUs too: XLA runs much of a network on one
thread a device, so two cores as two devices are faster than as one (launch.benchmark sample says by how much). Each
device runs the network on its own examples by shard_map: left to XLA's partitioner, loops over images (those of
genlab/models/fast_convolutions.py) gathered the batch, and each device ran half of a U-Net's convolutions on all of it.
A network that is itself cut over devices, its parameters or its activations, is left to the partitioner all the same.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoiser
from genlab.diffusion.paths import Path
from genlab.diffusion.samplers import AdaptiveOde, Sampler, Samples
from genlab.meshes import device_mesh


def generate(
    sampler: Sampler | AdaptiveOde,
    path: Path,
    denoiser_of: Callable[[Any, jax.Array | None], Denoiser],
    variables: Any,
    key: jax.Array,
    count: int,
    shape: tuple[int, ...],
    *,
    chunk: int = 64,
    label: np.ndarray | None = None,
    intermediates: int = 0,
    mesh: Mesh | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Samples:
    """Returns `count` samples as NumPy arrays: of one key and chunk size, the first ones of a larger count.

    Args:
      sampler, path: see `Sampler.sample`.
      denoiser_of: (variables, labels or None) -> Denoiser, of the examples of one device: no example may depend on
        another. Traced while the program is made, and not again in later calls with this very function, equal sampler
        and path, and as large chunks.
      variables: of the model, any pytree: an argument of the compiled program, which would otherwise hold a copy.
      key: of all noise; chunk i draws from fold_in(key, i).
      count: how many samples.
      shape: of one sample.
      chunk: how many at a time, as memory allows; the last chunk is filled up and cut.
      label: int [count], the class of each sample; None for none.
      intermediates: see `Sampler.sample`; the trajectory is [intermediates, count, *shape].
      mesh: of devices that the network is cut over, and its variables as they come; how it cuts its activations, it
        says itself. By default every device holds all variables and runs the network on its own examples.
      on_progress: called with (samples done, count) after each chunk; and within it, with its share of the samples,
        by a sampler of 200 steps or more.

    Raises:
      ConfigError: no samples, an empty chunk, or labels of another number; or what `Sampler.sample` raises.
    """
    if count < 1 or chunk < 1:
        raise ConfigError(f"count={count} and chunk={chunk} must be at least 1")
    if label is not None and np.shape(label) != (count,):
        raise ConfigError(f"{count} samples need so many labels, not labels of shape {np.shape(label)}")
    chunks = math.ceil(count / chunk)
    if label is not None:
        # The last chunk is filled up with the last label.
        label = np.pad(np.asarray(label, np.int32), (0, chunks * chunk - count), mode="edge")

    tells = on_progress is not None and tells_of_steps(sampler)
    program = _program(sampler, path, denoiser_of, (chunk, *shape), intermediates, mesh, tells)
    variables = program.put(variables)
    drawn = []
    for i in range(chunks):
        program.on_share = functools.partial(_tell, on_progress, i * chunk, chunk, count)  # Called if it tells.
        label_B = None if label is None else label[i * chunk:(i + 1) * chunk]
        drawn.append(jax.device_get(program(variables, jax.random.fold_in(key, i), label_B)))
        if on_progress is not None:
            on_progress(min((i + 1) * chunk, count), count)
    x = np.concatenate([samples.x for samples in drawn])[:count]
    if not intermediates:
        return Samples(x)
    return Samples(x, np.concatenate([samples.trajectory for samples in drawn], axis=1)[:, :count], drawn[0].times)


def tells_of_steps(sampler: Sampler | AdaptiveOde) -> bool:
    """Whether a program is to tell of its steps: they are many, and JAX can call this process back.

    It does so by way of a CPU, which it may be told to leave out.
    """
    if getattr(sampler, "steps", 0) < _MANY_STEPS:
        return False
    try:
        return bool(jax.local_devices(backend="cpu"))
    except RuntimeError:
        return False


def _tell(on_progress, before: int, chunk: int, count: int, share: float) -> None:
    on_progress(min(before + int(share * chunk), count), count)


_MANY_STEPS = 200  # before which a chunk's end is soon enough, and the program can be kept on disk


@functools.lru_cache(maxsize=4)
def _program(*of) -> "ChunkProgram":
    return ChunkProgram(*of)


class ChunkProgram:
    """Samples of one shape [chunk, ...], compiled once.

    Cut over as many devices as divide the chunk, or over a mesh as the network has it (see `generate`).

    Attributes:
      mesh: of the devices.
      whole: where arguments are put: on each of the devices.
      draw: the jitted function of these.
      on_share: where the program tells of its steps, what is told which share of them is done.
    """

    def __init__(self, sampler, path: Path, denoiser_of, shape: tuple[int, ...], intermediates: int = 0,
                 mesh: Mesh | None = None, tells: bool = False):
        self.on_share = lambda share: None
        told = {"on_steps": lambda steps: self.on_share(int(steps) / sampler.steps)} if tells else {}
        devices, by_examples = jax.local_devices(), mesh is None
        if by_examples:
            count = math.gcd(shape[0], len(devices))
            mesh = device_mesh((count,), ("data",), devices[:count])
        whole, examples = PartitionSpec(), PartitionSpec("data")
        self.mesh, self.whole = mesh, NamedSharding(mesh, whole)

        @jax.jit
        def draw(variables, key, label_B) -> Samples:
            def denoise(x, t):
                if not by_examples:
                    return denoiser_of(variables, label_B)(x, t)
                of_time = examples if jnp.ndim(t) else whole
                own = jax.shard_map(lambda variables, label_B, x, t: denoiser_of(variables, label_B)(x, t), mesh=mesh,
                                    in_specs=(whole, examples, examples, of_time), out_specs=examples, check_vma=False)
                return own(variables, label_B, x, t)

            return sampler.sample(path, denoise, key, shape, intermediates=intermediates, **told)

        self.draw = draw

    def put(self, variables):
        """Returns variables on each of the devices, but those that are cut over this very mesh as they are."""
        def sharding(x):
            return x.sharding if getattr(getattr(x, "sharding", None), "mesh", None) == self.mesh else self.whole

        return jax.device_put(variables, jax.tree.map(sharding, variables))

    def __call__(self, variables, key, label_B=None) -> Samples:
        """Returns a chunk by variables from `put`, a key and, of a conditional model, labels [chunk]; does not wait."""
        return self.draw(variables, *jax.device_put((key, label_B), self.whole))

"""Generation in chunks: every sample there, with its own label, by one compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from genlab.configuration import ConfigError
from genlab.diffusion import generate as generation
from genlab.diffusion.denoiser import from_data
from genlab.diffusion.generate import ChunkProgram, generate
from genlab.diffusion.paths import VP
from genlab.diffusion.samplers import Ddim, EulerMaruyama, Sampler
from genlab.meshes import device_mesh
from genlab.models.fast_convolutions import group_norm

PATH = VP()


def centres(traced=None):
    """(variables, labels) -> a denoiser that expects variables[label] whatever x is; counts its tracings."""
    def denoiser_of(variables, label_B):
        if traced is not None:
            traced.append(None if label_B is None else label_B.shape)

        def denoise(x, t):
            label = jnp.zeros(len(x), int) if label_B is None else label_B
            return from_data(PATH, x, t, jnp.broadcast_to(variables[label][:, None], x.shape))

        return denoise

    return denoiser_of


def centres_of_eight(variables, label_B):
    return lambda x, t: from_data(PATH, x, t, jnp.broadcast_to(variables["cut"] * variables["host"], x.shape))


def draw(count, key=0, sampler=None, denoiser_of=None, **options):
    return generate(sampler or Sampler(Ddim(), 4), PATH, denoiser_of or centres(), jnp.arange(10.0),
                    jax.random.key(key), count, (3,), **options)


def test_labels_line_up_and_one_program_serves_every_chunk():
    traced, told, label = [], [], np.array([7, 1, 4, 1, 0, 9, 3])
    samples = draw(7, denoiser_of=centres(traced), label=label, chunk=3, intermediates=2,
                   on_progress=lambda *done: told.append(done))
    assert isinstance(samples.x, np.ndarray)
    np.testing.assert_allclose(samples.x, np.repeat(label[:, None], 3, axis=1), atol=1e-5)
    assert samples.trajectory.shape == (2, 7, 3) and samples.times.shape == (2,)
    np.testing.assert_array_equal(samples.trajectory[-1], samples.x)
    assert traced == [(3,)] * 2  # In the loop over steps, and in the last one.
    assert told == [(3, 7), (6, 7), (7, 7)]


def test_many_steps_are_told_of_within_a_chunk(monkeypatch):
    monkeypatch.setattr(generation, "_MANY_STEPS", 4)
    told, sampler, denoiser_of = [], Sampler(EulerMaruyama(), 4), centres()
    found = draw(6, sampler=sampler, denoiser_of=denoiser_of, chunk=4, on_progress=lambda *done: told.append(done)).x
    # Three steps and then the last one, of four samples and of the other two.
    assert sorted(told) == [(1, 6), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6), (6, 6), (6, 6)]
    np.testing.assert_array_equal(found, draw(6, sampler=sampler, denoiser_of=denoiser_of, chunk=4).x)
    # JAX calls back by way of a CPU, which it may have been told to leave out.
    told.clear()

    def no_cpu(backend=None):
        if backend == "cpu":
            raise RuntimeError("no CPU")
        return jax.devices()

    monkeypatch.setattr(jax, "local_devices", no_cpu)
    draw(6, sampler=sampler, denoiser_of=denoiser_of, chunk=4, on_progress=lambda *done: told.append(done))
    assert told == [(4, 6), (6, 6)]


def test_a_hundred_times_is_told_of_steps():
    told = []
    Sampler(EulerMaruyama(), 250).sample(PATH, centres()(jnp.arange(10.0), None), jax.random.key(0), (2, 3),
                                         on_steps=lambda steps: told.append(int(steps)))
    jax.effects_barrier()
    assert sorted(told) == list(range(2, 250, 2))


def test_a_later_call_finds_its_program_again():
    traced = []
    denoiser_of = centres(traced)
    first, again = (draw(2, sampler=Sampler(Ddim(), 4), denoiser_of=denoiser_of, chunk=2).x for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len(traced) == 2
    draw(2, sampler=Sampler(Ddim(), 5), denoiser_of=denoiser_of, chunk=2)
    assert len(traced) == 4


def test_chunks_draw_their_own_noise_and_repeat_with_their_key():
    sampler = Sampler(EulerMaruyama(), 4, denoise=False)  # Ends in fresh noise.
    once, longer, other = (draw(count, key, sampler, chunk=4).x for count, key in ((6, 0), (8, 0), (6, 1)))
    np.testing.assert_array_equal(longer[:6], once)
    assert len(np.unique(once)) == once.size, "two chunks shared their noise"
    assert not np.isin(once, other).any()


def test_variables_are_no_constants_of_the_program():
    traced, sampler = [], Sampler(Ddim(), 4)
    denoiser_of = centres(traced)
    for centre in (1.0, 2.0):
        found = generate(sampler, PATH, denoiser_of, jnp.full(10, centre), jax.random.key(0), 2, (3,), chunk=2).x
        np.testing.assert_allclose(found, centre, atol=1e-5)
    assert len(traced) == 2


@pytest.mark.parametrize(("options", "message"), [
    ({"count": 0}, "count=0 and chunk=64 must be at least 1"),
    ({"count": 2, "chunk": 0}, "chunk=0"),
    ({"count": 3, "label": np.zeros(2, int)}, r"3 samples need so many labels, not labels of shape \(2,\)"),
    ({"count": 2, "intermediates": 9}, "4 steps have no 9 images on the way"),
])
def test_bad_requests_are_one_line(options, message):
    with pytest.raises(ConfigError, match=message):
        draw(**options)


@pytest.mark.parametrize("chunk", [8, 3])
def test_a_chunk_cut_over_devices_is_the_sampler_itself(chunk):
    sampler, variables = Sampler(EulerMaruyama(), 4), jnp.arange(10.0)
    found = draw(chunk, 0, sampler, chunk=chunk).x
    key = jax.random.fold_in(jax.random.key(0), 0)
    alone = jax.jit(lambda v: sampler.sample(PATH, centres()(v, None), key, (chunk, 3)).x)(variables)
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)


def test_no_device_gathers_what_the_others_have():
    """XLA's own partitioner does, for a loop over images."""
    def denoiser_of(scale_C, label_B):
        return lambda x, t: from_data(PATH, x, t, group_norm(x, scale_C, scale_C, 2, 1e-6, silu=True))

    program = ChunkProgram(Sampler(Ddim(), 2), PATH, denoiser_of, (16, 4, 4, 4))
    compiled = program.draw.lower(*jax.device_put((jnp.ones(4), jax.random.key(0), None), program.whole)).compile()
    assert len(compiled.input_shardings[0][0].device_set) == 8
    assert "all-gather" not in compiled.as_text()


def test_variables_that_are_cut_over_a_mesh_stay_so():
    mesh = device_mesh((2, 4), ("data", "fsdp"), jax.devices())
    cut, sampler = NamedSharding(mesh, PartitionSpec("fsdp")), Sampler(EulerMaruyama(), 4)
    program = ChunkProgram(sampler, PATH, centres_of_eight, (4, 8), mesh=mesh)
    variables = program.put({"cut": jax.device_put(jnp.arange(8.0), cut), "host": np.ones(8, np.float32)})
    assert variables["cut"].sharding == cut and variables["host"].sharding.is_fully_replicated
    key = jax.random.fold_in(jax.random.key(0), 0)
    alone = jax.jit(lambda v: sampler.sample(PATH, centres_of_eight(v, None), key, (4, 8)).x)(jax.device_get(variables))
    np.testing.assert_allclose(program(variables, key).x, alone, rtol=1e-5, atol=1e-6)

"""launch.benchmark step --family=unet against a small stand-in for a checkout of score_sde."""

import dataclasses
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.training.optimizers import decay_mask
from launch.benchmarks import score_sde
from launch.benchmarks.shapes import parse_shapes
from tests.launch.commands import run_command

# score_sde's interface, imports and parameter names around a DDPM++ of Flax's own layers.
NCSNPP = '''
import flax.linen as nn
import jax, jax.numpy as jnp
import ml_collections
from . import utils

def norm(x):
  return nn.GroupNorm(num_groups=min(x.shape[-1] // 4, 32))(x)

class NIN(nn.Module):
  @nn.compact
  def __call__(self, x):
    C = x.shape[-1]
    return x @ self.param("W", nn.initializers.normal(1.), (C, C)) + self.param("b", nn.initializers.zeros, (C,))

class AttnBlockpp(nn.Module):
  @nn.compact
  def __call__(self, x):
    h = norm(x).reshape(len(x), -1, x.shape[-1])
    q, k, v = NIN()(h), NIN()(h), NIN()(h)
    h = jax.nn.softmax(q @ k.swapaxes(1, 2) / x.shape[-1] ** .5) @ v
    return (x + NIN()(h).reshape(x.shape)) / 2 ** .5

class ResnetBlockBigGANpp(nn.Module):
  features: int
  resize: str = ""
  @nn.compact
  def __call__(self, x, temb):
    h = nn.swish(norm(x))
    if self.resize == "up":
      h, x = (a.repeat(2, 1).repeat(2, 2) for a in (h, x))
    if self.resize == "down":
      h, x = (nn.avg_pool(a, (2, 2), (2, 2)) for a in (h, x))
    h = nn.Conv(self.features, (3, 3))(h) + nn.Dense(self.features)(nn.swish(temb))[:, None, None]
    h = nn.Conv(self.features, (3, 3))(nn.swish(norm(h)))
    if self.resize or x.shape[-1] != self.features:
      x = nn.Conv(self.features, (1, 1))(x)
    return (x + h) / 2 ** .5

@utils.register_model(name="ncsnpp")
class NCSNpp(nn.Module):
  config: ml_collections.ConfigDict
  @nn.compact
  def __call__(self, x, time_cond, train=True):
    m = self.config.model
    utils.get_sigmas(self.config)[time_cond.astype(jnp.int32)]
    angles = time_cond[:, None] * 10_000. ** (-jnp.arange(m.nf // 2) / (m.nf // 2 - 1))
    temb = nn.Dense(4 * m.nf)(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1))
    temb = nn.Dense(4 * m.nf)(nn.swish(temb))
    last = len(m.ch_mult) - 1
    hs = [nn.Conv(m.nf, (3, 3))(x)]
    for level, multiplier in enumerate(m.ch_mult):
      for _ in range(m.num_res_blocks):
        h = ResnetBlockBigGANpp(multiplier * m.nf)(hs[-1], temb)
        hs.append(AttnBlockpp()(h) if h.shape[1] in m.attn_resolutions else h)
      if level < last:
        hs.append(ResnetBlockBigGANpp(h.shape[-1], "down")(hs[-1], temb))
    h = AttnBlockpp()(ResnetBlockBigGANpp(h.shape[-1])(hs[-1], temb))
    h = ResnetBlockBigGANpp(h.shape[-1])(h, temb)
    for level in reversed(range(last + 1)):
      for _ in range(m.num_res_blocks + 1):
        h = ResnetBlockBigGANpp(m.ch_mult[level] * m.nf)(jnp.concatenate([h, hs.pop()], -1), temb)
      if h.shape[1] in m.attn_resolutions:
        h = AttnBlockpp()(h)
      if level:
        h = ResnetBlockBigGANpp(h.shape[-1], "up")(h, temb)
    return nn.Conv(3, (3, 3))(nn.swish(norm(h)))
'''


@dataclasses.dataclass(frozen=True)
class TwoLevels(score_sde.UNetShape):
    """Of the four levels the first two, which compile four times as fast."""

    def objective(self):
        objective = super().objective()
        return dataclasses.replace(objective, model=dataclasses.replace(objective.model, channel_multipliers=(1, 2)))


@pytest.fixture
def peer(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "ncsnpp.py").write_text(NCSNPP)
    yield score_sde.load(str(tmp_path))
    for name in ("ml_collections", "score_sde", "score_sde.utils", "score_sde.ncsnpp"):
        del sys.modules[name]


def test_both_sides_compute_the_same_loss_and_gradient(peer):
    shape = TwoLevels(8, 4, 1)
    step, objective, rng = peer.step(shape), shape.objective(), np.random.default_rng(0)
    params = jax.tree.map(lambda a: jnp.asarray(rng.normal(0, 0.3, a.shape), jnp.float32),
                          jax.eval_shape(step.init, jax.random.key(0)))
    batch = {name: array[0, :2] for name, array in shape.batches(1).items()}

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": "0"})
    def both(params, ours):
        genlab = jax.value_and_grad(lambda p: objective.loss({"params": p}, batch, jax.random.key(7), True)[0])
        return step.loss_and_gradient(params, batch), genlab(ours)

    (loss, gradient), (our_loss, our_gradient) = both(params, step.as_genlab(params))
    np.testing.assert_allclose(our_loss, loss, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3 * np.abs(a).max()),
                 our_gradient, step.as_genlab(gradient))
    masks = step.as_genlab(jax.tree.map(lambda a, kept: jnp.full(a.shape, kept), params, step.decay_mask(params)))
    assert jax.tree.map(lambda a: bool(a.all()), masks) == decay_mask(our_gradient)


def test_every_parameter_has_its_place(peer):
    shape, key = score_sde.UNetShape(8, 8, 2), jax.random.key(0)
    step = peer.step(shape)
    shapes = jax.eval_shape(lambda key: step.as_genlab(step.init(key)), key)
    assert shapes == jax.eval_shape(shape.objective().init, key)["params"]


def test_batches_differ_and_a_seed_says_which_noise_is_drawn():
    seeds = score_sde.UNetShape(8, 8, 1).batches(2)["seed"]
    assert seeds.shape == (2, 32) and (seeds == [[0], [1]]).all()


def test_what_cannot_be_compared_is_said_in_one_line():
    assert len(parse_shapes(None, score_sde.UNetShape)) == 3
    for text, message in (("32,16", "'32,16' is not WIDTH,IMAGE_SIZE,BLOCKS, e.g. 32,16,1"),
                          ("36,16,1", "at width 36, score_sde's norms do not divide 144 channels into groups: 8, 16 "
                                      "or a multiple of 32 would do"),
                          ("32,12,1", "image_size 12 is not divisible by 8")):
        with pytest.raises(ConfigError, match=message):
            parse_shapes(text, score_sde.UNetShape)


def test_a_folder_without_score_sde_is_said_in_one_line(tmp_path):
    done = run_command("launch.benchmark", "step", f"--peer={tmp_path}", "--family=unet")
    assert done.returncode == 2
    assert done.stderr == (f"error: --peer={tmp_path} has no models/ncsnpp.py; give the root of a checkout of "
                           "score_sde\n")

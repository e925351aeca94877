"""launch.benchmark against a small stand-in for a checkout of nanodo, and its arithmetic."""

import json

import pytest

from genlab.configuration import ConfigError
from launch.benchmarks import big_vision, nanodo, step
from launch.benchmarks.shapes import parse_shapes
from launch.benchmarks.timing import Comparison, Side, compare, geometric_mean
from tests.launch.commands import run_command

# nanodo's interface and parameter names around a decoder written with einsum alone.
MODEL = '''
import dataclasses
import jax, jax.numpy as jnp
from flax import linen as nn

@dataclasses.dataclass
class DoConfig:
  D: int
  H: int
  L: int
  N: int
  V: int
  F: int
  fsdp_enabled: bool = True

class Norm(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = x - x.mean(-1, keepdims=True)
    x = x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)
    return x * self.param("scale", nn.initializers.ones, x.shape[-1:])

class Kernel(nn.Module):
  shape: tuple
  @nn.compact
  def __call__(self):
    return self.param("kernel", nn.initializers.normal(.2), self.shape)

class Mlp(nn.Module):
  width: int
  @nn.compact
  def __call__(self, x):
    h = jnp.einsum("btd,df->btf", x, Kernel((x.shape[-1], self.width), name="Dense_0")())
    h = .5 * h * (1 + jnp.tanh(jnp.sqrt(2 / jnp.pi) * (h + .044715 * h ** 3)))
    return jnp.einsum("btf,fd->btd", h, Kernel((self.width, x.shape[-1]), name="Dense_1")())

class Attention(nn.Module):
  heads: int
  @nn.compact
  def __call__(self, x):
    D, H = x.shape[-1], self.heads
    q, k, v = (jnp.einsum("btd,dhk->bthk", x, Kernel((D, H, D // H), name=n)()) for n in ("query", "key", "value"))
    scores = jnp.einsum("bthk,bshk->bhts", q, k) / (D // H) ** .5
    weights = jnp.exp(scores) * jnp.tril(jnp.ones(scores.shape[-2:]))
    out = jnp.einsum("bhts,bshk->bthk", weights / weights.sum(-1, keepdims=True), v)
    return jnp.einsum("bthk,hkd->btd", out, Kernel((H, D // H, D), name="attn_out_proj")())

class Block(nn.Module):
  cfg: DoConfig
  @nn.compact
  def __call__(self, x):
    x = x + Attention(self.cfg.H, name="CausalAttn_0")(Norm(name="LayerNorm_0")(x))
    return x + Mlp(self.cfg.F, name="Mlp_0")(Norm(name="LayerNorm_1")(x))

class TransformerDo(nn.Module):
  docfg: DoConfig
  @nn.compact
  def __call__(self, tokens):
    c = self.docfg
    embed = nn.Embed(c.V, c.D, name="embed")
    x = embed(tokens) + nn.Embed(c.L, c.D, name="pos_embed")(jnp.arange(tokens.shape[1]))
    for i in range(c.N):
      x = Block(c, name=f"blocks_{i}")(x)
    return embed.attend(Norm(name="out_ln")(x))
'''
LOSS = '''
import types
import jax, jax.numpy as jnp
from nanodo import data

def get_default_loss_fn(tokens, apply_fn, c):
  def loss(params):
    x, y, weight = data.get_in_out(tokens)
    log_p = jax.nn.log_softmax(apply_fn({"params": params}, x))
    loss = -jnp.take_along_axis(log_p, y[..., None], -1)[..., 0]
    return (loss * weight).sum() / weight.sum(), types.SimpleNamespace()
  return lambda params: (loss(params)[0], None)
'''


def benchmark(*arguments):
    return run_command("launch.benchmark", *arguments)


def test_step_compares_loss_and_gradient_with_the_peer(tmp_path):
    (tmp_path / "nanodo").mkdir()
    (tmp_path / "nanodo" / "model.py").write_text(MODEL)
    (tmp_path / "nanodo" / "loss.py").write_text(LOSS)
    output = tmp_path / "step.json"
    done = benchmark("step", f"--peer={tmp_path}", "--shapes=8,1,2", "--turns=1", "--seconds=0", f"--output={output}")
    assert done.returncode == 0, done.stderr
    results = json.loads(output.read_text())
    (row,) = results["shapes"]
    assert row["ratio"] > 0 and results["versions"]["jax"] and results["cores"] >= 1
    assert row["gradient_error"] < 1e-5 and row["trajectory_error"] < 1e-4
    assert "do not compute the same" not in done.stdout


def test_sides_that_differ_are_found():
    assert step.alike([{"loss_error": 1e-6, "gradient_error": 1e-5}])
    assert not step.alike([{"loss_error": 1e-6, "gradient_error": 1e-5}, {"loss_error": 1e-2, "gradient_error": 1e-5}])
    assert not step.alike([{"loss_error": 1e-6, "gradient_error": 1e-2}])


@pytest.mark.parametrize("arguments, message", [
    ((), "name what to measure: python -m launch.benchmark step|loop|sweep"),
    (("step",), "give --peer=PATH"),
    (("loop", "--output=/nowhere/x.json"), "there is no folder /nowhere"),
])
def test_bad_input_is_one_line(arguments, message):
    done = benchmark(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and message in line


def test_a_folder_without_nanodo():
    with pytest.raises(ConfigError, match="--peer=/nowhere has no nanodo/model.py"):
        nanodo.load("/nowhere")


def test_shapes_are_checked():
    assert [str(shape) for shape in parse_shapes("16,1,1  64,4,4")] == ["16,1,1", "64,4,4"]
    with pytest.raises(ConfigError, match="'64,4' is not WIDTH,DEPTH,HEADS"):
        parse_shapes("64,4")
    with pytest.raises(ConfigError, match="not divisible by num_heads"):
        parse_shapes("16,1,3")


def test_ratios_are_taken_within_a_turn():
    weather = Comparison(first=(2.0, 20.0, 2.0), second=(1.0, 10.0, 4.0))
    assert weather.ratio == 2.0
    assert weather.ratio_of_minima == 2.0
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)


def test_a_side_waits_for_every_turn():
    waited = []
    first, second = (Side(name, lambda: "metrics", waited.append, steps=2) for name in "ab")
    found = compare(first, second, turns=3, seconds=0.0)
    assert len(found.first) == len(found.second) == 3
    assert len(waited) == 2 * 2 * 4  # two sides, twice a turn, three turns and one that is not counted


def test_shapes_of_other_families():
    assert parse_shapes("64,4", big_vision.MixerShape) == [big_vision.MixerShape(64, 4)]
    assert len(parse_shapes(None, big_vision.ViTShape)) == 3
    with pytest.raises(ConfigError, match="'64,4' is not WIDTH,DEPTH,HEADS"):
        parse_shapes("64,4", big_vision.ViTShape)
    with pytest.raises(ConfigError, match="--peer=/nowhere has no big_vision/models/vit.py"):
        big_vision.load("/nowhere")

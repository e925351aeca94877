"""Variational dequantisation as an objective: what it bounds, what it trains and what it leaves alone."""

import dataclasses

import jax
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.models.dequantizer import Dequantizer
from genlab.models.dit import DiT
from genlab.objectives.dequantization import VariationalDequantization
from genlab.objectives.diffusion import ImageDiffusion
from genlab.objectives.generation import BitsPerDimension
from genlab.objectives.grey_levels import GreyLevels
from genlab.training.optimizers import AdamW
from genlab.training.step import initial_state, make_train_step

LEVELS = GreyLevels(4)
DIT = DiT(image_size=4, channels=1, patch_size=2, width=16, depth=1, num_heads=1)
TEACHER = ImageDiffusion(model=DIT, pixels=LEVELS)
DEQUANTIZER = Dequantizer(image_size=4, channels=1, width=8)
OBJECTIVE = VariationalDequantization(model=DEQUANTIZER, teacher=TEACHER, pixels=LEVELS)


def batch(count=64):
    levels = np.random.default_rng(0).integers(0, 2, (count, 4, 4, 1))  # The darker half of the levels.
    return {"image": np.rint(levels * 85).astype(np.uint8), "index": np.arange(count)}


def test_training_lowers_the_bound_and_leaves_the_diffusion_model_alone():
    optimizer = AdamW(learning_rate=3e-3, warmup_steps=1)
    state = jax.jit(lambda seed: initial_state(OBJECTIVE, optimizer, seed, optimizer.hyperparameters(80), False))(0)
    step, losses = jax.jit(make_train_step(OBJECTIVE, optimizer)), []
    teacher = jax.device_get(state.model_state["teacher"])
    for _ in range(80):
        state, metrics = step(state, batch())
        losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
    assert np.mean(losses[-20:]) < np.mean(losses[:10]) - 0.02
    jax.tree.map(np.testing.assert_array_equal, teacher, jax.device_get(state.model_state["teacher"]))


def test_fresh_noise_is_nearly_uniform_and_so_are_its_bits():
    variables = jax.jit(OBJECTIVE.init)(jax.random.key(0))
    bits = BitsPerDimension()
    BitsPerDimension.check(bits, OBJECTIVE, None)
    told = jax.jit(lambda v: bits(OBJECTIVE, v, batch())["bits"])(variables)
    uniform = jax.jit(lambda v: bits(TEACHER, v, batch())["bits"])(variables["teacher"])
    assert float(told.mean()) == pytest.approx(float(uniform.mean()), abs=0.15)


def test_another_run_than_the_teachers_is_a_one_line_error():
    variables = jax.eval_shape(OBJECTIVE.init, jax.random.key(0))
    other = dataclasses.replace(TEACHER, dequantize=False)
    with pytest.raises(ConfigError, match="the run to start from is not of objective.teacher"):
        OBJECTIVE.start_from(variables, other, {})
    assert OBJECTIVE.start_from(variables, TEACHER, "theirs")["teacher"] == "theirs"
    with pytest.raises(ConfigError, match="they must be the same"):
        dataclasses.replace(OBJECTIVE, pixels=GreyLevels(17)).validate()


def test_another_type_is_a_one_line_error():
    with pytest.raises(ConfigError, match='dtype must be "float32" or "bfloat16", not "float8"'):
        dataclasses.replace(DEQUANTIZER, dtype="float8").validate()

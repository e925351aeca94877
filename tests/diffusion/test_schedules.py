"""Schedules against quadrature, the papers' formulas and products written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from genlab.configuration import ConfigError
from genlab.diffusion.schedules import Cosine, Discrete, Linear

SCHEDULES = [Linear(), Linear(0.5, 0.5), Cosine(), Discrete(), Discrete(10, 0.01, 0.3)]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("schedule", SCHEDULES[:3], ids=str)
def test_integral_is_that_of_beta(schedule):
    for t in (1e-4, 0.2, 0.9, schedule.end):
        area, _ = quad(lambda t: float(schedule.beta(jnp.float64(t))), 0, t, epsabs=1e-12, epsrel=1e-9)
        np.testing.assert_allclose(float(schedule.integral(jnp.float64(t))), area, rtol=1e-8)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_time_at_undoes_the_integral(schedule):
    t = np.concatenate([np.geomspace(1e-6, 0.1, 20), np.linspace(0.1, schedule.end, 50)])
    back = jax.jit(lambda t: schedule.time_at(schedule.integral(t)))(t)
    np.testing.assert_allclose(back, t, rtol=1e-9)


@pytest.mark.usefixtures("float64")
def test_cosine_is_the_papers():
    t = np.linspace(0, 0.99, 30)
    f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(np.exp(-Cosine().integral(t)), f / f[0], rtol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("schedule", SCHEDULES[3:], ids=str)
def test_discrete_is_the_product_of_its_steps(schedule):
    betas = np.linspace(schedule.beta_min, schedule.beta_max, schedule.num_steps)
    t = np.arange(1, schedule.num_steps + 1) / schedule.num_steps
    integral, beta, beta_inside = jax.jit(
        lambda t: (schedule.integral(t), schedule.beta(t), schedule.beta(t - 0.5 / schedule.num_steps)))(t)
    np.testing.assert_allclose(np.exp(-integral), np.cumprod(1 - betas), rtol=1e-12)
    # beta(t) dt of a step is what the step forgets, at its end as in its middle.
    np.testing.assert_allclose(np.exp(-beta / schedule.num_steps), 1 - betas, rtol=1e-12)
    np.testing.assert_allclose(beta, beta_inside)


def test_a_discrete_schedule_finds_its_steps_in_float32():
    schedule = Discrete()
    rates = -1_000 * np.log1p(-np.linspace(1e-4, 0.02, 1_000))
    np.testing.assert_allclose(jax.jit(schedule.beta)(np.arange(1, 1_001, dtype=np.float32) / 1_000), rates, rtol=1e-6)


@pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=str)
def test_float32_keeps_its_digits_at_small_times(schedule):
    t = np.float32(1e-5)
    u = np.pi / 2 * (np.float64(t) + np.array([0.008])) / 1.008
    exact = {Linear: 0.1 * np.float64(t) + 19.9 / 2 * np.float64(t) ** 2,
             Cosine: -2 * np.log(np.cos(u) / np.cos(np.pi / 2 * 0.008 / 1.008))}[type(schedule)]
    np.testing.assert_allclose(schedule.integral(jnp.asarray(t)), exact, rtol=1e-5)
    np.testing.assert_allclose(schedule.time_at(schedule.integral(jnp.asarray(t))), t, rtol=1e-4)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Linear(0.0, 20.0), "0 < beta_min <= beta_max, not 0.0, 20.0"),
    (lambda: Linear(2.0, 1.0), "0 < beta_min <= beta_max, not 2.0, 1.0"),
    (lambda: Discrete(0), "num_steps >= 1"),
    (lambda: Discrete(10, 0.1, 1.0), "beta_max < 1"),
])
def test_bad_schedules_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()

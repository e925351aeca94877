"""Sampling against the algorithm of score_sde's JAX samplers: the same network, weights, steps and number of samples.

The other side is that algorithm written anew: one loop on one device over a batch, the time a vector, predictor and
corrector each with their own call of the network, here in plain XLA operations, as score_sde's modules are. A third
side tells the two gains apart: the same algorithm with genlab's operations. genlab's side is what launch.sample runs: a
batch cut over all devices, of which a CPU has as many as cores.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from genlab.diffusion.generate import ChunkProgram
from genlab.diffusion.paths import VP
from genlab.diffusion.samplers import EulerMaruyama, Langevin, ReverseDiffusion, Sampler
from genlab.diffusion.schedules import Linear
from genlab.models import fast_ops
from genlab.models.unet import UNet
from genlab.objectives.diffusion import ImageDiffusion
from launch.benchmarks.timing import Comparison, Side, compare, geometric_mean

STEPS, BATCH = 10, 32
SIGNAL_TO_NOISE = 0.16
# Not the paper's (.1, 20): in so few steps of those, discretisations that agree in a thousand have nothing in common.
BETAS = (0.1, 1.0)


@dataclass(frozen=True)
class Case:
    """A network and a sampler.

    Attributes:
      width: of the DDPM++.
      image_size: in pixels.
      corrector: whether a Langevin step goes with each of reverse diffusion's; otherwise Euler-Maruyama alone.
    """

    width: int
    image_size: int
    corrector: bool

    def __str__(self) -> str:
        return f"width {self.width}, {self.image_size} pixels, {'predictor-corrector' if self.corrector else 'Euler'}"

    def objective(self) -> ImageDiffusion:
        """Of a small DDPM++."""
        network = UNet(image_size=self.image_size, channels=3, width=self.width, channel_multipliers=(1, 2, 2),
                       blocks=1, attention_resolutions=(self.image_size // 2,))
        return ImageDiffusion(model=network, path=VP(Linear(*BETAS)))

    def sampler(self) -> Sampler:
        """genlab's."""
        if self.corrector:
            return Sampler(ReverseDiffusion(), STEPS, Langevin(SIGNAL_TO_NOISE), denoise=False)
        return Sampler(EulerMaruyama(), STEPS, denoise=False)


CASES = (Case(32, 32, False), Case(32, 16, True), Case(64, 16, False))


def predictor_corrector(objective: ImageDiffusion, corrector: bool) -> Callable:
    """(variables, key) -> [B, I, J, C]: Song et al. 2020, algorithms 3 and 5, as score_sde runs them."""
    shape = (BATCH, *objective.example_shape())
    beta_min, beta_max = BETAS

    def score(variables, x, t_B):
        noise = objective.model.apply(variables, x, 1_000 * t_B)
        return -noise / objective.path.sigma(t_B)[:, None, None, None]

    def sample(variables, key):
        key, start_key = jax.random.split(key)
        # In the paper's order and on the same times as genlab. Theirs correct before they predict, and predict once
        # more at the path's start, where a network of random weights explodes in few steps; the work is the same.
        times = jnp.linspace(1.0, objective.path.start, STEPS + 1)

        def correct(x, t_B, key):
            gradient, noise = score(variables, x, t_B), jax.random.normal(key, x.shape)
            norms = [jnp.linalg.norm(a.reshape(BATCH, -1), axis=-1).mean() for a in (noise, gradient)]
            kept = 1 - (beta_min + t_B[0] * (beta_max - beta_min)) / STEPS
            size = 2 * kept * (SIGNAL_TO_NOISE * norms[0] / norms[1]) ** 2
            return x + size * gradient + jnp.sqrt(2 * size) * noise

        def predict(x, t_B, key):
            beta = (beta_min + t_B * (beta_max - beta_min))[:, None, None, None]
            noise, gradient = jax.random.normal(key, x.shape), score(variables, x, t_B)
            if corrector:  # Reverse diffusion: DDPM's discretisation.
                rate = beta / STEPS
                drift = jnp.sqrt(jnp.maximum(1 - rate, 0)) * x - x
                return x - drift + rate * gradient + jnp.sqrt(rate) * noise
            return x + (0.5 * beta * x + beta * gradient) / STEPS + jnp.sqrt(beta / STEPS) * noise

        def body(i, state):
            x, key = state
            key, *keys = jax.random.split(key, 3)
            x = predict(x, jnp.full(BATCH, times[i]), keys[1])
            return correct(x, jnp.full(BATCH, times[i + 1]), keys[0]) if corrector else x, key

        return jax.lax.fori_loop(0, STEPS, body, (jax.random.normal(start_key, shape), key))[0]

    return sample


def run(turns: int, seconds: float, console: Console) -> tuple[dict, bool]:
    """Compares every case; returns (results, whether all sides' samples have the same spread)."""
    console.print(f"{BATCH} samples in {STEPS} steps, on {len(jax.devices())} devices; seconds, least of {turns} turns",
                  highlight=False, soft_wrap=True)
    line = "{:<42} {:>11} {:>11} {:>8} {:>7} {:>13}".format
    console.print(line("DDPM++", "score_sde's", "genlab ops", "genlab", "ratio", "with its ops"), highlight=False,
                  soft_wrap=True)
    rows, agree = [], True
    for case in CASES:
        sides, spreads = _sides(case)
        found = compare(sides["plain"], sides["genlab"], turns, seconds)
        same_ops: Comparison = compare(sides["ops"], sides["genlab"], turns, seconds)
        agree &= bool(np.ptp(spreads) < 0.1 * np.mean(spreads))
        rows.append({"case": str(case), "spreads": spreads, **found.to_json(), "same_ops": same_ops.to_json()})
        console.print(line(str(case), *(f"{min(each):.2f}" for each in (found.first, same_ops.first, found.second)),
                           f"{found.ratio:.2f}", f"{same_ops.ratio:.2f}"), highlight=False, soft_wrap=True)
    means = {"ratio": geometric_mean([row["ratio"] for row in rows]),
             "same_ops": geometric_mean([row["same_ops"]["ratio"] for row in rows])}
    console.print(f"geometric mean {means['ratio']:.2f}; with the same operations {means['same_ops']:.2f}",
                  highlight=False, soft_wrap=True)
    if not agree:
        console.print("the sides' samples differ in spread: they do not compute the same")
    return {"cases": rows, "geometric_mean": means}, agree


def _sides(case: Case) -> tuple[dict[str, Side], list[float]]:
    """The three sides by name, and the standard deviation of each one's samples."""
    objective = case.objective()
    # Random weights, those too that start at zero: all of the network is run.
    shapes = jax.eval_shape(objective.init, jax.random.key(0))
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: jnp.asarray(random.normal(0, 0.02, s.shape), jnp.float32), shapes)
    key, one = jax.random.key(1), jax.devices()[0]
    held = jax.device_put(variables, one)
    algorithm = predictor_corrector(objective, case.corrector)
    with fast_ops.disabled():
        plain = jax.jit(algorithm).trace(held, key).lower().compile()
    ours = jax.jit(lambda v, k: algorithm(v, k)).trace(held, key).lower().compile()
    shape = (BATCH, *objective.example_shape())
    program = ChunkProgram(case.sampler(), objective.path, objective.denoiser, shape)
    placed = jax.device_put(variables, program.whole)
    calls = {"plain": lambda: plain(held, key), "ops": lambda: ours(held, key),
             "genlab": lambda: program(placed, key).x}
    spreads = [float(np.std(np.asarray(jax.device_get(call())))) for call in calls.values()]
    return {name: Side(name, call, jax.block_until_ready) for name, call in calls.items()}, spreads


"""Tokens a second of generation with a key-value cache, at batch 1 and 64, beside what the device allows."""

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from genlab.models.generation import generate
from genlab.models.gpt import GPT
from genlab.scaling.counting.compute import count_flops
from genlab.scaling.counting.devices import floors
from genlab.scaling.counting.memory import tree_bytes
from launch.benchmarks.timing import Side, milliseconds

BATCHES = (1, 64)
PROMPT, NEW = 32, 96


def model() -> GPT:
    """GPT-2's 124M in bfloat16; on CPU a small GPT in float32."""
    if jax.default_backend() == "cpu":
        return GPT(vocab_size=256, context_length=256, width=256, depth=6, num_heads=8)
    return GPT(vocab_size=50_304, context_length=1024, width=768, depth=12, num_heads=12, dtype="bfloat16")


def step_costs(gpt: GPT, params, batch: int, slots: int) -> tuple[float, float]:
    """(FLOPs, bytes that must be read) of one new token for each row, with `slots` of the cache filled or not."""
    cache = jax.eval_shape(lambda: gpt.empty_cache(batch, slots, jnp.zeros(batch, jnp.int32)))
    tokens = jax.ShapeDtypeStruct((batch, 1), jnp.int32)
    flops = count_flops(lambda p, t, c: gpt.apply({"params": p}, t, cache=c)[0], params, tokens, cache).flops
    # Every parameter, in the type it is multiplied in, and the whole cache, which attention reads with a mask.
    weights = sum(x.size for x in jax.tree.leaves(params)) * jnp.dtype(gpt.dtype).itemsize
    return flops, weights + tree_bytes(cache.layers)


def run(turns: int, seconds: float, console: Console, gpt: GPT | None = None,
        batches: tuple[int, ...] = BATCHES, new: int = NEW) -> tuple[dict, bool]:
    """Measures every batch and prints a table; returns (results, whether all tokens came)."""
    gpt = gpt or model()
    params = gpt.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    kind, count = jax.devices()[0].device_kind, sum(x.size for x in jax.tree.leaves(params))
    random = np.random.default_rng(0)
    console.print(f"{new} tokens after prompts of {PROMPT}, {count:,} parameters, {gpt.dtype}, {kind}; "
                  f"milliseconds a call, least / median over turns",
                  highlight=False, soft_wrap=True)
    rows, good = [], True
    for batch in batches:
        prompts = [random.integers(0, gpt.vocab_size, PROMPT) for _ in range(batch)]

        def call(prompts=prompts):
            return generate(gpt, params, prompts, max_new_tokens=new)

        good &= all(len(tokens) == new for tokens in call())  # And compiles.
        side = Side("generate", call, lambda _: None)  # It returns when the tokens are there.
        for _ in range(turns):
            side.take_turn(seconds)
        per_second = batch * new / float(np.median(side.seconds))
        # The cache that `generate` makes: prompt and new tokens, each up to a power of two.
        flops, num_bytes = step_costs(gpt, params, batch, _slots(new, gpt.context_length))
        lowest = floors(new * flops, new * num_bytes, kind, gpt.dtype)
        told = {"arithmetic": None, "memory": None} if lowest is None else {
            "arithmetic": lowest.arithmetic, "memory": lowest.memory}
        rows.append({"batch": batch, "new_tokens": new, "seconds": list(side.seconds), "tokens_per_second": per_second,
                     "flops_per_step": flops, "bytes_per_step": num_bytes, "floors": told})
        floor = "floors unknown for this device" if lowest is None else (
            f"floors {(lowest.arithmetic or 0) * 1e3:.2f} (arithmetic) and {lowest.memory * 1e3:.2f} (bytes), "
            f"{lowest.seconds / np.median(side.seconds):.0%} of the time")
        console.print(f"batch {batch:>3}  {milliseconds(side.seconds)}  {per_second:,.0f} tokens/s  {floor}",
                      highlight=False, soft_wrap=True)
    if not good:
        console.print("some requests ended early")
    return {"parameters": count, "dtype": gpt.dtype, "batches": rows}, good


def _slots(new: int, limit: int) -> int:
    """Slots of the cache: powers of two that hold the prompt and the new tokens, at most the context each."""
    return sum(min(1 << (length - 1).bit_length(), limit) for length in (PROMPT, new))

"""What each plan costs on 1 to 8 simulated CPU devices: the same step of the same batch, cut into as many parts.

Simulated devices share the cores, so that the ideal is the time of one device and the rest is the plan's overhead.
Their work is the FLOPs of all, as XLA counts them, over those of one: 1 where each computes its share, on any machine.
They must be asked for before JAX starts: `run` measures in a process of its own, whose last line is JSON.
"""

import json
import os
import re
import subprocess
import sys

from rich.console import Console

from launch.benchmarks.timing import Side

COUNTS = (1, 2, 4, 8)
BATCH = 32
_COUNT = "--xla_force_host_platform_device_count"


def layouts(count: int) -> dict:
    """Name -> the arguments of `Layout` on so many devices."""
    found = {"data": {}}
    if count > 1:
        found |= {"pmap": {"plan": "pmap"}, "fsdp": {"plan": "mesh", "data": 1, "fsdp": count},
                  "tensor": {"plan": "mesh", "data": 1, "tensor": count},
                  "sequence": {"plan": "mesh", "data": 1, "sequence": count}}
    return found


def run(turns: int, seconds: float, console: Console) -> tuple[dict, bool]:
    """Measures all plans and prints a table; returns (results, whether every plan gave the loss of one device)."""
    programs = sum(len(layouts(count)) for count in COUNTS)
    console.print(f"a GPT of width 64, batches of {BATCH}, simulated devices; {programs} programs are compiled first, "
                  "which takes minutes", highlight=False, soft_wrap=True)
    flags = re.sub(rf"{_COUNT}=\d+", "", os.environ.get("XLA_FLAGS", "")).strip()
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{flags} {_COUNT}={max(COUNTS)}".strip()}
    done = subprocess.run([sys.executable, "-m", "launch.benchmarks.scaling", str(turns), str(seconds)],
                          env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the measuring process failed: {done.stderr.strip()[-2000:]}")
    rows = json.loads(done.stdout.splitlines()[-1])
    one = next(row for row in rows if row["devices"] == 1)
    line = "{:>8} {:<8} {:>12} {:>10} {:>6} {:>12}".format
    console.print(line("devices", "plan", "ms a step", "overhead", "work", "loss error"), highlight=False)
    for row in rows:
        row["overhead"] = row["seconds"] / one["seconds"] - 1
        row["work"] = row["devices"] * row["flops"] / one["flops"]
        row["loss_error"] = abs(row["loss"] / one["loss"] - 1)
        console.print(line(row["devices"], row["plan"], f"{row['seconds'] * 1e3:.2f}", f"{row['overhead']:+.0%}",
                           f"{row['work']:.2f}", f"{row['loss_error']:.0e}"), highlight=False)
    return {"batch": BATCH, "rows": rows}, all(row["loss_error"] < 1e-5 for row in rows)


def measure(turns: int, seconds: float, width: int = 64, depth: int = 2) -> list[dict]:
    """One row for each plan and number of devices, of a small GPT; in a process that has the devices."""
    import jax
    import numpy as np

    from genlab.models.gpt import GPT
    from genlab.objectives.next_token import NextToken
    from genlab.training.optimizers import AdamW
    from genlab.training.plans import Layout, choose_plan
    from genlab.training.program import Program

    T = 64
    objective = NextToken(model=GPT(vocab_size=256, context_length=T, width=width, depth=depth, num_heads=8))
    optimizer = AdamW(learning_rate=1e-3)
    tokens = np.random.default_rng(0).integers(0, 256, (4, BATCH, T + 1)).astype(np.int32)
    sides, losses, flops = {}, {}, {}
    for count in COUNTS:
        for name, arguments in layouts(count).items():
            plan = choose_plan(BATCH, 1, count, Layout(**arguments), objective)
            program = Program(objective, optimizer, 1, None, plan)
            held = [program.initial_state(0, optimizer.hyperparameters(100))]
            batches = plan.put({"tokens": tokens})

            def dispatch(program=program, held=held, batches=batches):
                held[0], metrics = program.train_steps(held[0], batches)
                return metrics["loss"]

            total, weight = jax.device_get(dispatch())
            losses[count, name] = float((total / weight)[-1])
            flops[count, name] = program.compile_steps(held[0], batches).cost_analysis()["flops"]  # of one device
            sides[count, name] = Side(name, dispatch, jax.block_until_ready, steps=len(tokens))
    for turn in range(turns + 1):  # The first is not counted; all take turns, since the machine changes.
        for side in sides.values():
            side.take_turn(seconds if turn else 0.0)
    return [{"devices": count, "plan": name, "seconds": float(np.median(side.seconds[1:])),
             "loss": losses[count, name], "flops": flops[count, name]} for (count, name), side in sides.items()]


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), float(sys.argv[2]))))

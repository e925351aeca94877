"""Measures genlab: the compiled step, the loop around it, its input, attention, generation, sampling, sweeps, fits.

    python -m launch.benchmark step --peer=../nanodo     the step against nanodo's, and that both compute the same
    python -m launch.benchmark step --peer=../big_vision --family=vit      or mixer: against big_vision's
    python -m launch.benchmark step --peer=../score_sde --family=unet      DDPM++ against score_sde's, its JAX modules
    python -m launch.benchmark torch --peer=../nanoGPT   GPT-2 on one accelerator against PyTorch's nanoGPT
    python -m launch.benchmark torch --family=vit        ViT-B/16 against timm's (pip install timm)
    python -m launch.benchmark torch --peer=../DiT --family=dit           DiT-B/2 against its authors'
    python -m launch.benchmark loop                      the step in the real loop against the bare step
    python -m launch.benchmark input                     images a second, beside what the step of a ViT consumes
    python -m launch.benchmark sweep --peer=../nanodo    runs an hour of a sweep against nanodo's steps in a row
    python -m launch.benchmark attention                 attention as it is chosen here against plain operations
    python -m launch.benchmark generate                  tokens a second at batch 1 and 64, beside the device's floors
    python -m launch.benchmark scaling                   what each plan costs on 1 to 8 simulated devices
    python -m launch.benchmark population                16 runs in one program against one after another
    python -m launch.benchmark sample                    samples of a U-Net against score_sde's algorithm
    python -m launch.benchmark fit                       a law with its bootstrap against SciPy's L-BFGS-B
    python -m launch.benchmark fit --runs=TABLE.csv --columns=params=N,tokens=D --where="in_240 == 1"

The sides take turns in short blocks within one process, and ratios are taken within a turn: the machine
may be busy, but then it is for both. A peer is a checkout of https://github.com/google-deepmind/nanodo, of
https://github.com/google-research/big_vision or of https://github.com/yang-song/score_sde, and for `torch` of
https://github.com/karpathy/nanoGPT or https://github.com/facebookresearch/DiT; launch/benchmarks/pytorch/step.py says
what that needs and which fields of its experiments can be set, as --config.training.batch_size=16.
Exit codes: 0 measured, 1 the two sides do not compute the same, the input is too slow or a run failed, 2 bad input.
"""

import datetime
import importlib
import json
import os
import sys
from pathlib import Path

from absl import flags
from rich.console import Console

from genlab.configuration import ConfigError
from launch import flags as command

CASES = ("step", "loop", "sweep", "torch", "fit", "input", "sample", "attention", "generate", "scaling", "population")
# What each family is compared with, and the module that says how; timm is installed and has no checkout.
PEERS = {"step": {"gpt": ("nanodo", "nanodo"), "vit": ("big_vision", "big_vision"), "mixer": ("big_vision",) * 2,
                  "unet": ("score_sde",) * 2},
         "sweep": {"gpt": ("nanodo", "nanodo")},
         "torch": {"gpt": ("nanoGPT", "pytorch.nanogpt"), "vit": (None, "pytorch.timm_vit"),
                   "dit": ("DiT", "pytorch.dit")}}

_PEER = flags.DEFINE_string("peer", None, "Root of a checkout of nanodo (for step and sweep), big_vision or "
                            "score_sde (step), nanoGPT or DiT (torch).")
_FAMILY = flags.DEFINE_enum("family", "gpt", ("gpt", "vit", "mixer", "unet", "dit"), "Of step (gpt, vit, mixer, "
                            "unet) and torch (gpt, vit, dit): what is trained.")
_SHAPES = flags.DEFINE_string("shapes", None, "Models as WIDTH,DEPTH,HEADS (of Mixers WIDTH,DEPTH; of U-Nets "
                              "WIDTH,IMAGE_SIZE,BLOCKS), separated by blanks.")
_TURNS = flags.DEFINE_integer("turns", 9, "How often each side takes its turn.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 0.5, "Length of a turn. A turn of loop and torch is four times as long, a run "
                              "of the sweep 40 times, as nanodo runs it.", lower_bound=0.0)
_WORKERS = flags.DEFINE_integer("workers", None, "Worker processes of the sweep; one a core by default.",
                                lower_bound=1)
_RUNS = flags.DEFINE_string("runs", None, "CSV table to fit; one of 240 made-up rows by default.")
_COLUMNS = flags.DEFINE_string("columns", "", "What that table calls its columns: params=N,tokens=D,loss=loss.")
_WHERE = flags.DEFINE_string("where", "", "Use only the rows for which this pandas expression holds.")
_ALL = flags.DEFINE_bool("all", False, "Of fit: SciPy runs all its starts and resamples (10 minutes), not one in 45.")
_MODEL = flags.DEFINE_string("model", "S/4", "Of input: the ViT that consumes the images, by size and patch.")
_COMPILE = flags.DEFINE_enum("compile", "default", ("default", "reduce-overhead", "max-autotune",
                                                   "max-autotune-no-cudagraphs"), "Of torch: torch.compile's mode.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the results.")


def main(case: str) -> int:
    """Measures, prints a table and writes --output."""
    console = Console()
    from launch.benchmarks.shapes import parse_shapes

    _check_family_and_peer(case)
    if case == "torch":  # Before JAX takes three quarters of a GPU's memory.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    shapes = parse_shapes(_SHAPES.value, _kind_of_shapes(case))
    if _OUTPUT.value and not Path(_OUTPUT.value).resolve().parent.is_dir():
        raise ConfigError(f"--output={_OUTPUT.value}: there is no folder {Path(_OUTPUT.value).parent}")
    before = os.getloadavg()[0]
    results, good = _measure(case, shapes, console)
    if _OUTPUT.value:
        document = {"case": case, **_circumstances(before), **results}
        Path(_OUTPUT.value).write_text(json.dumps(document, indent=1) + "\n")
    return 0 if good else 1


def _check_family_and_peer(case: str) -> None:
    """Raises ConfigError for a family that the case has not, and for a checkout that is missing or not asked for."""
    families = PEERS.get(case, {"gpt": (None, None)})
    if _FAMILY.value not in families:
        right = [name for name, has in PEERS.items() if _FAMILY.value in has]
        has = f"has {', '.join(families)}" if case in PEERS else "has its own models"
        raise ConfigError(f"--family={_FAMILY.value} is for {' and '.join(right)}; {case} {has}")
    peer, _ = families[_FAMILY.value]
    if peer and not _PEER.value:
        raise ConfigError(f"{case} compares with {peer}: give --peer=PATH, the root of a checkout of it")


def _measure(case: str, shapes: list, console: Console) -> tuple[dict, bool]:
    if case == "fit":
        from genlab.scaling import read_runs
        from launch.benchmarks import fit

        runs = read_runs(_RUNS.value, _COLUMNS.value, _WHERE.value) if _RUNS.value else None
        return fit.run(runs, _ALL.value, console)
    if case == "input":
        from launch.benchmarks import input as input_pipeline

        return input_pipeline.run(_MODEL.value, _TURNS.value, _SECONDS.value, console)
    if case == "sample":
        from genlab.sweeps.placement import devices_of_cores
        from launch.benchmarks import sample

        devices_of_cores()
        return sample.run(_TURNS.value, _SECONDS.value, console)
    if case in ("attention", "generate", "scaling"):
        module = importlib.import_module(f"launch.benchmarks.{case}")
        return module.run(_TURNS.value, _SECONDS.value, console)
    if case == "loop":
        from launch.benchmarks import loop

        return loop.run(shapes, _TURNS.value, 4 * _SECONDS.value, console)
    if case == "population":
        from launch.benchmarks import population

        return population.run(shapes, _TURNS.value, _SECONDS.value, console)
    _, module = PEERS[case][_FAMILY.value]
    peer = importlib.import_module(f"launch.benchmarks.{module}").load(_PEER.value)
    if case == "torch":
        from launch.benchmarks.pytorch import step as pytorch_step

        return pytorch_step.run(peer, shapes, _TURNS.value, 4 * _SECONDS.value, _COMPILE.value, console)
    if case == "step":
        from launch.benchmarks import step

        return step.run(peer, shapes, _TURNS.value, _SECONDS.value, console)
    from launch.benchmarks import sweep

    return sweep.run(peer, shapes, 40 * _SECONDS.value, _WORKERS.value, console)


def _kind_of_shapes(case: str) -> type:
    if case == "torch":
        from launch.benchmarks.pytorch import dit, nanogpt, timm_vit

        return {"gpt": nanogpt.GPT2Shape, "vit": timm_vit.ViTShape, "dit": dit.DiTShape}[_FAMILY.value]
    from launch.benchmarks import big_vision, score_sde, shapes

    return {"gpt": shapes.Shape, "vit": big_vision.ViTShape, "mixer": big_vision.MixerShape,
            "unet": score_sde.UNetShape}[_FAMILY.value]


def _circumstances(load_before: float) -> dict:
    import jax

    from genlab.sweeps.placement import available_cores
    from genlab.sweeps.record import versions

    return {"time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "versions": versions(),
            "device": jax.devices()[0].device_kind, "devices": jax.device_count(), "cores": len(available_cores()),
            "load_average_before": load_before, "xla_flags": os.environ.get("XLA_FLAGS", "")}


def _take_case() -> str:
    """The case from the command line, where it is the one argument that is no flag."""
    found = [argument for argument in sys.argv[1:] if argument in CASES]
    if any(argument.startswith(("--help", "-h", "-?")) for argument in sys.argv[1:]):
        return "step"
    if len(found) != 1:
        print(f"error: name what to measure: python -m launch.benchmark {'|'.join(CASES)}", file=sys.stderr)
        sys.exit(command.BAD_INPUT)
    sys.argv.remove(found[0])
    return found[0]


if __name__ == "__main__":
    _case = _take_case()
    command.run(lambda: main(_case))

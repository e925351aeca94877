"""Learning in context: functions and classes from the examples in the prompt, held to the best that can be done.

    python -m launch.train --config=experiments/emergence/in_context.py:regression --workdir=runs/regression
    python -m launch.report --workdir=runs/regression
    python -m launch.sweep --config=experiments/emergence/in_context.py --workdir=runs/in_context

The argument is TASK, TASK,SCALE or TASK,SCALE,WIDTH. Tasks: regression (linear functions with noise, beside ridge
regression), classification (two Gaussian classes, beside the Bayes classifier). Scales: cpu and accelerator, with the
dimensions, points and layers of Garg et al. 2022 (arXiv 2208.01066, section 3), who have no noise, and a curriculum.
launch.report draws error and accuracy against the number of examples (k_shot.png), from the run's record. The sweep
(:cpu or :accelerator) has both tasks at all widths and seeds.

Measured on one of two shared cores (all were busy), float32, Python 3.11.7, seed 0, 4,096 held-out prompts:

    regression       2 min of processor time: squared error over ridge regression's 1.000, 1.005, 1.009, 1.016, 1.044,
                     1.071, 1.070, 1.074, 1.075, 1.079, 1.082, 1.077 (+- .013) for k = 0 to 11, below least squares'
                     for k < 10 (seed 1: at most 1.150, at k = 11). With the noise's variance, .25, taken off both
                     errors, at most 1.19 (seed 1: 1.23 up to k = 10, 1.38 at k = 11)
    classification   1 min: accuracy .896 from 11 examples (Bayes .896), within .004 of the Bayes classifier's at every
                     k > 0; log-probability within .006 nats

The cpu sweep, twelve runs (one worker beside other work; the last eight took 13 minutes). Loss at widths 8, 16, 32, two
seeds each: regression 3.10 3.01, 1.55 1.51, 1.48 1.49; classification .408 .412, .334 .336, .334 .333. Classes without
an example stay at chance; with 1 to 11 examples they leave it at 2.7e9 FLOPs, together, and are sharp in both metrics:
51 to 61 % of the rise of accuracy within a doubling of compute, 51 to 57 % of log-probability's. Regression has no
sharp metric and gets no verdict.

Not measured: the accelerator's scale. In five dimensions six layers of width 32 came to 1.13 times ridge
regression's error (k = 11: 1.33) after 6,000 steps.
"""

from dataclasses import dataclass

from genlab.configuration import ConfigError
from genlab.data import Functions, GaussianClasses, LinearFunctions
from genlab.experiment import Experiment
from genlab.models.in_context import InContextTransformer
from genlab.objectives.in_context import InContext, KShot
from genlab.scaling.emergence.analysis import Emergence
from genlab.sweeps import Sweep
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training


@dataclass(frozen=True)
class Scale:
    """How large models and prompts are; classification takes half the steps."""

    dimensions: int
    points: int
    depth: int
    num_heads: int
    widths: tuple[int, ...]
    seeds: int
    steps: int
    batch_size: int
    learning_rate: float
    scan_layers: bool = False


# Depth matters most: at width 32, two layers end 1.9 times above ridge regression, three 1.5 times, four 1.1 times.
SCALES = {
    "cpu": Scale(4, 12, 4, 4, widths=(8, 16, 32), seeds=2, steps=8_000, batch_size=32, learning_rate=6e-3),
    "accelerator": Scale(20, 41, 12, 8, widths=(64, 128, 256), seeds=3, steps=500_000, batch_size=64,
                         learning_rate=1e-4, scan_layers=True),
}  # fmt: skip
TASKS = ("regression", "classification")


def get_config(argument: str = "regression", seed: int = 0) -> Experiment:
    """The experiment for TASK, TASK,SCALE or TASK,SCALE,WIDTH; by default the scale's largest width."""
    task, scale_name, width, *_ = (*argument.split(","), "", "")
    if task not in TASKS:
        raise ConfigError(f"there is no task {task!r}; there are: {', '.join(TASKS)}")
    scale = _scale(scale_name or "cpu")
    if width and not width.isdecimal():
        raise ConfigError(f"width {width!r} is no number; write TASK,SCALE,WIDTH, as {task},cpu,16")
    return _experiment(task, scale, int(width or scale.widths[-1]), seed)


def get_sweep(scale_name: str = "cpu") -> Sweep:
    """Both tasks at all widths and seeds of a scale, every evaluation of which is judged."""
    scale = _scale(scale_name)
    grid = [_experiment(task, scale, width, seed)
            for task in TASKS for width in scale.widths for seed in range(scale.seeds)]
    return Sweep(grid, analysis=Emergence(), name="in-context")


def _scale(name: str) -> Scale:
    if name not in SCALES:
        raise ConfigError(f"there is no scale {name!r}; there are: {', '.join(SCALES)}")
    return SCALES[name]


def _experiment(task: str, scale: Scale, width: int, seed: int) -> Experiment:
    regression = task == "regression"
    functions = LinearFunctions(scale.dimensions) if regression else GaussianClasses(scale.dimensions, separation=0.8)
    model = InContextTransformer(scale.dimensions, scale.points, width=width, depth=scale.depth,
                                 num_heads=scale.num_heads, scan_layers=scale.scan_layers)
    return Experiment(
        name=f"{task}-width{width}-seed{seed}",
        objective=InContext(model, loss_of="squared" if regression else "logistic"),
        data=Functions(functions, scale.points),
        optimizer=AdamW(learning_rate=scale.learning_rate),
        training=Training(steps=scale.steps if regression else scale.steps // 2, batch_size=scale.batch_size,
                          ema_decay=0.998, evaluate_steps=scale.steps // 500, evaluate_growth=1.41, writers=()),
        evaluations=(KShot(functions),),
        seed=seed,
    )

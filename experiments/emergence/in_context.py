"""Learning in context: functions and classes from the examples in the prompt, held to the best that can be done.

    python -m launch.train --config=experiments/emergence/in_context.py:regression --workdir=runs/regression
    python -m launch.report --workdir=runs/regression
    python -m launch.sweep --config=experiments/emergence/in_context.py --workdir=runs/in_context

The argument is regression (linear functions with noise, beside ridge regression), classification (two Gaussian classes,
beside the Bayes classifier), or garg, for accelerators: linear functions of 20 dimensions without noise and a model of
12 layers as Garg et al. 2022 (arXiv 2208.01066, section 3 and appendix A) have them, but without their curriculum.
launch.report draws the error and the accuracy against the number of examples (k_shot.png), from the run's record.

TO BE MEASURED
"""

from genlab.configuration import ConfigError
from genlab.data import Functions, GaussianClasses, LinearFunctions
from genlab.experiment import Experiment
from genlab.models.in_context import InContextTransformer
from genlab.objectives.in_context import InContext, KShot
from genlab.scaling.emergence.analysis import Emergence
from genlab.sweeps import Sweep
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training

DIMENSIONS, POINTS = 4, 12
FUNCTIONS = {"regression": LinearFunctions(DIMENSIONS, noise=0.5),
             "classification": GaussianClasses(DIMENSIONS, separation=0.8)}
STEPS = {"regression": 8_000, "classification": 4_000}
EXPERIMENTS = (*FUNCTIONS, "garg")


def get_config(argument: str = "regression", width: int = 32, seed: int = 0) -> Experiment:
    """The experiment of a name."""
    if argument not in EXPERIMENTS:
        raise ConfigError(f"there is no experiment {argument!r}; there are: {', '.join(EXPERIMENTS)}")
    if argument == "garg":
        return garg()
    functions = FUNCTIONS[argument]
    model = InContextTransformer(DIMENSIONS, POINTS, width=width, depth=4, num_heads=4)
    return Experiment(
        name=f"{argument}-width{width}-seed{seed}",
        objective=InContext(model, loss_of="squared" if functions.target == "value" else "logistic"),
        data=Functions(functions, POINTS),
        optimizer=AdamW(learning_rate=6e-3),
        training=Training(steps=STEPS[argument], batch_size=32, ema_decay=0.998, evaluate_steps=125,
                          evaluate_growth=1.41, writers=()),
        evaluations=(KShot(functions),),
        seed=seed,
    )


def get_sweep() -> Sweep:
    """Both tasks at three widths with three seeds each, every evaluation of which is judged."""
    grid = [get_config(task, width, seed) for task in FUNCTIONS for width in (8, 16, 32) for seed in range(3)]
    return Sweep(grid, analysis=Emergence(), name="in-context")


def garg() -> Experiment:
    """The published setting."""
    functions = LinearFunctions(20, noise=0.0)
    model = InContextTransformer(20, 41, width=256, depth=12, num_heads=8, initialization="gpt2", scan_layers=True)
    return Experiment(
        name="in-context-garg",
        objective=InContext(model),
        data=Functions(functions, 41),
        optimizer=AdamW(learning_rate=1e-4),
        training=Training(steps=500_000, batch_size=64, evaluate_steps=1_000, evaluate_growth=1.3, log_steps=1_000),
        evaluations=(KShot(functions),),
    )

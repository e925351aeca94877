"""FLOPs of a step: by the shape of its batch, and the same whatever fast operations the device has."""

import jax
import numpy as np

from genlab.models.resnet import ResNet
from genlab.objectives.classification import Classification
from genlab.scaling.counting.compute import count_flops
from genlab.training.optimizers import AdamW
from genlab.training.plans import choose_plan
from genlab.training.program import Program
from genlab.training.step import make_train_step, scan_steps
from tests.training.regression import Regression

OPTIMIZER = AdamW()


def program_of(objective):
    """A program on one device."""
    return Program(objective, OPTIMIZER, 1, None, choose_plan(8, devices=1))


def test_flops_follow_the_batch_size_back_and_forth():
    program = program_of(Regression())
    state = program.initial_state(0, OPTIMIZER.hyperparameters(20))

    def flops_of(batch_size):
        batches = {"x": np.zeros((2, batch_size, 3), np.float32), "y": np.zeros((2, batch_size, 1), np.float32)}
        program.train_steps(jax.tree.map(np.copy, state), batches)
        return program.flops_per_step

    state = jax.tree.map(np.asarray, state)
    assert [flops_of(8), flops_of(16), flops_of(8)] == [96, 192, 96]


def test_a_resnets_flops_are_those_of_plain_convolutions():
    """2 multiply-adds for each tap within the image, three times, but for the images' own gradient."""
    objective = Classification(model=ResNet(num_classes=5, image_size=8, depths=(1,), widths=(4,), stem="small"))
    program = program_of(objective)
    state = program.abstract_state(OPTIMIZER.hyperparameters(20))
    batches = {name: jax.ShapeDtypeStruct((3, *x.shape), x.dtype) for name, x in objective.dummy_batch(2).items()}
    taps = (3 * 8 - 2) ** 2
    stem, block, head = taps * 3 * 4, 2 * taps * 4 * 4, 4 * 5
    expected = 2 * 2 * (2 * stem + 3 * block + 3 * head)
    assert program.count_flops(state, batches) == expected
    as_compiled = count_flops(scan_steps(make_train_step(objective, OPTIMIZER, micro_batches=1)), state, batches)
    assert as_compiled.flops / 3 > expected

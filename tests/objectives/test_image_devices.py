"""What reads across examples gives the same numbers on one device and on eight."""

import jax
import numpy as np
import pytest

from genlab.models.resnet import ResNet
from genlab.models.simclr import SimCLR
from genlab.objectives.classification import Classification
from genlab.objectives.simclr import ContrastiveViews
from genlab.training.plans import choose_plan

RESNET = ResNet(num_classes=5, image_size=8, depths=(1,), widths=(8,), stem="small")


@pytest.mark.parametrize("objective", [
    Classification(model=RESNET, mixup=0.3), ContrastiveViews(model=SimCLR(RESNET)),
], ids=["BatchNorm and mixing", "BatchNorm and NT-Xent"])  # fmt: skip
def test_eight_devices_compute_as_one(objective):
    """BatchNorm's statistics, a mixing partner and the negatives are those of the whole batch, not of a shard."""
    rng = np.random.default_rng(0)
    shape = (1, 16, *[2] * (getattr(objective, "views", 1) > 1), 8, 8, 3)
    batches = {"image": rng.integers(0, 256, shape, np.uint8), "label": rng.integers(0, 5, (1, 16), np.int32)}
    shapes = jax.eval_shape(objective.init, jax.random.key(0))
    variables = jax.tree.map(lambda x: np.float32(rng.normal(0.1, 0.3, x.shape)), shapes)

    def loss(variables, batches):
        batch = jax.tree.map(lambda x: x[0], batches)
        value, _, updates = objective.loss(variables, batch, jax.random.key(1), True)
        return value, updates

    def on(devices):
        step = jax.jit(jax.value_and_grad(loss, has_aux=True))
        return jax.device_get(step(variables, choose_plan(16, devices=devices).put(batches)))

    def same(one, eight):
        np.testing.assert_allclose(eight, one, rtol=1e-3, atol=1e-3 * np.abs(one).max())

    jax.tree.map(same, on(1), on(8))

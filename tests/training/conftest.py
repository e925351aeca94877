"""A runner of small training runs."""

import dataclasses

import pytest

from genlab.data.batches import Batches, sequential_batches
from genlab.training.loop import train
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training
from tests.training.regression import Regression, regression_data


@pytest.fixture
def run_regression(tmp_path):
    """Runs training of a `Regression` in a folder: run_regression(folder="a", noise=0, steps=20, ...)."""

    def run(folder="run", noise=0.0, optimizer=AdamW(learning_rate=0.05), seed=0, listeners=(), # noqa: B008
            should_stop=lambda: False, **training):
        defaults = Training(steps=20, batch_size=8, steps_per_dispatch=4, writers=(), devices=1)
        data = regression_data()
        return train(
            objective=Regression(noise=noise), optimizer=optimizer, seed=seed,
            training=dataclasses.replace(defaults, **training),
            train_batches=Batches(data, training.get("batch_size", 8), seed=seed),
            held_out_batches=lambda size: sequential_batches(regression_data(20, seed=1), size),
            folder=tmp_path / folder, listeners=listeners, should_stop=should_stop)

    return run

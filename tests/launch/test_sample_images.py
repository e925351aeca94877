"""launch.sample, launch.evaluate and launch.describe on images."""

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from genlab.configuration import ConfigError
from genlab.data import Digits, Images, RandomFlip
from genlab.experiment import Experiment, run
from genlab.models.mae import MAE
from genlab.models.mixer import Mixer
from genlab.models.simclr import SimCLR
from genlab.models.vit import ViT
from genlab.objectives.calibration import Calibration
from genlab.objectives.classification import Classification
from genlab.objectives.masked_autoencoding import MaskedAutoencoding
from genlab.objectives.simclr import ContrastiveViews
from genlab.trained import Trained, load_splits, run_evaluations
from genlab.training.optimizers import AdamW
from genlab.training.plans import choose_plan
from genlab.training.program import program_for
from genlab.training.settings import Training
from launch.samples import images
from tests.launch.commands import run_command

VIT = ViT(num_classes=10, image_size=8, channels=1, patch_size=4, width=16, depth=1, num_heads=2)
CLASSIFIER = Experiment(
    objective=Classification(model=VIT),
    data=Images(source=Digits()),
    optimizer=AdamW(learning_rate=0.01),
    training=Training(steps=4, batch_size=16, evaluate_examples=32, writers=(), devices=1),
)
EXPERIMENTS = {
    "vit": CLASSIFIER,
    "mixer": dataclasses.replace(CLASSIFIER, objective=Classification(
        model=Mixer(num_classes=10, image_size=8, channels=1, patch_size=4, width=16, depth=1))),
    "mae": dataclasses.replace(CLASSIFIER, objective=MaskedAutoencoding(
        model=MAE(VIT, mask_ratio=0.5, decoder_width=16, decoder_depth=1, decoder_num_heads=2))),
    "simclr": dataclasses.replace(CLASSIFIER, objective=ContrastiveViews(model=SimCLR(VIT, projection_width=8)),
                                  data=Images(source=Digits(), augmentation=(RandomFlip(),), views=2)),
}  # fmt: skip


@functools.cache
def fresh(name: str) -> Trained:
    """A run with parameters drawn at random, its head's too, in place of trained ones, which take seconds."""
    experiment = EXPERIMENTS[name]
    program = program_for(experiment.objective, experiment.optimizer, 1, None, choose_plan(16, 1, 1))
    noise = np.random.default_rng(3)  # Some of what it says is right.
    variables = jax.tree.map(lambda x: x + noise.normal(0, 0.1, x.shape).astype(x.dtype),
                             jax.jit(experiment.objective.init)(jax.random.key(0)))
    return Trained(experiment, variables, 0, program, Path("nowhere"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("vit")
    run(CLASSIFIER, made)
    return made


def call(environment, module, *flags):
    return run_command(module, *flags, environment=environment)


@pytest.mark.parametrize(("name", "count", "attention", "panels"), [
    ("vit", 3, True, 6), ("mixer", 20, False, 24), ("mae", 3, False, 9),
])  # fmt: skip
def test_pictures_show_so_many_held_out_images(name, count, attention, panels):
    figure, line = images.draw(fresh(name), count, 0, attention)
    assert len(figure.axes) == panels
    drawn = sum(len(axes.images) > 0 for axes in figure.axes)
    assert drawn == count * {"vit": 2, "mixer": 1, "mae": 3}[name]
    if name == "mae":
        assert line == "50% of the patches masked"
    else:
        wrong = sum("\nis " in axes.get_title() for axes in figure.axes)
        assert line == f"{count - wrong} of {count} right"


def test_images_are_evenly_spaced_or_drawn_by_seed():
    trained = fresh("vit")
    spaced, drawn, other = (images.held_out_images(trained, 36, seed)["image"] for seed in (0, 1, 2))
    np.testing.assert_array_equal(
        spaced, load_splits(trained.experiment.data).held_out.gather(np.arange(0, 360, 10))["image"]
    )
    assert (drawn != other).any() and (drawn != spaced).any()


@pytest.mark.parametrize(("name", "attention", "message"), [
    ("mixer", True, "a Mixer has no attention to draw; leave --attention out"),
    ("mae", True, "a run of MaskedAutoencoding is drawn without attention"),
    ("simclr", False, "launch.sample draws runs of diffusion, classification and masked autoencoding, not of "),
])  # fmt: skip
def test_what_cannot_be_drawn_is_a_one_line_error(name, attention, message):
    with pytest.raises(ConfigError, match=message):
        images.draw(fresh(name), 3, 0, attention)


def test_an_evaluation_of_what_an_objective_does_not_give_is_a_one_line_error():
    mae = fresh("mae")
    splits = load_splits(mae.experiment.data)
    with pytest.raises(
        ConfigError, match="MaskedAutoencoding gives no probabilities, which this evaluation reads; it gives"
    ):
        run_evaluations([Calibration()], mae.program, mae.variables, splits, batch_size=16)


def test_the_commands_say_what_they_did(folder, environment):
    path = folder / "picture.png"
    made = call(environment, "launch.sample", f"--workdir={folder}", "--images=3", f"--output={path}")
    assert made.returncode == 0 and "of 3 right" in made.stdout and str(path) in made.stdout, made.stderr
    assert min(Image.open(path).size) > 100
    asked = call(
        environment, "launch.evaluate", f"--workdir={folder}", "--evaluation=knn,calibration", "--untrained"
    )
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith("step 0 of")
    assert {line.split()[0] for line in asked.stdout.splitlines()[1:]} == {
        "loss",
        "accuracy",
        "error",
        "knn_20",
        "calibration_error",
        "brier_score",
    }


@pytest.mark.parametrize(("command", "flag", "message"), [
    ("launch.sample", "--output=x.jpg", "--output=x.jpg must end in .png, .svg or .pdf"),
    ("launch.sample", "--prompt=x", "--prompt does not go with a run on images"),
    ("launch.evaluate", "--evaluation=fid", "there is no evaluation 'fid'; there are: few_shot, knn, calibration"),
])  # fmt: skip
def test_a_flag_that_does_not_fit_is_a_one_line_error(folder, environment, command, flag, message):
    result = call(environment, command, f"--workdir={folder}", flag)
    assert result.returncode == 2 and message in result.stderr and result.stderr.count("\n") == 1


def test_images_are_described_in_examples(environment):
    result = call(environment, "launch.describe", "--config=experiments/vision/vit.py:digits")
    assert result.returncode == 0, result.stderr
    assert "FLOPs per example: 3 x forward" in result.stdout and "201,034" in result.stdout
    assert "token" not in result.stdout.replace("class_token", "")

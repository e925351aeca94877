"""Runs that begin with another run: transfer, distillation, and what is refused before anything is trained."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from genlab.configuration import ConfigError, from_json, to_json
from genlab.data import Bytes, Digits, Images, RandomCrop, RandomFlip, Text
from genlab.experiment import Experiment, run
from genlab.models.gpt import GPT
from genlab.models.mae import MAE
from genlab.models.mixer import Mixer
from genlab.models.resnet import ResNet
from genlab.models.vit import ViT
from genlab.objectives.calibration import Calibration
from genlab.objectives.classification import Classification, Distillation
from genlab.objectives.masked_autoencoding import MaskedAutoencoding
from genlab.objectives.next_token import NextToken
from genlab.objectives.pixels import Pixels
from genlab.objectives.probes import FewShotProbe, NearestNeighbours
from genlab.trained import load_run
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training


class Unlabelled(Digits):
    """Digits that are not named."""

    class_names = ()


VIT = ViT(num_classes=10, image_size=8, channels=1, patch_size=4, width=16, depth=1, num_heads=2)
RESNET = ResNet(num_classes=10, image_size=8, channels=1, depths=(1,), widths=(4,), stem="small")
TRAINING = Training(
    steps=8, batch_size=16, steps_per_dispatch=4, evaluate_examples=64, writers=(), devices=1, log_steps=4
)
FIRST = Experiment(
    objective=Classification(model=VIT),
    data=Images(source=Digits()),
    training=TRAINING,
    optimizer=AdamW(learning_rate=0.01, warmup_steps=0),
)
LARGER = dataclasses.replace(
    FIRST,
    data=Images(source=Digits(), image_size=16),
    start=FIRST,
    objective=Classification(model=dataclasses.replace(VIT, image_size=16)),
    optimizer=AdamW(learning_rate=0.01, warmup_steps=0, layer_decay=0.0),
)


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """(folder, result) of a run with the run that it started from; not to be changed.

    The tests that train the same stand first, while a process still has the programs (`program_for`).
    """
    folder = tmp_path_factory.mktemp("larger")
    return folder, run(LARGER, folder)


def test_stopped_within_the_run_it_starts_from_it_goes_on_there(larger, tmp_path):
    assert run(LARGER, tmp_path / "run", should_stop=lambda: True).outcome.status == "preempted"
    assert load_run(tmp_path / "run" / "start").step == 4
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert run(LARGER, tmp_path / "run").outcome.metrics == larger[1].outcome.metrics


def test_a_finished_run_is_a_start_and_a_teacher(larger, tmp_path):
    folder, from_config = larger
    start = str(folder / "start")
    from_folder = run(dataclasses.replace(LARGER, start=start), tmp_path / "from_folder")
    assert from_folder.outcome.metrics == from_config.outcome.metrics
    student = Distillation(model=dataclasses.replace(VIT, width=8), teacher=FIRST.objective, mixup=0.2)
    distilled = dataclasses.replace(FIRST, objective=student, start=start)
    assert from_json(to_json(distilled)) == distilled
    result = run(distilled, tmp_path / "student")
    teacher = load_run(start).variables
    assert result.params < count(teacher["params"])
    found = load_run(tmp_path / "student").variables
    jax.tree.map(np.testing.assert_array_equal, found["teacher"], teacher)


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_one_config_trains_the_run_it_starts_from_and_then_itself(larger, tmp_path):
    """The trunk is frozen, so that what the second run ends with is what the first one gave it."""
    folder, result = larger
    shutil.copytree(folder, tmp_path / "run")
    assert result.outcome.status == "finished" and result.examples == 8 * 16
    first, second = load_run(tmp_path / "run" / "start"), load_run(tmp_path / "run")
    assert (first.step, second.step) == (8, 8)
    np.testing.assert_array_equal(*(each.variables["params"]["patch_embedding"]["kernel"] for each in (first, second)))
    assert second.variables["params"]["position_embedding"].shape == (1 + 16, 16)
    assert (first.variables["params"]["head"]["kernel"] != second.variables["params"]["head"]["kernel"]).any()
    shutil.rmtree(tmp_path / "run" / "start")  # A run that has begun needs its start no more.
    again = run(LARGER, tmp_path / "run")
    assert again.outcome.metrics == result.outcome.metrics and not (tmp_path / "run" / "start").exists()


def test_evaluations_stand_beside_the_loss_and_can_be_asked_for_later(tmp_path):
    probe = FewShotProbe(shots=(5,), draws=2, train_examples=0)
    result = run(dataclasses.replace(FIRST, evaluations=(probe,)), tmp_path / "run")
    trained = load_run(tmp_path / "run")
    later = trained.evaluate(evaluations=(probe, NearestNeighbours()))
    assert later["probe_5_shot"].mean == pytest.approx(result.outcome.metrics["probe_5_shot"].mean, abs=0.01)
    assert later["knn_20"].mean > 0.5
    before = trained.untrained()
    assert before.step == 0
    assert before.evaluate()["loss"].mean == pytest.approx(np.log(10), rel=1e-4), "its head starts at zero"


MASKED = MaskedAutoencoding(model=MAE(VIT, decoder_width=16, decoder_depth=1, mask_ratio=0.5))


@pytest.mark.parametrize(("changes", "evaluation", "message"), [
    ({"objective": MASKED}, Calibration(), "calibration reads probabilities, of which MaskedAutoencoding gives none"),
    ({}, FewShotProbe(train_examples=200), "25 examples a class of 10 needs 250 and more, not train_examples=200"),
    ({"data": Images(source=Digits(), max_examples=99)}, FewShotProbe(shots=(10,)), "not data.max_examples=99"),
    ({"objective": MASKED, "data": Images(source=Unlabelled())}, NearestNeighbours(), "a probe of features needs"),
])  # fmt: skip
def test_an_evaluation_that_would_fail_at_the_end_is_refused_at_the_start(changes, evaluation, message):
    with pytest.raises(ConfigError, match=message) as caught:
        dataclasses.replace(FIRST, **changes, evaluations=(evaluation,)).check()
    assert "\n" not in str(caught.value)


def test_running_statistics_and_augmentation_go_on_where_a_run_was_stopped(tmp_path):
    """A ResNet's BatchNorm, its moving average and the crops of an epoch and a half end with the same bits."""
    experiment = dataclasses.replace(
        FIRST,
        objective=Classification(model=RESNET, mixup=0.2),
        data=Images(source=Digits(), augmentation=(RandomCrop(padding=1), RandomFlip()), max_examples=80),
        training=dataclasses.replace(TRAINING, ema_decay=0.9),
    )
    assert run(experiment, tmp_path / "run", should_stop=lambda: True).outcome.status == "preempted"
    run(experiment, tmp_path / "run")
    run(experiment, tmp_path / "whole")
    a, b = load_run(tmp_path / "run"), load_run(tmp_path / "whole")
    assert a.step == b.step == 8 and set(a.variables) == {"params", "batch_stats"}
    jax.tree.map(np.testing.assert_array_equal, a.variables, b.variables)


@pytest.mark.parametrize(("experiment", "message"), [
    (dataclasses.replace(FIRST, objective=Classification(
        model=Mixer(num_classes=10, image_size=8, channels=1, patch_size=4, width=8, depth=1)), start=FIRST),
     "the run to start from is of another family: a ViT, while this model is a Mixer"),
    (dataclasses.replace(FIRST, start="nowhere"), "nowhere holds no run"),
    (dataclasses.replace(FIRST, objective=Classification(model=VIT, pixels=Pixels((0.4,), (0.2,))), start=FIRST),
     "the run to start from reads pixels with .*: set objective.pixels to the same"),
    (dataclasses.replace(FIRST, objective=Classification(model=RESNET), optimizer=AdamW(layer_decay=0.0)),
     "optimizer.layer_decay=0 freezes parameters, but not the running statistics of BatchNorm"),
    (dataclasses.replace(FIRST, objective=Distillation(model=VIT, teacher=FIRST.objective)),
     "Distillation needs a run to start from: set `start`"),
    (dataclasses.replace(FIRST, objective=Distillation(
        model=VIT, teacher=Classification(model=dataclasses.replace(VIT, depth=2))), start=FIRST),
     "the run to start from is not of the teacher's model"),
    (Experiment(objective=NextToken(GPT()), data=Text(tokenizer=Bytes()), start=FIRST),
     "NextToken cannot start from another run"),
])  # fmt: skip
def test_what_cannot_start_is_refused_before_anything_is_trained(experiment, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()

"""Every vision config can be built, fits its data's images, and has the size that it is called by."""

import functools

import jax
import pytest

from experiments.scaling import vision
from experiments.vision import mae, mixer, resnet, simclr, transfer, vit
from genlab.configuration import ConfigError, from_json, to_json
from genlab.data import Digits
from genlab.training.program import count_parameters

MODULES = {"vit": vit, "mixer": mixer, "resnet": resnet, "mae": mae, "simclr": simclr, "transfer": transfer}
PARAMETERS = {
    "vit:digits": 201_034, "vit:cifar10": 453_226, "vit:cifar10,S/4": None, "vit:imagenet": None,
    "vit:augreg,B/16": 86_567_656, "mixer:digits": None, "mixer:cifar10": 569_994, "mixer:imagenet": 59_880_472,
    "resnet:digits": None, "resnet:cifar10": 78_042, "resnet:cifar10,cifar-20": None,
    "resnet:cifar10,densenet-121": None, "resnet:imagenet": 25_557_032, "resnet:imagenet,vgg-16": 138_357_544,
    "mae:digits": None, "mae:cifar10": None, "mae:imagenet": None, "simclr:cifar10": None, "simclr:imagenet": None,
    "transfer:digits": None, "transfer:scratch": None, "transfer:distill": None, "transfer:cifar10": None,
}  # fmt: skip


@pytest.mark.parametrize("argument", PARAMETERS)
def test_a_config_is_whole(argument):
    name, _, rest = argument.partition(":")
    experiment = MODULES[name].get_config(rest)
    experiment.objective.validate()
    assert from_json(to_json(experiment)) == experiment
    if PARAMETERS[argument] is not None:
        assert count_parameters(experiment.objective)["params"] == PARAMETERS[argument]
    if isinstance(experiment.data.source, Digits):
        experiment.check()  # The other datasets' images are known once they are prepared.
    image = experiment.objective.dummy_batch(4)["image"]
    if hasattr(experiment.objective, "flops_conventions") and not name.startswith("transfer"):
        assert image.shape[-3] == image.shape[-2] == experiment.objective.model.image_size
    jax.eval_shape(experiment.objective.init, jax.random.key(0))


@pytest.mark.parametrize(("module", "argument", "message"), [
    (vit, "cifar100", "there is no dataset 'cifar100' here; there are: digits, cifar10, imagenet, augreg"),
    (vit, "imagenet,X/16", 'there is no ViT "X/16": the sizes are Ti, S, B, L, H, g, G'),
    (vit, "augreg,H/14", "augreg has no settings for 'H/14'; it has some for: Ti/16"),
    (resnet, "cifar10,resnet", "there is no network 'resnet'; there are: mini, 18, 34"),
    (transfer, "imagenet", "there is no transfer 'imagenet'; there are: digits, scratch, distill, cifar10"),
])  # fmt: skip
def test_a_wrong_argument_is_a_one_line_error(module, argument, message):
    with pytest.raises(ConfigError, match=message):
        module.get_config(argument)


def test_the_sweeps_held_out_runs_have_over_two_and_a_half_times_the_compute_of_any_other():
    sweep = vision.get_sweep()
    assert len({run.name for run in sweep.experiments}) == 32 and len(sweep.held_out) == 2

    @functools.cache
    def flops(objective):
        return objective.flops_conventions()["3 x forward"]

    def cost(run):
        return flops(run.objective) * run.training.steps * run.training.batch_size

    for family in ("vit", "mixer"):
        grid = max(cost(run) for run in sweep.experiments if run.objective.family == family)
        held_out = max(cost(run) for run in sweep.held_out if run.objective.family == family)
        assert 2.5 < held_out / grid < 4

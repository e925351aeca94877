"""Every diffusion config can be built, fits its data, and has the size that it is called by."""

import functools

import jax
import pytest

from experiments.diffusion import cifar10, digits, toys
from experiments.scaling import diffusion
from genlab.configuration import ConfigError, from_json, to_json
from genlab.data import Digits, Points
from genlab.training.program import count_parameters

MODULES = {"toys": toys, "digits": digits, "cifar10": cifar10}
CONFIGS = ("toys:moons", "toys:gaussians", "toys:checkerboard", "digits:dit", "digits:unet", "digits:dequantized",
           "cifar10:mini", "cifar10:ddpm", "cifar10:ddpm++,vp", "cifar10:ddpm++,subvp", "cifar10:ddpm++,deep-vp",
           "cifar10:ddpm++,deep-subvp", "cifar10:ncsn++,ve", "cifar10:ncsn++,deep-ve", "cifar10:edm",
           "cifar10:edm,conditional", "cifar10:flow", "cifar10:dit", "cifar10:dit,B/2")  # fmt: skip
# Millions: Ho et al. 2020, appendix B; Karras et al. 2022, appendix F.
MILLIONS = {"cifar10:ddpm": 35.7, "cifar10:edm": 55.7}


@pytest.mark.parametrize("argument", CONFIGS)
def test_a_config_is_whole(argument):
    name, _, rest = argument.partition(":")
    experiment = MODULES[name].get_config(rest)
    experiment.objective.validate()
    assert from_json(to_json(experiment)) == experiment
    if isinstance(experiment.data, Points) or isinstance(experiment.data.source, Digits):
        experiment.check()  # CIFAR-10's images are known once they are prepared.
    if argument in MILLIONS:
        assert count_parameters(experiment.objective)["params"] / 1e6 == pytest.approx(MILLIONS[argument], abs=0.06)


def test_recipes_train_as_published():
    """Updates, up to whole dispatches, and clipping: of the papers' released code."""
    updates = {"ddpm": 800_000, "ddpm++,vp": 1_300_000, "ddpm++,deep-subvp": 950_000, "ncsn++,deep-ve": 950_000,
               "edm": 390_628, "dit": 400_000}
    configs = {argument: cifar10.get_config(argument) for argument in updates}
    assert {argument: config.training.steps for argument, config in configs.items()} == updates
    unclipped = {argument for argument, config in configs.items() if config.optimizer.clip_norm is None}
    assert unclipped == {"edm", "dit"}


@pytest.mark.parametrize(("module", "argument", "message"), [
    (toys, "spiral", "there is no toy 'spiral'; there are: moons, gaussians, checkerboard"),
    (digits, "mlp", "there is no network 'mlp' here; there are: "),
    (cifar10, "glow", "there is no recipe 'glow' here; there are: mini, ddpm, ddpm++, ncsn++, edm, flow, dit"),
    (cifar10, "ddpm++,deep", "ddpm++ has no variant 'deep'; it has: vp, subvp, deep-vp, deep-subvp"),
    (cifar10, "dit,X/2", 'there is no DiT "X/2"'),
])  # fmt: skip
def test_a_wrong_argument_is_a_one_line_error(module, argument, message):
    with pytest.raises(ConfigError) as error:
        module.get_config(argument)
    assert message in str(error.value)


def test_the_sweeps_held_out_runs_have_over_two_and_a_half_times_the_compute_of_any_other():
    sweep = diffusion.get_sweep()
    assert len({run.name for run in sweep.experiments}) == 30 and len(sweep.held_out) == 2

    @functools.cache
    def flops(objective):
        return objective.flops_conventions()["3 x forward"]

    def cost(run):
        return flops(run.objective) * run.training.steps * run.training.batch_size

    for family in ("dit", "unet"):
        runs = [run for run in sweep.experiments if run.objective.family == family]
        held_out = max(cost(run) for run in sweep.held_out if run.objective.family == family)
        assert 2.5 < held_out / max(map(cost, runs)) < 4
        assert len(runs) >= 14 and min(run.training.steps for run in runs) >= 780
    jax.clear_caches()

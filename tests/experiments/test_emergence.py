"""The configs of experiments/emergence as they are written: names, roles, and what they refuse."""

import pytest

from experiments.emergence import arithmetic, mixture, transliteration
from genlab.configuration import ConfigError, from_json, to_json


@pytest.mark.parametrize("config", [arithmetic, mixture, transliteration])
@pytest.mark.parametrize("scale", ["cpu", "accelerator"])
def test_a_sweep_has_every_width_with_every_seed(config, scale):
    runs = config.get_sweep(scale).runs()
    chosen = config.SCALES[scale]
    assert len(runs) == len(chosen.widths) * chosen.seeds + len(chosen.held_out)
    assert [run.role for run in runs].count("held_out") == 1
    assert len({run.experiment.data for run in runs}) == 1  # Seeds see the same problems.
    assert from_json(to_json(runs[0].experiment)) == runs[0].experiment
    widest = max(run.experiment.objective.model.width for run in runs if run.role == "grid")
    assert all(run.experiment.objective.model.width > widest for run in runs if run.role == "held_out")


def test_an_experiment_can_run_as_it_is():
    experiment = arithmetic.get_config("cpu_worked,16")
    experiment.check()


def test_what_is_not_there_is_one_line():
    with pytest.raises(ConfigError, match="there is no scale 'gpu'; there are: cpu, accelerator"):
        mixture.get_config("gpu,32")
    with pytest.raises(ConfigError, match="'wide' is no width; give SCALE,WIDTH, such as cpu,32"):
        mixture.get_config("cpu,wide")

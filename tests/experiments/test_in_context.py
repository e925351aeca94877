"""Learning in context and induction heads: every config can run, and its evaluations stand in the record."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.emergence import in_context, induction
from genlab.configuration import ConfigError, from_json, to_json
from genlab.figures.run_figures import run_figures
from genlab.sweeps.run import run_one, single_run
from genlab.trained import load_splits, run_evaluations
from genlab.training.plans import choose_plan
from genlab.training.program import program_for


def small(experiment):
    """A few steps of it, with a small model."""
    model = dataclasses.replace(experiment.objective.model, width=8, depth=1, num_heads=2)
    training = dataclasses.replace(experiment.training, steps=16, batch_size=8, evaluate_steps=8, devices=1,
                                   ema_decay=None, evaluate_examples=16, evaluate_growth=1.0)
    data = dataclasses.replace(experiment.data, held_out_examples=64)
    evaluations = tuple(dataclasses.replace(each, **{"examples": 8} if hasattr(each, "examples") else {})
                        for each in experiment.evaluations)
    return dataclasses.replace(experiment, objective=dataclasses.replace(experiment.objective, model=model), data=data,
                               training=training, evaluations=evaluations)


@pytest.mark.parametrize(("module", "argument"), [
    *((in_context, argument) for argument in ("regression", "classification,cpu,8", "regression,accelerator")),
    *((induction, argument) for argument in ("patterns", "one_layer", "gpt2")),
])  # fmt: skip
def test_every_config_can_be_run_and_read_back(module, argument):
    experiment = module.get_config(argument)
    assert from_json(to_json(experiment)) == experiment
    if argument != "gpt2":  # Needs C4, and a division of its batch by the devices at hand.
        small(experiment).check()


def test_the_sweep_has_widths_and_seeds():
    for scale in in_context.SCALES:
        runs = [run.experiment for run in in_context.get_sweep(scale).runs()]
        assert len({run.objective.model.width for run in runs}) > 2 and len({run.seed for run in runs}) > 1


@pytest.mark.parametrize(("module", "argument", "message"), [
    (in_context, "x", "there is no task 'x'; there are: regression, classification"),
    (in_context, "regression,x", "there is no scale 'x'; there are: cpu, accelerator"),
    (in_context, "regression,cpu,x", "width 'x' is no number; write TASK,SCALE,WIDTH, as regression,cpu,16"),
    (induction, "x", "there is no experiment 'x'; there are: patterns, one_layer, gpt2"),
])  # fmt: skip
def test_an_argument_that_is_none_is_one_line(module, argument, message):
    with pytest.raises(ConfigError, match=message):
        module.get_config(argument)


def test_figures_are_made_of_the_records_evaluations(tmp_path):
    record = run_one(single_run(small(induction.get_config()), tmp_path), tmp_path)
    assert [each["step"] for each in record.evaluations] == [8, 16]
    assert list(run_figures(record.evaluations)) == ["induction", "loss_by_position"]


def test_models_of_functions_are_scored_at_every_number_of_examples():
    experiment = small(in_context.get_config())
    program = program_for(experiment.objective, experiment.optimizer, 1, None, choose_plan(8, 1, 1))
    variables = jax.jit(experiment.objective.init)(jax.random.key(0))
    found = run_evaluations(experiment.evaluations, program, variables, load_splits(experiment.data), batch_size=8)
    errors = [found[f"linear_regression_{k}shot/squared_error"] for k in range(12)]
    assert all(np.isfinite(error).all() for error in errors)
    assert found["linear_regression/worst_over_ridge"].mean > 1.5  # It has learnt nothing yet.

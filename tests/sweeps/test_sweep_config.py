import pytest
from fake_runs import experiment

from genlab.configuration import ConfigError
from genlab.sweeps.naming import names_from_differences
from genlab.sweeps.sweep import Sweep


def names(*experiments, **options):
    return [run.name for run in Sweep(experiments, **options).runs()]


def test_runs_are_named_by_what_differs():
    assert names(experiment(8, 10), experiment(8, 20)) == ["steps=10", "steps=20"]
    grid = [experiment(width, steps) for width in (4, 8) for steps in (10, 20, 30)]
    assert names(*grid) == [f"width={width}_steps={steps}" for width in (4, 8) for steps in (10, 20, 30)]
    assert names(experiment()) == ["run"]


def test_a_field_that_follows_from_another_is_not_in_the_name():
    grid = [experiment(width, step_seconds=0.16 / width) for width in (4, 8, 16)]
    assert names(*grid) == ["width=4", "width=8", "width=16"]


def test_given_names_are_kept_and_others_made():
    assert names(experiment(4, name="small"), experiment(8)) == ["small", "width=8"]


def test_runs_that_share_a_name_are_told_apart():
    grid = [experiment(width, steps, name=f"gpt-{width}") for width in (4, 8) for steps in (10, 20)]
    assert names(*grid) == ["gpt-4_steps=10", "gpt-4_steps=20", "gpt-8_steps=10", "gpt-8_steps=20"]


def test_fields_of_one_name_are_told_apart_by_their_parents():
    configs = [{"a": {"x": i}, "b": {"x": j}} for i in (1, 2) for j in (1, 2)]
    assert names_from_differences(configs) == [f"a.x={i}_b.x={j}" for i in (1, 2) for j in (1, 2)]


def test_generated_names_are_names_of_folders():
    configs = [{"optimizer": {"class": "genlab.training:AdamW"}, "path": "a/b c"},
               {"optimizer": {"class": "genlab.training:Lion"}, "path": "a/b c"}]
    assert names_from_differences(configs) == ["class=AdamW", "class=Lion"]
    assert names_from_differences([{"p": "a/b c"}, {"p": "../d"}]) == ["p=a-b-c", "p=..-d"]


def test_runs_come_in_order_with_their_roles():
    sweep = Sweep([experiment(4), experiment(8)], held_out=[experiment(16)], name="ladder")
    assert [(run.role, run.sweep) for run in sweep.runs()] == [
        ("grid", "ladder"), ("grid", "ladder"), ("held_out", "ladder")]
    assert len({run.config_hash for run in sweep.runs()}) == 3


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Sweep([]), "lists no experiment"),
    (lambda: Sweep(experiment()), "experiments is one FakeExperiment; it takes a list"),
    (lambda: Sweep([experiment(4), experiment(8), experiment(4)]).runs(), "runs 1 and 3 .* same experiment"),
    (lambda: Sweep([experiment(4, name="a"), experiment(4, name="b")]).runs(), "runs 1 and 2 .* same"),
    (lambda: Sweep([experiment(4)], held_out=[experiment(4)]).runs(), "held-out run must not be in the grid"),
    (lambda: Sweep([experiment(4, name="width=8"), experiment(8)]).runs(), "2 runs .* are called 'width=8'"),
    (lambda: Sweep([experiment(4, name="../a")]).runs(), "'../a' cannot be a folder's name"),
    (lambda: Sweep([experiment(4), experiment(-1)]).check(), "run width=-1: width -1 must be positive"),
])
def test_what_cannot_be_run_is_refused_in_one_line(make, message):
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)

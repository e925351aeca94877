"""Families side by side: each one's law, forecasts and frontier, from its own runs alone, and back from fit.json."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from genlab.configuration import from_json, override, to_json
from genlab.scaling import Analysis, ByFamily, ComputeOptimal, get_law, load_analysis, read_runs
from genlab.scaling.approaches.frontier import frontier

NEEDED = ("params", "loss")
QUICK = ComputeOptimal(laws=("chinchilla",), tokens="examples", starts=4, resamples=0, sensitivity=False)


def run(config, table):
    return config.run(read_runs(table, needed=NEEDED))


@pytest.mark.parametrize("name", ["vit", "mixer"])
def test_each_family_has_its_own_law_of_size_and_examples(vision_families, vision_truth, name):
    analysis = vision_families.families[name].analysis
    assert analysis.choice == "chinchilla" and analysis.columns == {"tokens": "examples"}
    assert len(analysis.fit.rows_used) == 16 and all(row.startswith(name) for row in analysis.fit.rows_used)
    for exponent in ("alpha", "beta"):
        assert analysis.fit.parameters[exponent] == pytest.approx(vision_truth[name][exponent], abs=0.03)
    (told,) = analysis.forecasts
    assert told["name"] == f"{name}-600000-600000" and told["tokens"] == 6e5
    assert abs(told["relative_error"]) < 0.02 and told["covered"]


def test_an_example_has_no_rule_for_what_it_costs(vision_families):
    fit = vision_families.families["vit"].analysis.fit
    assert fit.cost.params_exponent == pytest.approx(0.97)
    assert not any("6 params tokens" in warning or "unique_tokens" in warning for warning in fit.warnings)


@pytest.mark.parametrize("column", ["loss", "error"])
def test_the_frontier_of_a_column_is_fitted_and_foretells_the_held_out_run(vision_table, vision_families, column):
    found = vision_families.families["mixer"].frontiers[column]
    grid = vision_table[(vision_table["family"] == "mixer") & (vision_table["role"] == "grid")].reset_index()
    values = grid["loss"] if column == "loss" else [json.loads(cell)["error"] for cell in grid["metrics"]]
    best = frontier(grid["flops"].to_numpy(), np.array(values), convex=False)
    assert set(found.fit.rows_used) == set(grid["name"][best]) and found.choice == "zhai"
    (told,) = found.forecasts
    assert told["name"] == "mixer-600000-600000" and told["x"] == told["flops"]
    assert abs(told["relative_error"]) < 0.15 and told["covered"]  # few runs: this one is not the one that counts


def test_the_law_of_a_frontier_is_recovered_whatever_lies_above_it():
    law, truth = get_law("zhai"), {"E": 0.1, "b": 300.0, "d": 3e10, "c": 0.25}
    flops = np.geomspace(1e9, 1e15, 24)
    error = law.predict(law.vector(truth), x=flops)
    on_it = pd.DataFrame({"params": flops**0.5, "examples": flops**0.5 / 6, "flops": flops, "error": error})
    above = on_it.assign(error=1.2 * error, flops=1.01 * flops)
    table = pd.concat([on_it, above], ignore_index=True).assign(family="vit", loss=lambda frame: frame["error"] + 1.0)
    quick = dataclasses.replace(QUICK, laws=("kaplan_tokens",))  # one line of sizes tells no law of two variables
    fit = run(ByFamily(quick, frontier=("error",)), table).families["vit"].frontiers["error"].fit
    assert fit.rows_used == list(range(24))
    for name, value in truth.items():
        assert fit.parameters[name] == pytest.approx(value, rel=1e-3)


def test_a_family_does_not_see_another(vision_table):
    changed = vision_table.copy()
    changed.loc[changed["family"] == "mixer", "loss"] *= 3
    config = ByFamily(QUICK, frontier=())
    first, second = (run(config, table).families["vit"].analysis.fit for table in (vision_table, changed))
    assert first.parameters == second.parameters


def test_fit_json_comes_back(vision_families, tmp_path):
    vision_families.save(tmp_path / "fit.json")
    again = load_analysis(tmp_path / "fit.json")
    assert json.dumps(again.to_json()) == json.dumps(vision_families.to_json())
    assert list(again.families) == ["vit", "mixer"] and again.by == "family"
    vision_families.families["vit"].analysis.save(tmp_path / "one.json")
    assert isinstance(load_analysis(tmp_path / "one.json"), Analysis)
    (tmp_path / "none.json").write_text('{"families": {"vit": {}}}')
    with pytest.raises(ValueError, match="no analysis of genlab"):
        load_analysis(tmp_path / "none.json")


def test_the_config_is_a_config(vision_config):
    assert from_json(to_json(vision_config)) == vision_config
    assert override(vision_config, "analysis.resamples", "7").analysis.resamples == 7
    assert override(vision_config, "frontier", "error").frontier == ("error",)


def test_few_runs_on_a_frontier_cannot_tell_its_law(vision_table):
    largest = vision_table[(vision_table["family"] == "vit") & (vision_table["params"] == 3e5)]
    few = pd.concat([largest, largest.iloc[:1].assign(examples=1e4, flops=1e10, loss=5.0, params=2e5, name="least")])
    config = ByFamily(dataclasses.replace(QUICK, laws=("kaplan_tokens",)))
    family = run(config, few).families["vit"]
    (said,) = family.warnings
    assert said.startswith("5 runs on the frontier of loss cannot tell the 4 parameters of zhai")
    assert said.endswith("that of the kaplan_tokens law")
    assert any("few rows: 5 for the 4 parameters" in warning for warning in family.frontiers["loss"].fit.warnings)
    family = run(config, largest).families["vit"]
    assert not family.frontiers and "no law of the frontier of loss: zhai has 4 parameters" in family.warnings[0]


def test_a_family_that_cannot_be_fitted_is_refused_by_name(vision_table):
    kept = vision_table[(vision_table["family"] == "vit") | (vision_table["params"] == 3e5)]
    found = run(ByFamily(QUICK, frontier=()), kept)
    assert list(found.families) == ["vit"] and "only 4 usable rows" in found.refused["mixer"]
    with pytest.raises(ValueError, match=r"^mixer: chinchilla has 5 parameters.*only 4 usable rows"):
        run(ByFamily(QUICK), kept[kept["family"] == "mixer"])


def test_columns_that_are_not_there_are_named(vision_table):
    with pytest.raises(ValueError, match="no column 'kind' to group by"):
        run(ByFamily(QUICK, by="kind"), vision_table)
    with pytest.raises(ValueError, match="'error' is one name; give a tuple"):
        ByFamily(QUICK, frontier="error")
    with pytest.raises(ValueError, match="no column 'eror'"):
        run(ByFamily(QUICK, frontier=("eror",)), vision_table)

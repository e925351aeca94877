"""launch.report: figures and page from the table alone."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from genlab.configuration import ConfigError, to_json
from genlab.scaling import ComputeOptimal
from genlab.sweeps.record import RunRecord, write_record
from launch.report import default_analysis, read_analysis, read_json, read_table, report_run
from tests.launch.commands import run_command


def report(workdir, *arguments):
    done = run_command("launch.report", f"--workdir={workdir}", *arguments)
    return done.returncode, done.stdout, done.stderr


def write_table(workdir, rows=12):
    """A table as anybody may have it: params, tokens, loss and a held-out run."""
    params, tokens = np.meshgrid([1e4, 2e4, 4e4], [1e6, 2e6, 4e6, 8e6])
    params, tokens = np.append(params.ravel()[:rows], 8e4), np.append(tokens.ravel()[:rows], 1.6e7)
    loss = 1.0 + 30 / params**0.4 + 700 / tokens**0.5
    roles = ["grid"] * (len(params) - 1) + ["held_out"]
    table = pd.DataFrame({"params": params, "tokens": tokens, "loss": loss, "role": roles})
    table.to_csv(workdir / "runs.csv", index=False)


def test_a_table_alone_becomes_law_figures_and_page_and_again_from_fit_json(tmp_path):
    write_table(tmp_path)
    analysis = ComputeOptimal(laws=("chinchilla",), resamples=20, starts=16)
    sweep = {"name": "mine", "analysis": to_json(analysis), "runs": []}
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    code, out, error = report(tmp_path)
    assert (code, error) == (0, "")
    for name in ("report.html", "loss_vs_compute.png", "loss_vs_compute.svg", "isoflop.svg", "fit.json"):
        assert (tmp_path / name).exists(), name
    assert f"written {tmp_path / 'report.html'}" in out
    saved = json.loads((tmp_path / "fit.json").read_text())
    assert saved["law"] == "chinchilla" and list(saved["fits"]) == ["chinchilla"]
    assert saved["parameters"]["alpha"] == pytest.approx(0.4, rel=1e-3)

    page = (tmp_path / "report.html").read_text()
    (tmp_path / "report.html").unlink()
    before = (tmp_path / "fit.json").read_bytes()
    assert report(tmp_path)[0] == 0
    assert (tmp_path / "report.html").read_text() == page
    assert (tmp_path / "fit.json").read_bytes() == before


def test_families_are_analysed_and_drawn_from_the_files_alone(tmp_path, vision_table, vision_config):
    vision_table.to_csv(tmp_path / "runs.csv", index=False)
    quick = dataclasses.replace(vision_config, analysis=dataclasses.replace(vision_config.analysis, resamples=0))
    sweep = {"name": "vision", "analysis": to_json(dataclasses.replace(quick, frontier=())), "runs": []}
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    assert report(tmp_path)[::2] == (0, "")
    assert list(read_analysis(tmp_path / "fit.json").families) == ["vit", "mixer"]  # so it is drawn again without a fit
    page = (tmp_path / "report.html").read_text()
    assert "<b>vit.</b>" in page and "<b>mixer.</b>" in page
    assert (tmp_path / "mixer_law_fit.png").exists() and (tmp_path / "loss_vs_compute.png").exists()


def test_a_table_that_counts_examples_gets_a_law_of_examples(vision_table):
    assert default_analysis(vision_table) == ComputeOptimal(tokens="examples")
    assert default_analysis(vision_table.assign(tokens=1e6)) == ComputeOptimal()


def test_too_few_runs_for_a_law_are_reported_all_the_same(tmp_path):
    write_table(tmp_path, rows=3)
    code, _, error = report(tmp_path)
    assert code == 1
    assert error.startswith("the table could not be analysed: ") and error.count("\n") == 1
    assert (tmp_path / "report.html").exists()


def test_a_folder_without_a_table_is_one_line_and_exit_code_2(tmp_path):
    code, out, error = report(tmp_path)
    assert (code, out) == (2, "")
    assert error == f"error: {tmp_path} has no runs.csv: give the folder of a sweep with --workdir\n"


@pytest.mark.parametrize("text, complaint", [("", "is not a table"), ("params,loss\n", "has no run")])
def test_an_empty_table_is_refused(tmp_path, text, complaint):
    (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        read_table(tmp_path / "runs.csv")


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "sweep.json").write_text("{")
    (tmp_path / "fit.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"sweep.json cannot be read"):
        read_json(tmp_path / "sweep.json")
    with pytest.raises(ConfigError, match=r"fit.json cannot be read .*--refit"):
        read_analysis(tmp_path / "fit.json")
    assert read_json(tmp_path / "none.json") is None


def test_a_single_run_has_the_figures_of_its_evaluations(tmp_path):
    metrics = [{f"squares_{k}shot/squared_error": 2.0 - k / step for k in range(3)} for step in (8, 16)]
    evaluations = tuple({"step": step, "examples": step, "flops": 1.0, "loss": 1.0, "metrics": values}
                        for step, values in zip((8, 16), metrics, strict=True))
    write_record(RunRecord(name="mine", status="finished", evaluations=evaluations), tmp_path)
    code, out, error = report(tmp_path)
    assert (code, error) == (0, "")
    assert out.splitlines() == [f"written {tmp_path / 'k_shot.png'}", f"written {tmp_path / 'k_shot.svg'}"]
    assert (tmp_path / "k_shot.png").stat().st_size > 5_000

    write_record(RunRecord(name="mine", status="finished", evaluations=({**evaluations[0], "metrics": {}},)), tmp_path)
    with pytest.raises(ConfigError, match="no evaluation of .* has what a figure shows: train with `evaluations`"):
        report_run(tmp_path)

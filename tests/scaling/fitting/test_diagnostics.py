"""Each warning appears where it should, and not in a good table."""

import re

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.fitting.diagnostics import fit_warnings, table_warnings
from genlab.scaling.fitting.fit_law import fit_law
from genlab.scaling.runs import Runs

JOINT = ("params", "tokens")


def good():
    params, tokens = (g.ravel() for g in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6)))
    loss = 1.8 + 400 * params**-0.35 + 2000 * tokens**-0.37
    return pd.DataFrame({"params": params, "tokens": tokens, "loss": loss})


def test_a_good_table_has_no_warning():
    assert table_warnings(JOINT, Runs(good(), embeddings="included")) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t[(t.params < 3e7)], "small range of params"),
        (lambda t: t[(t.params < 3e7)], "only 2 different values of params"),
        (lambda t: t[t.tokens < 3e9], "small range of tokens"),
        (lambda t: t.assign(tokens=20 * t.params), "tokens per parameter is constant .20"),
        (lambda t: t.assign(tokens=20 * t.params**1.2), "move together"),
        (lambda t: t.assign(flops=6e-3 * t.params * t.tokens), "flops are 0.001 times 6 params tokens"),
        (lambda t: pd.concat([t, t.iloc[:3]]), "3 rows repeat another row's params, tokens, loss"),
        (lambda t: t.assign(epochs=[20.0] * 6 + [1.0] * 30), "6 rows repeat their data .up to 20 epochs"),
        (lambda t: t.assign(unique_tokens=t.tokens / 5), "36 rows repeat their data .up to 5 epochs"),
        (lambda t: t.assign(flops=6 * t.params * t.tokens * ([1e-15] * 2 + [1] * 34)), r"2 rows \(0, 1\): flops"),
        (lambda t: t.assign(steps=[5] * 3 + [10] * 33, steps_planned=10), r"3 rows \(0, 1, 2\) stopped before"),
        (lambda t: t.assign(name=t.params), "36 rows are points along 6 runs .same name, several tokens"),
    ],
)
def test_warnings_about_a_table(change, words):
    found = table_warnings(JOINT, Runs(change(good()).reset_index(drop=True), embeddings="included"))
    assert any(re.search(words, warning) for warning in found), found


@pytest.mark.parametrize(("floor", "words"), [(-0.2, "E is at its bound"), (0.0, "E is not identifiable")])
def test_a_floor_that_the_table_does_not_show_is_named(floor, words):
    table = good()
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(len(table)))
    table["loss"] = (floor + 60 * table.params**-0.2 + 300 * table.tokens**-0.25) * noise
    fit = fit_law("chinchilla", Runs(table), starts=8, resamples=100)
    assert words in " | ".join(fit.warnings)


def test_few_rows_and_vague_parameters_are_named():
    rng = np.random.default_rng(0)
    table = good().iloc[::3].assign(loss=lambda t: t.loss * np.exp(0.02 * rng.standard_normal(len(t))))
    text = " | ".join(fit_law("chinchilla", Runs(table), starts=8, resamples=100).warnings)
    assert "few rows: 12 for the 5 parameters of chinchilla" in text
    assert "poorly determined" in text


def test_what_the_certificate_says_is_put_in_words():
    fit = fit_law("chinchilla", Runs(good(), embeddings="included"), starts=4, resamples=0)
    fit.certificate.update(
        converged=False, share_of_starts=0.05, condition_number=1e13, resamples=100, resamples_converged=90
    )
    text = " | ".join(fit_warnings(fit, Runs(good(), embeddings="included")))
    for words in ("did not converge: its", "only 5 % of the starts", "ill-conditioned", "10 of 100 bootstrap"):
        assert words in text


def test_whether_params_counts_embeddings_must_be_known():
    assert any("embeddings" in line for line in table_warnings(JOINT, Runs(good())))
    stated = good().assign(params_non_embedding=1e6)
    assert not any("embeddings" in line for line in table_warnings(JOINT, Runs(stated)))

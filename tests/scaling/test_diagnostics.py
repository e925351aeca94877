"""Each warning appears where it should, and not in a good table."""

import re

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.diagnostics import fit_warnings, table_warnings
from genlab.scaling.fitting import fit_law
from genlab.scaling.runs import Runs

JOINT = ("params", "tokens")


def good():
    params, tokens = (g.ravel() for g in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6)))
    loss = 1.8 + 400 * params**-0.35 + 2000 * tokens**-0.37
    return pd.DataFrame({"params": params, "tokens": tokens, "loss": loss})


def test_a_good_table_has_no_warning():
    assert table_warnings(JOINT, Runs(good())) == []


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
    ],
)
def test_warnings_about_a_table(change, words):
    found = table_warnings(JOINT, Runs(change(good()).reset_index(drop=True)))
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
    fit = fit_law("chinchilla", Runs(good()), starts=4, resamples=0)
    fit.certificate.update(
        converged=False, share_of_starts=0.05, condition_number=1e13, resamples=100, resamples_converged=90
    )
    text = " | ".join(fit_warnings(fit, Runs(good())))
    for words in ("did not converge: its", "only 5 % of the starts", "ill-conditioned", "10 of 100 bootstrap"):
        assert words in text

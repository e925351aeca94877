"""The studies of public tables of abilities, without the tables: their flags, their checks, what is refused."""

import pandas as pd

from experiments.emergence import published
from genlab.scaling.emergence.verdict import KINDS


def test_chance_levels_and_questions_come_from_the_metadata(tmp_path):
    tasks = ("mmlu", "mmlu_zeroshot", "bbq", "jeopardy")
    counts = [14042, 14042, 58492, 2117]
    about = pd.DataFrame({"Eval Task": tasks, "Random baseline": [25, 25, 50, 0], "#datapoints": counts})
    about.to_csv(tmp_path / "gadre_eval_metadata.csv", index=False)
    flags = published.gadre(tmp_path)
    assert "--chance=mmlu=0.25,mmlu_zeroshot=0.25,bbq=0.5,jeopardy=0" in flags
    assert "--examples=mmlu=14042,mmlu_zeroshot=14042,bbq=58492,jeopardy=2117" in flags


def test_checks_fail_where_numbers_do(capsys):
    verdicts = {planted: {kind: int(kind == planted) for kind in KINDS} for planted in KINDS[:2]}
    found = {"tables_departing": 0.06, "tables_emergent": 0.01, "verdicts": verdicts}
    assert [check.good for check in published.check_simulated(found)] == [False, True, True, True]
    told = {task: {} for task, _ in published.SIGMOIDS}
    for (task, metric), bound in published.SIGMOIDS.items():
        told[task][metric] = {"error": bound * (1.1 if metric == "bleu" else 0.9), "forecasts": [1, 2]}
    good = [check.good for check in published.check_forecasts({"forecasts": told})]
    assert good == [True, True, True, False, True, True]


def test_an_unknown_study_is_one_line(capsys):
    assert published.main(["--only=gadres"]) == 2
    assert "no study is called 'gadres'; there are: models, forecasts, gadre, simulated" in capsys.readouterr().err

"""Names of metrics in columns."""

import pytest

from genlab.scaling.emergence.metrics import METRICS, SHARP, SMOOTH, task_and_metric


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("addition_2/exact_match", ("addition_2", "exact_match")),
        ("words_2_exact_match", ("words_2", "exact_match")),
        ("addition em", ("addition", "exact_match")),
        ("acc_mmlu", ("mmlu", "accuracy")),
        ("ipa_bleu", ("ipa", "bleu")),
        ("HellaSwag", ("HellaSwag", "accuracy")),
        ("acc", ("acc", "accuracy")),
        ("sums_token_accuracy", ("sums", "token_accuracy")),
        ("a/log_probability", ("a", "log_probability")),
    ],
)
def test_a_column_says_its_task_and_metric(name, expected):
    assert task_and_metric(name) == expected


def test_verdicts_rest_on_metrics_of_the_right_kind():
    assert all(METRICS[name].sharp for name in SHARP) and not any(METRICS[name].sharp for name in SMOOTH)
    assert METRICS["log_probability"].higher_is_better and not METRICS["edit_distance"].higher_is_better

"""The figures of one run's evaluations: every line stands for numbers that the record has."""

import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.figures.induction import induction
from genlab.figures.k_shot import k_shot
from genlab.figures.run_figures import run_figures

STEPS = tuple(8 * 2**i for i in range(9))
EVALUATIONS = [
    {"step": step, "tokens": 100 * step, "flops": 1e9 * step, "loss": 3 - 0.1 * i, "metrics": {
        "induction/first_loss": 4.0, "induction/repeated_loss": 4.0 - 0.5 * i, "induction/examples": 8.0,
        **{f"induction/{score}{what}": value for score in ("prefix_matching", "previous_token") for what, value in (
            ("", 0.1 * i), ("/chance", 0.05), ("_block_0_head_0", 0.02), ("_block_0_head_1", 0.04),
            ("_block_1_head_0", 0.1 * i), ("_block_1_head_0_se", 0.01))},
        **{f"regression{f'_{k}shot' if k else ''}/squared_error{what}": value for k in (0, 1, 10) for what, value in (
            ("", 5.0 - 0.1 * i - 0.2 * k), ("_se", 0.1), ("/chance", 5.0), ("/ridge", 4.0 - 0.3 * k),
            ("/ridge_se", 0.1), ("/over_ridge", 1.1))},
        "regression_1shot/examples": 64.0, "regression_10shot/examples": 64.0, "addition_2/exact_match": 0.5,
        "loss_by_position/1_to_1": 4.0, "loss_by_position/2_to_5": 3.0 - 0.1 * i, "loss_by_position/6_to_20": 2.0,
        "loss_by_position/in_context_score": -0.1 * i,
    }} for i, step in enumerate(STEPS)
]  # fmt: skip


@pytest.fixture(scope="module")
def figures():
    return run_figures(EVALUATIONS[::-1])


def lines(axes):
    return {line.get_label(): np.column_stack(line.get_data()).astype(float) for line in axes.lines}


def test_a_run_has_the_figures_that_its_evaluations_hold(figures):
    assert list(figures) == ["induction", "k_shot", "loss_by_position"]
    without = [{**each, "metrics": {"addition_2/exact_match": 0.5}} for each in EVALUATIONS]
    assert run_figures(without) == {}
    with pytest.raises(ConfigError, match="the run has no evaluation yet"):
        run_figures([])


def test_losses_and_every_heads_scores_stand_over_one_axis(figures):
    losses, matching, previous = figures["induction"].axes
    assert lines(losses)["held-out data"].tolist() == [[100 * s, 3 - 0.1 * i] for i, s in enumerate(STEPS)]
    assert lines(losses)["random pattern, repeated"][-1].tolist() == [204_800, 0.0]
    assert len(matching.lines) == 4  # Three heads, and chance.
    np.testing.assert_allclose(lines(matching)["layer 1, head 0"][:, 1], 0.1 * np.arange(9))
    assert previous.get_xlabel() == "training tokens" and previous.get_shared_x_axes().joined(losses, previous)


def test_a_metric_stands_against_k_beside_its_references(figures):
    (axes,) = figures["k_shot"].axes
    found = lines(axes)
    assert axes.get_title(loc="left") == "regression" and axes.get_ylabel() == "squared error"
    assert set(found) == {"step 8", "step 32", "step 128", "step 512", "step 2,048", "chance", "ridge"}
    np.testing.assert_allclose(found["step 2,048"], [[0, 4.2], [1, 4.0], [10, 2.2]])
    np.testing.assert_allclose(found["ridge"], [[0, 4.0], [1, 3.7], [10, 1.0]])


def test_losses_stand_by_position_and_the_score_over_training(figures):
    by_place, over_training = figures["loss_by_position"].axes
    np.testing.assert_allclose(lines(by_place)["step 2,048"], [[1, 4], [10**0.5, 2.2], [120**0.5, 2]])
    np.testing.assert_allclose(over_training.lines[0].get_ydata(), -0.1 * np.arange(9))


def test_no_curve_over_k_is_one_line():
    single = [{**EVALUATIONS[0], "metrics": {"regression_3shot/squared_error": 1.0}}]
    with pytest.raises(ConfigError, match="no metric of the run was taken with more than one number of examples"):
        k_shot(single)
    with pytest.raises(ConfigError, match='no evaluation of the run has "induction/prefix_matching" among its metrics'):
        induction(single)


def test_of_a_task_with_many_metrics_the_sharp_one_stands_against_examples():
    metrics = {f"addition_2{shots}/{name}": 0.5 for shots in ("", "_2shot")
               for name in ("exact_match", "brier_score", "edit_distance", "exact_match/chance")}
    (figure,) = run_figures([{**EVALUATIONS[0], "metrics": metrics}]).values()
    assert [axes.get_ylabel() for axes in figure.axes] == ["exact match"]

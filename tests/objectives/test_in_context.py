"""Learning in context: what a prediction may see, and scores of a model that is the best there is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.data import Points
from genlab.data.functions import Functions, GaussianClasses, LinearFunctions
from genlab.models.in_context import InContextTransformer
from genlab.objectives.in_context import InContext, KShot, predictions_of

MODEL = InContextTransformer(dimensions=3, points=5, width=8, depth=1, num_heads=2)
LINEAR, CLASSES = LinearFunctions(3), GaussianClasses(3)
DATA = {LINEAR: Functions(LINEAR, 5, held_out_examples=400), CLASSES: Functions(CLASSES, 5, held_out_examples=400)}
OBJECTIVES = {LINEAR: InContext(MODEL), CLASSES: InContext(MODEL, "logistic")}


class Says(nn.Module):
    """A model that says the same of every point."""

    answer: float = 0.0
    dimensions: int = 3
    points: int = 5
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x_BKD, y_BK):
        return jnp.zeros_like(y_BK) + self.answer


def held_out(functions):
    source = DATA[functions].load().held_out
    return source.gather(np.arange(len(source)))


def score(functions, says=None, shots=()):
    """KShot of a model that says `says` of the held-out prompts, or else the best there is."""
    examples = held_out(functions)
    best = next(iter(functions.predictions(examples["x"], examples["y"]).values()))
    answers = {"said": best if says is None else np.full_like(best, says), **examples}
    return KShot(functions, shots).run(lambda split, read, count: answers)


def test_a_prediction_sees_the_points_before_and_its_own_but_not_its_target():
    variables = jax.jit(OBJECTIVES[LINEAR].init)(jax.random.key(0))
    x, y = (np.repeat(held_out(LINEAR)[name][:1], 11, axis=0) for name in "xy")
    for k in range(5):  # Row 2k + 1 has another point k, row 2k + 2 another target.
        x[2 * k + 1, k] += 3
        y[2 * k + 2, k] += 3
    said = np.asarray(jax.jit(MODEL.apply)(variables, x, y))
    changed = np.abs(said - said[0]) > 1e-6
    np.testing.assert_array_equal(changed[1::2].T, np.tri(5, dtype=bool))
    np.testing.assert_array_equal(changed[2::2].T, np.tri(5, k=-1, dtype=bool))


@pytest.mark.parametrize("functions", [LINEAR, CLASSES])
def test_the_loss_is_the_mean_over_points_and_real_examples(functions):
    objective = dataclasses.replace(OBJECTIVES[functions], model=Says(0.3))
    examples = {name: array[:6] for name, array in held_out(functions).items()}
    y = examples["y"][:4]
    expected = np.square(y - 0.3) if functions is LINEAR else np.log1p(np.exp(-0.3 * y))
    weighted = examples | {"example_weight": np.array([1, 1, 1, 1, 0, 0], np.float32)}
    loss, metrics, updates = objective.loss({}, weighted, None, False)
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    assert updates == {} and metrics["loss"].total.shape == (6,)
    if functions is CLASSES:
        np.testing.assert_allclose(metrics["accuracy"].mean(), (y > 0).mean(), rtol=1e-6)


def test_who_regresses_by_ridge_has_ridges_error_at_every_k():
    found = score(LINEAR)
    for k in range(5):
        task = f"linear_regression_{k}shot"
        assert found[f"{task}/squared_error"] == found[f"{task}/squared_error/ridge"]
        assert found[f"{task}/squared_error/over_ridge"] == pytest.approx((1.0, 0.0))
        assert found[f"{task}/examples"].mean == 400
    assert found["linear_regression/worst_over_ridge"].mean == pytest.approx(1.0)
    errors = [found[f"linear_regression_{k}shot/squared_error"].mean for k in range(5)]
    assert errors == sorted(errors, reverse=True)


def test_who_knows_nothing_is_at_chance():
    found = score(LINEAR, says=0.0, shots=(0, 4))
    assert {name.split("/")[0] for name in found} == {"linear_regression_0shot", "linear_regression_4shot",
                                                      "linear_regression"}
    mean, error = found["linear_regression_4shot/squared_error"]
    assert abs(mean - found["linear_regression_4shot/squared_error/chance"].mean) < 4 * error
    assert found["linear_regression/worst_over_ridge"] == found["linear_regression_4shot/squared_error/over_ridge"]
    tossed = score(CLASSES, says=0.0)
    for metric in ("multiple_choice_grade", "log_probability", "brier_score"):
        found, chance = (tossed[f"gaussian_classes_2shot/{metric}{what}"].mean for what in ("", "/chance"))
        assert found == pytest.approx(chance)


def test_the_bayes_classifier_gains_with_every_example():
    found = score(CLASSES)
    grades = [found[f"gaussian_classes_{k}shot/multiple_choice_grade"].mean for k in range(5)]
    assert grades[0] == 0.5 and grades[4] > grades[1] > 0.52
    assert found["gaussian_classes_4shot/multiple_choice_grade/bayes"].mean == grades[4]


def test_what_is_collected_is_what_the_model_says():
    batch = {name: array[:2] for name, array in held_out(LINEAR).items()}
    found = predictions_of(InContext(Says(0.3)), {}, batch)
    np.testing.assert_allclose(found["said"], np.full((2, 5), 0.3), rtol=1e-6)
    assert found["x"] is batch["x"] and found["y"] is batch["y"]


@pytest.mark.parametrize(("check", "message"), [
    (lambda: OBJECTIVES[LINEAR].check_data(Points()), "learning in context needs functions .* not Points"),
    (lambda: OBJECTIVES[LINEAR].check_data(Functions(LinearFunctions(4), 5)), "points have 4 dimensions, but"),
    (lambda: OBJECTIVES[LINEAR].check_data(Functions(LINEAR, 6)), "data.points=6 are more than the model's points 5"),
    (lambda: OBJECTIVES[LINEAR].check_data(DATA[CLASSES]), 'GaussianClasses say a class; set loss_of="logistic"'),
    (lambda: InContext(MODEL, "absolute").validate(), 'loss_of must be "squared" or "logistic", not "absolute"'),
    (lambda: dataclasses.replace(MODEL, points=0).validate(), "points must be at least 1, not 0"),
    (lambda: KShot(LINEAR).check(OBJECTIVES[CLASSES], DATA[CLASSES]), "must be of the data's own functions"),
    (lambda: KShot(LINEAR, (5,)).check(OBJECTIVES[LINEAR], DATA[LINEAR]), "shots=5: of 5 points, 0 to 4 can be seen"),
    (lambda: KShot(LINEAR).check(None, DATA[LINEAR]), "KShot is of models that learn in context, not of NoneType"),
])  # fmt: skip
def test_bad_input_is_one_line(check, message):
    with pytest.raises(ConfigError, match=message) as error:
        check()
    assert "\n" not in str(error.value)


def test_other_points_than_the_models_are_one_line():
    with pytest.raises(ConfigError, match="at most 5 points of 3 dimensions, not 6 of 3"):
        jax.eval_shape(MODEL.init, jax.random.key(0), jnp.zeros((1, 6, 3)), jnp.zeros((1, 6)))

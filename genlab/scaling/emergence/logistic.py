"""Logistic curves of a score between chance and 1, with families of models that differ by an offset.

    score = chance + (1 - chance) sigmoid(offset + slopes . x + offset of the family)

The fit maximises the binomial likelihood (scores as counts of a few trials: models scatter about a curve far more than
thousands of questions would let them) with normal priors: on the families' offsets, so that a family with few models is
drawn to the others (partial pooling; Gelman and Hill 2007, chapter 12), and a wide one on the slopes. With the
likelihood, a score of .002 below .02 counts; least squares look at the large ones alone.
"""

import dataclasses

import numpy as np

_TRIALS = 20.0  # that a score counts as
_FAMILY_SD = 0.7  # logits, of a family's offset
_SLOPE_SD = 20.0  # logits per standard deviation of an input: wide, so that separable scores do not run away
_STEPS = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Logistic:
    """A fitted curve.

    Attributes:
      coefficients: offset, slopes, the families' offsets.
      centre, scale: of the inputs, [inputs].
      families: names, in the order of their offsets; () for none.
      chance: the least score.
    """

    coefficients: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    families: tuple[str, ...]
    chance: float

    def predict(self, inputs: np.ndarray, family: np.ndarray | None = None) -> np.ndarray:
        """Scores [rows] at inputs [rows, inputs]; families that the fit did not see have no offset."""
        z = _design(inputs, family, self.centre, self.scale, self.families) @ self.coefficients
        return self.chance + (1 - self.chance) * _sigmoid(z)


def fit_logistic(
    inputs: np.ndarray, score: np.ndarray, chance: float = 0.0, family: np.ndarray | None = None
) -> Logistic:
    """Fits a curve by Fisher's scoring.

    Args:
      inputs: [rows, inputs], logarithms of compute or the like.
      score: [rows], 0 to 1.
      chance: the least score.
      family: names [rows], or None for no families.
    """
    centre, scale = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), 1e-9)
    families = () if family is None else tuple(dict.fromkeys(map(str, family)))
    x = _design(inputs, family, centre, scale, families)
    spread = np.concatenate([[1e3], np.full(inputs.shape[1], _SLOPE_SD), np.full(len(families), _FAMILY_SD)])
    found = _maximise(x, np.clip(score, 0.0, 1.0), chance, 1 / spread**2)
    return Logistic(found, centre, scale, families, chance)


def _design(inputs, family, centre, scale, families) -> np.ndarray:
    columns = [np.ones((len(inputs), 1)), (inputs - centre) / scale]
    if families:
        columns.append((np.asarray(family, object)[:, None] == np.array(families, object)).astype(float))
    return np.concatenate(columns, axis=1)


def _maximise(x: np.ndarray, y: np.ndarray, chance: float, precision: np.ndarray) -> np.ndarray:
    """Coefficients [P] of the highest posterior, by scoring steps that are halved until it rises."""
    b = np.zeros(x.shape[1])
    start = np.clip((y.mean() - chance) / (1 - chance), 0.05, 0.95)
    b[0] = np.log(start / (1 - start))
    value = _posterior(x, y, chance, precision, b)
    for _ in range(_STEPS):
        s = _sigmoid(x @ b)
        mean, slope = _bounded(chance + (1 - chance) * s), (1 - chance) * s * (1 - s)
        pull = _TRIALS * slope / (mean * (1 - mean))
        gradient = x.T @ (pull * (y - mean)) - precision * b
        step = np.linalg.solve((x.T * (pull * slope)) @ x + np.diag(precision), gradient)
        for _ in range(30):
            new = _posterior(x, y, chance, precision, b + step)
            if new >= value:
                break
            step = step / 2
        else:
            return b
        b, gain, value = b + step, new - value, new
        if gain < 1e-10 * (1 + abs(value)):
            return b
    return b


def _posterior(x, y, chance, precision, b) -> float:
    mean = _bounded(chance + (1 - chance) * _sigmoid(x @ b))
    return float(_TRIALS * np.sum(y * np.log(mean) + (1 - y) * np.log1p(-mean)) - 0.5 * np.sum(precision * b * b))


def _bounded(mean: np.ndarray) -> np.ndarray:
    return np.clip(mean, 1e-12, 1 - 1e-12)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * z))

"""What frozen features are worth: a linear probe on a few labels, and nearest neighbours.

An evaluation is a frozen config with `run(collect) -> {name: Estimate}`, where `collect(split, read, examples)` gives
what is read of "train" or "held_out" examples, or of a source (genlab/data/sources.py) of the evaluation's own, and
their "label", as arrays: either names of the objective's `outputs`, or a hashable function (objective, variables,
batch) -> {name: array [B, ...]} of the evaluation's own. Its `check(objective, data)` raises ConfigError, before a run
begins, where that lacks what the evaluation reads. A number that is no estimate, such as a chance level, has NaN as its
standard error.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from genlab.configuration import ConfigError
from genlab.objectives.metric import Estimate

Collect = Callable[..., dict[str, np.ndarray]]

_RIDGES = 10.0 ** np.arange(-4, 5)  # In units of the largest squared singular value over the number of them.


@dataclasses.dataclass(frozen=True)
class FewShotProbe:
    """Accuracy of ridge regression on a few labels a class, in closed form: "probe_10_shot" and so on.

    Least squares from frozen features to targets of +1 and -1 (Dosovitskiy et al. 2020, arXiv 2010.11929, section 4.1);
    features are standardised by the labelled examples', as big_vision's evaluator does. Its ridge is fixed; this one
    is that of least leave-one-out error among the labelled examples, so that no held-out label chooses it.

    Attributes:
      shots: labelled examples a class.
      draws: how often the labelled examples are drawn; the accuracy is the mean.
      train_examples: of the training split, evenly spaced, that are drawn from.
      held_out_examples: to classify; 0 for all.
      seed: of the draws.
    """

    shots: tuple[int, ...] = (5, 10, 25)
    draws: int = 10
    train_examples: int = 4_096
    held_out_examples: int = 0
    seed: int = 0

    def check(self, objective: Any, data: Any) -> None:
        """See the module."""
        _check_features(objective, data)
        wanted = max(self.shots) * data.num_classes
        pools = {"train_examples": self.train_examples, "data.max_examples": getattr(data, "max_examples", None)}
        for name, count in pools.items():
            if count and count < wanted:
                raise ConfigError(f"a probe on {max(self.shots)} examples a class of {data.num_classes} needs "
                                  f"{wanted:,} and more, not {name}={count:,}")

    def run(self, collect: Collect) -> dict[str, Estimate]:
        """See the module. The standard error holds both the draws' spread and that of the held-out examples.

        Raises:
          ConfigError: a class has fewer examples than are drawn.
        """
        train, held_out = _features(collect, self.train_examples, self.held_out_examples)
        fewest = np.bincount(train["label"]).min()
        if fewest < max(self.shots):
            raise ConfigError(f"a probe on {max(self.shots)} examples a class needs that many: one class has {fewest} "
                              f"among train_examples={self.train_examples}")
        random = np.random.default_rng(self.seed)
        found = {}
        for shots in self.shots:
            correct_NR = np.stack([self._correct(train, held_out, shots, random) for _ in range(self.draws)], axis=-1)
            found[f"probe_{shots}_shot"] = two_way_estimate(correct_NR)
        return found

    def _correct(self, train, held_out, shots, random) -> np.ndarray:
        """Whether each held-out example is classified rightly by one draw's regression: [N]."""
        labels = train["label"]
        drawn = np.concatenate([random.choice(np.flatnonzero(labels == k), shots, replace=False)
                                for k in np.unique(labels)])
        x, y = train["features"][drawn], labels[drawn]
        mean, std = x.mean(axis=0), x.std(axis=0) + 1e-6
        weights, intercept = ridge_classifier((x - mean) / std, y, labels.max() + 1)
        scores = (held_out["features"] - mean) / std @ weights + intercept
        return scores.argmax(axis=-1) == held_out["label"]


def ridge_classifier(x_ND, labels_N, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(weights [D, K], intercept [K]) of ridge regression onto +1 (the class) and -1 (the others).

    With centred x = U S V^T, fitted values are H y, H = U diag(s^2 / (s^2 + ridge)) U^T + 1/N, and the leave-one-out
    error of example i is (y_i - (H y)_i) / (1 - H_ii) (Allen 1974; Hastie et al. 2009, eq. 7.64). The ridge of least
    squared leave-one-out error is taken.
    """
    targets_NK = 2.0 * (labels_N[:, None] == np.arange(classes)) - 1.0
    mean_x, mean_y = x_ND.mean(axis=0), targets_NK.mean(axis=0)
    u, s, vt = np.linalg.svd(np.asarray(x_ND - mean_x, np.float64), full_matrices=False)
    projected = u.T @ (targets_NK - mean_y)
    best = (np.inf, None)
    for ridge in _RIDGES:
        shrink = s**2 / (s**2 + ridge * max(s[0] ** 2, 1e-30) / len(s))
        error = np.square(left_out_errors(u, shrink, targets_NK - mean_y)).mean()
        if error < best[0]:
            best = (error, shrink)
    safe = np.where(s > 0, s, 1.0)
    weights = vt.T @ ((best[1] / safe)[:, None] * projected)
    return weights, mean_y - mean_x @ weights


def left_out_errors(u_NR: np.ndarray, shrink_R: np.ndarray, centred_NK: np.ndarray) -> np.ndarray:
    """[N, K]: by how much each example is missed by the ridge regression on all others; see `ridge_classifier`."""
    residual = centred_NK - u_NR @ (shrink_R[:, None] * (u_NR.T @ centred_NK))
    leverage_N = (u_NR**2) @ shrink_R + 1 / len(u_NR)
    return residual / np.maximum(1 - leverage_N, 1e-6)[:, None]


@dataclasses.dataclass(frozen=True)
class NearestNeighbours:
    """Accuracy of a vote among the k training examples of the most similar features: "knn_20".

    Cosine similarity, votes weighted by exp(similarity / temperature) (Wu et al. 2018, arXiv 1805.01978, section 3.4).

    Attributes:
      neighbours: k.
      temperature: of the weights.
      train_examples, held_out_examples: as of `FewShotProbe`.
    """

    neighbours: int = 20
    temperature: float = 0.07
    train_examples: int = 4_096
    held_out_examples: int = 0

    def check(self, objective: Any, data: Any) -> None:
        """See the module."""
        _check_features(objective, data)

    def run(self, collect: Collect) -> dict[str, Estimate]:
        """See the module."""
        train, held_out = _features(collect, self.train_examples, self.held_out_examples)
        k = min(self.neighbours, len(train["label"]))
        votes_for = np.eye(train["label"].max() + 1)[train["label"]]
        bank, queries = _unit(train["features"]), _unit(held_out["features"])
        correct = []
        for start in range(0, len(queries), 1024):
            similarity = queries[start:start + 1024] @ bank.T
            nearest = np.argpartition(similarity, -k, axis=-1)[:, -k:]
            weight = np.exp(np.take_along_axis(similarity, nearest, -1) / self.temperature)
            votes = (weight[..., None] * votes_for[nearest]).sum(axis=1)
            correct.append(votes.argmax(axis=-1) == held_out["label"][start:start + 1024])
        return {f"knn_{self.neighbours}": two_way_estimate(np.concatenate(correct)[:, None])}


def two_way_estimate(values_NR: np.ndarray) -> Estimate:
    """The mean over N examples and R repetitions, with a standard error that holds the spread over both.

    The two means' variances add up: examples and draws are independent samples (their interaction is counted twice,
    which makes the error a little too large).
    """
    N, R = values_NR.shape
    values = values_NR.astype(np.float64)
    over_examples = values.mean(axis=1).var(ddof=1) / N if N > 1 else np.nan
    over_draws = values.mean(axis=0).var(ddof=1) / R if R > 1 else 0.0
    return Estimate(float(values.mean()), float(np.sqrt(over_examples + over_draws)))


def _check_features(objective: Any, data: Any) -> None:
    if not hasattr(objective, "outputs"):
        raise ConfigError(f"a probe reads features, of which {type(objective).__name__} gives none")
    if not data.num_classes:
        raise ConfigError("a probe of features needs labels; this dataset has none")


def _features(collect: Collect, train_examples: int, held_out_examples: int) -> tuple[dict, dict]:
    train = collect("train", ("features",), train_examples)
    if "label" not in train:
        raise ConfigError("a probe of features needs labels; this dataset has none")
    return train, collect("held_out", ("features",), held_out_examples)


def _unit(x_ND: np.ndarray) -> np.ndarray:
    return x_ND / np.maximum(np.linalg.norm(x_ND, axis=-1, keepdims=True), 1e-12)

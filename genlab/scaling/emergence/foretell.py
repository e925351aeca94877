"""Forecasts of a sharp metric at larger scale from smaller ones, and where a smooth metric foretold it.

What is fitted are logistic curves (`logistic`) to the rows at or below a compute. Forms of them:

  flops, params+tokens        the score against the logarithm of the compute, or of size and data each
  ..., by family              with an offset a family of models
  via METRIC                  the smooth metric's share against compute (by family), then the sharp metric against that
  token_accuracy ** length    the sharp metric as the forecast token accuracy to the power of the answer's length

None is chosen by hand: every form is tried within the rows that may be used, at cuts between two and four fifths of
them, on the rows above the cut (a rolling backtest). The forecast is the forms' mean, weighted in inverse proportion to
their mean square errors there, cut by cut (Bates and Granger 1969, as in genlab/scaling/forecasts/backtest.py). Nothing
of the rows that are forecast is read but their compute, size, data and family.

How this was arrived at: on the models of Ruan et al. 2024 (arXiv 2405.10938), 24 forms (one input or two, with and
without families and a free ceiling; by likelihood, squares and absolute errors) were fitted to those of at most 8.4e22
FLOPs, and their errors above it were seen beside those of the backtest. The likelihood was best or level with the best
in the backtest of five of six tasks, a free ceiling in none; so the likelihood stayed, and all of its forms. Priors and
weighting were not tuned. So errors on that table are no blind test of the method, though no forecast there reads a row
that it is judged by: word unscrambling .081, two-digit multiplication .160, transliteration .556 (exact match) and .407
(BLEU), three-digit subtraction .037, HellaSwag .045. That of transliteration is worse than the guess that nothing
changes (.194 and .340): at 8.4e22 FLOPs it has made .07 of its way by exact match.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from genlab.scaling.emergence.abilities import Abilities
from genlab.scaling.emergence.logistic import fit_logistic
from genlab.scaling.emergence.metrics import METRICS
from genlab.scaling.emergence.scales import draw_runs

RULE = "mean of all forms, weighted by inverse mean square errors of a rolling backtest within the rows fitted"
TOLERANCE = 0.1  # root mean square error of a forecast that foretells
_WAYS = ("log_probability", "token_accuracy", "bleu")
_QUANTILES = (0.4, 0.5, 0.6, 0.7, 0.8)
_FEWEST_ROWS = 8
_HELD_BACK = 4.0  # where nothing is held out, scales within this factor of the largest compute are
_MOST_CUTS = 8
_EDGE = 1e-3  # shares are this far from 0 and 1 before their logits are taken


class Form(NamedTuple):
    """How a score is forecast: from which inputs, with families or not, and by way of which smooth metric."""

    inputs: tuple[str, ...]
    families: bool = False
    via: str = ""
    power: bool = False

    @property
    def name(self) -> str:
        """As tables call it."""
        if self.power:
            return f"{self.via} ** length"
        start = f"via {self.via}" if self.via else "+".join(self.inputs)
        return start + (", by family" if self.families else "")


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """A task's rows: a metric, what may be read of a model to forecast it, and the smooth metrics.

    Attributes:
      score: the metric, 0 to 1, [rows], in the order of the compute.
      flops, params, tokens: of each row.
      family, run: names; "" where nobody knows the family.
      held_out: whether a row is only to be forecast.
      smooth: smooth metric -> its share.
      chance: of the score.
      length: of an answer, in tokens; NaN where nobody knows.
      token_chance: of token accuracy.
    """

    score: np.ndarray
    flops: np.ndarray
    params: np.ndarray
    tokens: np.ndarray
    family: np.ndarray
    run: np.ndarray
    held_out: np.ndarray
    smooth: dict[str, np.ndarray]
    chance: float
    length: float
    token_chance: float

    def __len__(self) -> int:
        return len(self.score)

    def take(self, keep: np.ndarray) -> "Rows":
        """Some of the rows, by a mask or by numbers."""
        names = ("score", "flops", "params", "tokens", "family", "run", "held_out")
        smooth = {name: share[keep] for name, share in self.smooth.items()}
        return dataclasses.replace(self, smooth=smooth, **{name: getattr(self, name)[keep] for name in names})

    def logs(self, names: tuple[str, ...]) -> np.ndarray:
        """Logarithms of inputs, [rows, names]."""
        return np.log(np.stack([getattr(self, name) for name in names], axis=1))

    def families(self, form: Form) -> np.ndarray | None:
        """Names, where the form tells families apart."""
        return self.family if form.families else None


def rows_of(abilities: Abilities, task: str, metric: str) -> Rows:
    """A task's rows with one metric as the score: counted answers as they are, other metrics as shares.

    A sharp metric has the smooth ones of the same evaluation beside it.
    """
    frame, counts = abilities.of(task, metric), METRICS[metric].counts
    key, smooth, token_chance = ["run", "seed", "flops"], {}, 0.0
    for name in _WAYS if METRICS[metric].sharp else ():
        other = abilities.of(task, name).drop_duplicates(key)
        if len(other):
            beside = frame[key].merge(other[[*key, "share"]], on=key, how="left")
            smooth[name] = beside["share"].to_numpy(float)
            token_chance = float(other["chance"].iloc[0]) if name == "token_accuracy" else token_chance
    return Rows(
        score=frame["value"].to_numpy(float) if counts else np.clip(frame["share"].to_numpy(float), 0.0, 1.0),
        **{name: frame[name].to_numpy(float) for name in ("flops", "params", "tokens")},
        family=frame["family"].astype(object).where(frame["family"].notna(), "").to_numpy(),
        run=frame["run"].astype(str).to_numpy(object),
        held_out=(frame["role"] == "held_out").to_numpy(),
        smooth=smooth,
        chance=float(frame["chance"].iloc[0]) if counts else 0.0,
        length=float(frame["answer_length"].iloc[0]),
        token_chance=token_chance,
    )


def forms(rows: Rows) -> list[Form]:
    """The forms that a table has the columns for."""
    inputs = [("flops",)]
    if np.isfinite(rows.logs(("params", "tokens"))).all():
        both = rows.logs(("params", "tokens"))
        if np.linalg.matrix_rank(both - both.mean(axis=0), tol=1e-6) == 2:
            inputs.append(("params", "tokens"))
    several = 2 <= len(set(rows.family)) <= len(rows) / 2
    families = (False, True) if several else (False,)
    found = [Form(names, with_families) for names in inputs for with_families in families]
    for metric in smooth_metrics(rows):
        found += [Form(("flops",), with_families, metric) for with_families in families]
        if metric == "token_accuracy" and np.isfinite(rows.length):
            found.append(Form(("flops",), several, metric, power=True))
    return found


def smooth_metrics(rows: Rows) -> list[str]:
    """The smooth metrics that half of the rows have."""
    return [name for name, share in rows.smooth.items() if np.isfinite(share).mean() >= 0.5]


def predict(form: Form, train: Rows, test: Rows) -> np.ndarray:
    """Forecasts [test rows] by a form fitted to other rows."""
    if not form.via:
        fit = fit_logistic(train.logs(form.inputs), train.score, train.chance, train.families(form))
        return fit.predict(test.logs(form.inputs), test.families(form))
    train = train.take(np.isfinite(train.smooth[form.via]))
    share = np.clip(train.smooth[form.via], 0.0, 1.0)
    smooth = fit_logistic(train.logs(form.inputs), share, 0.0, train.families(form))
    foretold = smooth.predict(test.logs(form.inputs), test.families(form))
    if form.power:
        return (train.token_chance + (1 - train.token_chance) * foretold) ** train.length
    link = fit_logistic(_logit(share)[:, None], train.score, train.chance)
    return link.predict(_logit(foretold)[:, None])


def foretell(rows: Rows, resamples: int = 100, seed: int = 0) -> dict[str, Any] | None:
    """Forecasts the held-out rows from the others; None where there are too few rows for it.

    Returns:
      rule, cut_flops, rows_fitted, forms (name, weight, backtest_error, error), error (root mean square over all
      held-out rows), stays_error (of the guess that scores stay what they are at the largest scales fitted), held_out
      ("by the table", or which scales stood in for that), forecasts (run, flops, predicted, measured, interval_95),
      and `foretold` (see `foretold_from`).
    """
    train, test, how = _split(rows)
    if len(train) < _FEWEST_ROWS or not len(test):
        return None
    all_forms = forms(rows)
    errors = _backtest(all_forms, train)
    if errors is None:
        return None
    weights = _weights(errors)
    each = np.stack([predict(form, train, test) for form in all_forms])
    combined = weights @ each
    low, high = _interval(all_forms, weights, train, test, errors, resamples, seed)
    measured = test.score
    squares = np.sqrt(np.mean(errors**2, axis=1))
    return {
        "rule": RULE,
        "held_out": how,
        "cut_flops": float(train.flops.max()),
        "rows_fitted": len(train),
        "forms": [
            {"name": form.name, "weight": float(weights[i]), "backtest_error": float(squares[i]),
             "error": _rms(each[i] - measured)} for i, form in enumerate(all_forms)
        ],
        "error": _rms(combined - measured),
        "stays_error": _rms(_stays(train) - measured),
        "forecasts": [
            {"run": str(run), "flops": float(flops), "predicted": float(said), "measured": float(was),
             "interval_95": [float(bottom), float(top)]}
            for run, flops, said, was, bottom, top in zip(
                test.run, test.flops, combined, measured, low, high, strict=True)
        ],
        "foretold": foretold_from(rows),
    }  # fmt: skip


def foretold_from(rows: Rows) -> dict[str, Any] | None:
    """Forecasts from ever smaller scales, by way of the smooth metrics: from where on they foretell the sharp one.

    Returns:
      by (the forms), cuts (flops, error over all rows above, stays_error) and flops: the least compute from which on,
      at this and all later cuts, the root mean square error above is at most `TOLERANCE`, or None. None instead of all
      where the table has no smooth metric of the task.
    """
    ways = [form for form in forms(rows) if form.via]
    levels = np.unique(rows.flops)
    if not ways or len(levels) < 4:
        return None
    cuts = levels[2:-1][np.unique(np.linspace(0, len(levels) - 4, min(_MOST_CUTS, len(levels) - 3)).astype(int))]
    told = []
    for cut in cuts:
        train, test = rows.take(rows.flops <= cut), rows.take(rows.flops > cut)
        if len(train) >= _FEWEST_ROWS // 2:
            said = np.mean([predict(form, train, test) for form in ways], axis=0)
            told.append({"flops": float(cut), "error": _rms(said - test.score),
                         "stays_error": _rms(_stays(train) - test.score)})  # fmt: skip
    good = [entry["error"] <= TOLERANCE for entry in told]
    from_here = [i for i in range(len(told)) if all(good[i:])]
    flops = told[from_here[0]]["flops"] if from_here else None
    return {"by": [form.name for form in ways], "cuts": told, "flops": flops}


def _split(rows: Rows) -> tuple[Rows, Rows, str]:
    if rows.held_out.any():
        return rows.take(~rows.held_out), rows.take(rows.held_out), "by the table"
    largest = rows.flops.max() / _HELD_BACK
    above = rows.flops > largest * (1 + 1e-9)
    return rows.take(~above), rows.take(above), f"scales above {largest:.3g} FLOPs, which the verdict did see"


def _backtest(all_forms: list[Form], train: Rows) -> np.ndarray | None:
    """Root mean square errors above each cut within the rows, [forms, cuts]."""
    cuts = np.unique(np.quantile(train.flops, _QUANTILES, method="lower"))
    errors = []
    for cut in cuts:
        below, above = train.take(train.flops <= cut), train.take(train.flops > cut)
        if len(np.unique(below.flops)) >= 3 and len(above):
            errors.append([_rms(predict(form, below, above) - above.score) for form in all_forms])
    return np.array(errors).T if errors else None


def _weights(errors: np.ndarray) -> np.ndarray:
    inverse = 1 / np.maximum(errors, 1e-6) ** 2
    return np.mean(inverse / inverse.sum(axis=0), axis=1)


def _interval(all_forms, weights, train: Rows, test: Rows, errors, resamples: int, seed: int):
    """95 % intervals of new scores: refits to resampled runs, and errors as large as the backtest's."""
    rng = np.random.default_rng(seed)
    scatter = float(np.sqrt(np.mean((weights @ errors) ** 2)))
    drawn = []
    for counts in draw_runs(train.run.astype(str), resamples, rng):
        picked = train.take(np.repeat(np.arange(len(train)), counts))
        said = weights @ np.stack([predict(form, picked, test) for form in all_forms])
        drawn.append(said + scatter * rng.standard_normal(len(test)))
    return np.clip(np.percentile(drawn, [2.5, 97.5], axis=0), 0.0, 1.0)


def _stays(train: Rows) -> float:
    """The mean score within a doubling of the largest compute."""
    return float(train.score[train.flops >= train.flops.max() / 2].mean())


def _logit(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, _EDGE, 1 - _EDGE)
    return np.log(share / (1 - share))


def _rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(error))))

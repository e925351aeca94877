"""Training curves of runs, from a long table of points or from genlab's own run table; and their smoothing."""

import dataclasses

import numpy as np
import pandas as pd

from genlab.scaling.runs import FLOPS_PER_PARAM_TOKEN, LeftOut, Runs

FEWEST_POINTS = 4  # of a curve that can be smoothed and interpolated
MOST_POINTS = 400  # of a smoothed curve: a run of 100,000 logged steps is read off at so many of them
SMOOTHINGS = ("gaussian", "none")


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingCurve:
    """The loss of one run as it went.

    Attributes:
      name: of the run.
      params: its size.
      tokens: seen up to each point, ascending, [points].
      flops: spent up to each point, [points].
      loss: there, [points].
      horizon: tokens of the whole run.
    """

    name: str
    params: float
    tokens: np.ndarray
    flops: np.ndarray
    loss: np.ndarray
    horizon: float

    def smoothed(self, smoothing: str = "gaussian", width: float = 0.1) -> "TrainingCurve":
        """The curve with its log loss smoothed over log tokens.

        "gaussian": at each point a line through its neighbours, weighted by a Gaussian; a weighted mean
        would lag behind a falling loss, most at both ends. "none": as it is.

        Args:
          smoothing: "gaussian" or "none".
          width: standard deviation of the Gaussian in log tokens; 0.1 is a tenth of the tokens seen so far.

        Raises:
          ValueError: no such smoothing, or a width that is not positive.
        """
        if smoothing not in SMOOTHINGS:
            raise ValueError(f"smoothing {smoothing!r} must be one of {', '.join(SMOOTHINGS)}")
        if smoothing == "none":
            return self
        if not width > 0:
            raise ValueError(f"the width of the smoothing must be positive, not {width:g}")
        x, y = np.log(self.tokens), np.log(self.loss)
        keep = np.unique(np.searchsorted(x, np.linspace(x[0], x[-1], MOST_POINTS)).clip(max=len(x) - 1))
        loss = np.exp([_local_line(x, y, at, width) for at in x[keep]])
        return dataclasses.replace(self, tokens=self.tokens[keep], flops=self.flops[keep], loss=loss)


def training_curves(table: Runs | pd.DataFrame) -> tuple[list[TrainingCurve], list[LeftOut]]:
    """The curves of a table, and the runs whose curve cannot be used, with the reason.

    Args:
      table: either one row a point, with columns `name` (or `run`), params, loss, and tokens (or steps and
        batch_size, with sequence_length where a batch is counted in sequences), flops (6 N D without);
        or one row a run, with a column `curve` of "step:loss step:loss ..." beside params, tokens, steps
        and flops, as genlab's own run table. A run with two points at the same tokens is left out. So are
        points without a finite number, each run listed with how many, and a point at 0 tokens.

    Raises:
      ValueError: columns are missing, a number is negative, or a loss is 0.
    """
    runs = table if isinstance(table, Runs) else Runs(table.reset_index(drop=True))
    return _of_runs(runs) if runs.has("curve") else _of_points(runs)


def _of_points(runs: Runs) -> tuple[list[TrainingCurve], list[LeftOut]]:
    names = [name for name in ("name", "run") if name in runs.frame]
    if not names:
        raise ValueError(f"{runs.source} has no training curves: a column name (one row a point) or curve is needed")
    table = pd.DataFrame({"name": runs.frame[names[0]].astype(str), "params": runs.column("params")})
    table["tokens"], table["loss"] = _tokens(runs), runs.column("loss")
    per_token = FLOPS_PER_PARAM_TOKEN * table["params"]
    table["flops"] = runs.column("flops") if "flops" in runs.frame else per_token * table["tokens"]
    curves, left_out = [], list(runs.left_out)
    for name, points in table.groupby("name", sort=False):
        sizes = points["params"].dropna().unique()
        if len(sizes) != 1:
            raise ValueError(f"{runs.source}: run {name} has {len(sizes)} different params; a run has one size")
        _append(curves, left_out, str(name), float(sizes[0]), *points[["tokens", "flops", "loss"]].to_numpy().T)
    return curves, left_out


def _tokens(runs: Runs) -> np.ndarray:
    if "tokens" in runs.frame:
        return runs.column("tokens")
    if not {"steps", "batch_size"} <= set(runs.frame):
        raise ValueError(f"{runs.source} does not say how far a point is: tokens, or steps and batch_size, are needed")
    length = runs.column("sequence_length") if "sequence_length" in runs.frame else 1.0
    return runs.column("steps") * runs.column("batch_size") * length


def _of_runs(runs: Runs) -> tuple[list[TrainingCurve], list[LeftOut]]:
    runs = runs.require(("params", "tokens", "flops"))
    curves, left_out = [], list(runs.left_out)
    texts = runs.frame["curve"]
    last = runs.column("steps") if "steps" in runs.frame else np.full(len(runs), np.nan)
    columns = (runs.column("params"), runs.column("tokens"), runs.column("flops"))
    for name, text, steps, *numbers in zip(runs.names, texts, last, *columns, strict=True):
        pairs = [pair.split(":") for pair in text.split()] if isinstance(text, str) else []
        at, loss = np.array([[float(x) for x in pair] for pair in pairs]).reshape(-1, 2).T
        share = at / (steps if np.isfinite(steps) else at.max(initial=1.0))
        params, tokens, flops = numbers
        _append(curves, left_out, str(name), params, tokens * share, flops * share, loss, horizon=tokens)
    return curves, left_out


def _append(curves, left_out, name: str, params: float, tokens, flops, loss, horizon: float | None = None) -> None:
    """Adds a curve of the usable points, or the run to those left out."""
    for what, values in {"tokens": tokens, "flops": flops, "loss": loss}.items():
        wrong = values <= 0 if what == "loss" else values < 0  # a curve may begin at 0 tokens
        if wrong.any():
            raise ValueError(f"the training curve of {name} has {what} of {np.nanmin(values):g}; they must be positive")
    usable = np.isfinite(tokens) & np.isfinite(flops) & np.isfinite(loss)
    unknown = np.count_nonzero(~usable)
    usable &= (tokens > 0) & (flops > 0) & (loss > 0)
    at, first, count = np.unique(tokens[usable], return_index=True, return_counts=True)
    if (count > 1).any():
        left_out.append(LeftOut(name, f"{len(tokens)} points at {len(at)} numbers of tokens: two runs of one name?"))
        return
    if len(at) < FEWEST_POINTS:
        left_out.append(LeftOut(name, f"fewer than {FEWEST_POINTS} points of a training curve"))
        return
    if unknown:
        left_out.append(LeftOut(name, f"{unknown} of {len(tokens)} points of its training curve have no finite number"))
    flops, loss = flops[usable][first], loss[usable][first]
    curves.append(TrainingCurve(name, params, at, flops, loss, float(at[-1]) if horizon is None else horizon))


def _local_line(x: np.ndarray, y: np.ndarray, at: float, width: float) -> float:
    """The Gaussian-weighted least-squares line through (x, y), at `at`; the mean where there is only one x."""
    near = slice(*np.searchsorted(x, (at - 5 * width, at + 5 * width)))
    apart, y = x[near] - at, y[near]
    weight = np.exp(-0.5 * (apart / width) ** 2)
    weight /= weight.sum()
    centre, mean = weight @ apart, weight @ y
    spread = weight @ (apart - centre) ** 2
    slope = weight @ ((apart - centre) * y) / spread if spread > 1e-6 * width**2 else 0.0
    return float(mean - slope * centre)

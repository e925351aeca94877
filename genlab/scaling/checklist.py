"""The reporting checklist of a scaling-law study, filled in as far as the table and the fit can answer.

The questions are those that reviewers ask and that most papers leave open: Li, Kudugunta and Zettlemoyer
2025, "(Mis)Fitting: A Survey of Scaling Laws" (arXiv 2502.18969), under its four headings. What a table
cannot know is left to the author, as an open question.
"""

from typing import Any, NamedTuple

import numpy as np

from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.runs import Runs

OPEN = "open: for the author to state"


class Item(NamedTuple):
    """One question.

    Attributes:
      section: "form", "training", "data collection" or "fitting".
      question: what a reviewer asks.
      answer: from the table and the fit, or `OPEN`.
    """

    section: str
    question: str
    answer: str


def reporting_checklist(runs: Runs, fit: Fit, found: dict[str, Any]) -> list[Item]:
    """Fills in the checklist.

    Args:
      runs: the rows that were fitted.
      fit: the law whose numbers count.
      found: the rest of the analysis: choice_reason, columns, forecasts, backtest (its `to_json` or None),
        sensitivity (a sentence), as `Analysis` holds them.
    """
    return [*_form(runs, fit, found), *_training(runs), *_collection(runs, fit, found), *_fitting(fit, found)]


def checklist_markdown(items: list[Item]) -> str:
    """The checklist as a Markdown document; open questions have an empty box."""
    lines = ["# Reporting checklist", "", "After arXiv 2502.18969. What has no tick is for the author to answer.", ""]
    section = None
    for item in items:
        if item.section != section:
            section = item.section
            lines += [f"## {section.capitalize()}", ""]
        lines.append(f"- [{' ' if item.answer == OPEN else 'x'}] {item.question} {item.answer}")
        if item is items[-1] or items[items.index(item) + 1].section != section:
            lines.append("")
    return "\n".join(lines)


def _form(runs: Runs, fit: Fit, found: dict[str, Any]) -> list[Item]:
    names = found.get("columns", {})
    own = [name for name in (*fit.law.inputs, fit.law.response) if name in names]
    read = "; ".join(f"{name} is the column {names[name]!r}" for name in own)
    counted = {
        "included": "params counts the embeddings",
        "excluded": "params does not count the embeddings",
        "": OPEN,
    }[runs.embeddings]
    if "params_non_embedding" in runs.frame and not runs.embeddings:
        counted = f"params is the column {names.get('params', 'params')!r}; the table has both counts"
    items = [
        Item("form", "Which form, and from where?", f"{fit.law.name}: {fit.law.text} ({fit.law.citation})"),
        Item("form", "Which columns are its variables?", read or "the canonical ones, by name"),
        Item("form", "Which forms were compared, and how was one chosen?", found.get("choice_reason", "one form only")),
    ]
    if "params" in fit.law.inputs:
        items.append(Item("form", "Are embeddings counted in N?", counted))
    items.append(Item("form", "In which unit is the loss, on which data, and are models comparable by it?", OPEN))
    return items


def _training(runs: Runs) -> list[Item]:
    families = _values(runs, "family")
    convention = _values(runs, "flops_convention")
    rates = _range(runs, "learning_rate")
    batches = _range(runs, "batch_size")
    schedule = OPEN
    if runs.has("steps") and runs.has("steps_planned"):
        whole = runs.column("steps") >= runs.column("steps_planned")
        schedule = f"{int(whole.sum())} of {len(runs)} runs trained to the end of their schedule"
    data = _values(runs, "data_hash")
    return [
        Item("training", "Which architecture, and how were depth and width scaled?",
             f"families: {families}" if families else OPEN),
        Item("training", "How were learning rate and batch size set for each size?",
             "; ".join(filter(None, (rates, batches))) or OPEN),
        Item("training", "Does each run's learning-rate schedule end with the run?", schedule),
        Item("training", "Which data, tokenizer and held-out set?",
             f"data hash {data}; the rest is open" if data else OPEN),
        Item("training", "How are FLOPs counted?", convention or _rule(runs)),
        Item("training", "Which hardware and code version?", _values(runs, "device_kind", "code_version") or OPEN),
    ]  # fmt: skip


def _collection(runs: Runs, fit: Fit, found: dict[str, Any]) -> list[Item]:
    spans = "; ".join(f"{name} {low:.3g} to {high:.3g} (x{high / low:.3g})" for name, (low, high) in fit.ranges.items())
    repeated = OPEN
    if runs.has("epochs"):
        repeated = f"up to {np.nanmax(runs.column('epochs')):.3g} epochs"
    elif runs.has("unique_tokens") and runs.has("tokens"):
        repeated = f"up to {np.nanmax(runs.column('tokens') / runs.column('unique_tokens')):.3g} epochs"
    left = len(fit.rows_left_out)
    reasons = sorted({row.reason for row in fit.rows_left_out})
    return [
        Item("data collection", "How many runs, over which ranges?", f"{len(fit.rows_used)} runs; {spans}"),
        Item("data collection", "Which runs were left out, and why?",
             f"{left}: {'; '.join(reasons)} (by name in fit.json)" if left else "none of the table"),
        Item("data collection", "Is a point a whole run, or a checkpoint along one?", _points(runs)),
        Item("data collection", "Was data repeated?", repeated),
        Item("data collection", "How many seeds, and how much do they scatter?", _seeds(runs, fit)),
        Item("data collection", "What was held out of every fit?",
             f"{len(found.get('forecasts', []))} runs" if found.get("forecasts") else "nothing"),
    ]  # fmt: skip


def _fitting(fit: Fit, found: dict[str, Any]) -> list[Item]:
    proof = fit.certificate
    scale = "log" if fit.law.response_scale == "log" else "linear"
    bounds = "; ".join(f"{p.name} in [{p.bounds[0]:.3g}, {p.bounds[1]:.3g}]" for p in fit.law.parameters)
    scores = (found.get("backtest") or {"scores": {}})["scores"]
    score = f"backtest error {scores[fit.law.name]:.2%}" if fit.law.name in scores else ""
    covered = [row["covered"] for row in found.get("forecasts", []) if row["covered"] is not None]
    told = f"{sum(covered)} of {len(covered)} held-out runs within their 95 % intervals" if covered else ""
    interval = "no bootstrap was run"
    if proof["resamples"]:
        unit = f"groups of equal {fit.groups}" if fit.groups else "rows"
        interval = (f"95 % percentiles of {proof['resamples']} bootstrap refits over {unit}, "
                    f"{proof['resamples_converged']} of them converged, none dropped"
                    + f" ({proof['resamples_redrawn']} that nothing can be fitted to were drawn again)"
                    * bool(proof["resamples_redrawn"]))
    tests = "; ".join(filter(None, (score, told))) or "not tested"
    return [
        Item("fitting", "Which objective?", f"sum of {fit.loss} loss, delta {fit.delta:g}, of {scale} residuals"),
        Item("fitting", "Which optimiser, from where?",
             f"damped Newton with bounds in float64 from {proof['starts']} starting points; "
             f"{proof['share_of_starts']:.0%} reached the minimum"),
        Item("fitting", "Is it a minimum?",
             f"{'yes' if proof['converged'] else 'NO'}: gradient {proof['gradient_norm']:.1e}, condition number "
             f"{proof['condition_number']:.1e}, at a bound: {', '.join(proof['at_bound']) or 'none'}"),
        Item("fitting", "Which bounds?", bounds),
        Item("fitting", "How uncertain are the parameters?", interval),
        Item("fitting", "How much do single rows or left-out rows matter?", found.get("sensitivity") or "not examined"),
        Item("fitting", "How far was it tested beyond the fit?", tests),
        Item("fitting", "Are parameters at full precision, table and code public?",
             "fit.json holds the parameters at full precision; the rest is open"),
    ]  # fmt: skip


def _points(runs: Runs) -> str:
    for name in ("name", "run"):
        if name in runs.frame and runs.frame[name].notna().all():
            unique = runs.frame[name].nunique()
            return "whole runs" if unique == len(runs) else f"{len(runs)} points along {unique} runs"
    return OPEN


def _seeds(runs: Runs, fit: Fit) -> str:
    """Repeated configurations, told by equal inputs, and the scatter among them."""
    inputs = [name for name in fit.law.inputs if name in runs.frame]
    response = fit.law.respond(runs.column(fit.law.response))
    groups = runs.frame[inputs].assign(response=response).groupby(inputs)["response"]
    repeated = groups.transform("size") > 1
    if not repeated.any():
        return "one run a configuration: the scatter between seeds is not known"
    freedom = int((groups.size() - 1).clip(lower=0).sum())
    spread = np.sqrt(float(np.sum((response - groups.transform("mean")) ** 2)) / freedom)
    return f"{int(repeated.sum())} runs share their inputs with another; standard deviation between them {spread:.2%}"


def _rule(runs: Runs) -> str:
    if "flops" in runs.frame:
        return "by the table's own column; its convention is open"
    return "6 N D" if {"params", "tokens"} <= set(runs.frame) else OPEN


def _values(runs: Runs, *names: str) -> str:
    found = [", ".join(map(str, runs.frame[name].dropna().unique()[:3])) for name in names if name in runs.frame]
    return "; ".join(filter(None, found))


def _range(runs: Runs, name: str) -> str:
    if not runs.has(name):
        return ""
    values = runs.column(name)
    return f"{name} {np.nanmin(values):.3g} to {np.nanmax(values):.3g}"

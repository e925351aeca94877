"""The run record: one row of `runs.csv`, whatever became of the run. Fits and figures read nothing else."""

import dataclasses
import functools
import json
import math
import platform
import subprocess
import typing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import genlab
from genlab.configuration import ConfigError
from genlab.files import write_atomically

Status = Literal["finished", "diverged", "failed", "preempted"]
Role = Literal["grid", "held_out"]
Curve = tuple[tuple[int, float], ...]

ENDED = ("finished", "diverged")  # A run that ended so is not run again.

# Columns in which two runs of one experiment on one machine may differ; all others are reproducible.
CIRCUMSTANCES = ("attempts", "seconds", "compile_seconds", "step_seconds", "input_seconds", "evaluation_seconds",
                 "checkpoint_seconds", "tokens_per_second", "mfu", "started_at", "finished_at")


def _column(meaning: str, unit: str = "", default: Any = None) -> Any:
    return dataclasses.field(default=default, metadata={"meaning": meaning, "unit": unit})


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run. Each column's meaning and unit stand in `columns()`; an empty cell means not known."""

    sweep: str = _column("name of the sweep that the run belongs to; empty for a run of its own", default="")
    name: str = _column("name of the run, unique in its sweep; its folder is runs/<name>", default="")
    role: str = _column("grid: the fit may use it; held_out: only to check forecasts", default="grid")
    config_hash: str = _column("twelve hexadecimal digits of the experiment's content", default="")
    seed: int | None = _column("seed of initialisation, data order and dropout")
    code_version: str = _column("git commit, with -dirty where files differ from it; else the version",
                                default="")
    family: str = _column("what was trained, e.g. gpt", default="")
    params: int | None = _column("trained parameters, embeddings included, counted on the real tree")
    params_non_embedding: int | None = _column("trained parameters without embeddings")
    batch_size: int | None = _column("examples of one update, over all devices", "examples")
    steps: int | None = _column("updates made", "updates")
    steps_planned: int | None = _column("updates that the experiment asks for", "updates")
    examples: int | None = _column("training examples seen, repeats counted", "examples")
    tokens: int | None = _column("training tokens seen, repeats counted; empty without tokens", "tokens")
    unique_tokens: int | None = _column("different training tokens that were available", "tokens")
    epochs: float | None = _column("passes over the training data")
    flops: float | None = _column("training compute of all updates made", "FLOPs")
    flops_convention: str = _column("how `flops` was counted", default="")
    loss: float | None = _column("final loss on held-out data",
                                 "nats per token, nats per example (classification), or the objective's unit")
    loss_se: float | None = _column("standard error of `loss` over held-out examples", "as loss")
    train_loss: float | None = _column("training loss over the curve's last bin", "as loss")
    metrics: dict[str, float] = dataclasses.field(
        default_factory=dict, metadata={"meaning": "further final metrics, a JSON object", "unit": ""})
    status: str = _column("finished; diverged (its loss is not finite or exploded); failed (see error); "
                          "preempted (was stopped, continues with the same command)", default="")
    error: str = _column("one line: why the run failed or diverged", default="")
    attempts: int | None = _column("times the run was tried: 1, and one for each failure")
    device_kind: str = _column("the accelerator's or the CPU's own name", default="")
    device_count: int | None = _column("devices that the run used")
    process_count: int | None = _column("processes (hosts) that the run used")
    seconds: float | None = _column("wall time of all attempts, evaluations included; of a killed one to its last "
                                    "checkpoint", "s")
    compile_seconds: float | None = _column("of `seconds`: tracing and compilation", "s")
    step_seconds: float | None = _column("of `seconds`: the updates themselves", "s")
    input_seconds: float | None = _column("of `seconds`: waits for training batches while no update ran", "s")
    evaluation_seconds: float | None = _column("of `seconds`: evaluations on held-out data", "s")
    checkpoint_seconds: float | None = _column("of `seconds`: waits for checkpoints; what is left of `seconds` is "
                                               "start-up", "s")
    tokens_per_second: float | None = _column("training throughput; examples where there are no tokens",
                                              "tokens/s or examples/s")
    mfu: float | None = _column("share of the device's peak FLOPs, by `flops`; empty for unknown devices")
    jax_version: str = _column("version of jax", default="")
    python_version: str = _column("version of Python", default="")
    data_hash: str = _column("hash of the training and held-out data", default="")
    started_at: str = _column("when the run's last attempt began", "UTC, ISO 8601", default="")
    finished_at: str = _column("when it ended", "UTC, ISO 8601", default="")
    curve: Curve = _column("learning curve, 'step:loss step:loss ...': training loss on fresh data, the "
                           "mean over log-spaced bins of steps; at a point flops * step / steps were spent",
                           "updates:loss", default=())
    evaluations: tuple[dict[str, Any], ...] = _column(
        "every evaluation on held-out data, a JSON list of objects with step, flops (spent until then), tokens or "
        "examples, loss and metrics (as that column, at six digits)", default=())

    @property
    def ended(self) -> bool:
        """Whether the run needs no more running."""
        return self.status in ENDED

    def to_row(self) -> dict[str, str]:
        """The record as the texts of a CSV row; floats in full precision, empty where not known."""
        return {name: _text(getattr(self, name)) for name in COLUMNS}

    @classmethod
    def from_row(cls, row: dict[str, str]) -> "RunRecord":
        """The inverse of `to_row`; columns that this version does not know are left out.

        Raises:
          ValueError: a cell that its column's type does not allow.
        """
        kinds = typing.get_type_hints(cls)
        return cls(**{name: _parse(name, kinds[name], row[name]) for name in COLUMNS if row.get(name)})

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values; what is not finite becomes null."""
        values = {name: getattr(self, name) for name in COLUMNS}
        values["curve"] = _text(self.curve)
        values["evaluations"] = _finite(self.evaluations)
        values["metrics"] = {name: _finite(value) for name, value in self.metrics.items()}
        return {name: _finite(value) for name, value in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "RunRecord":
        """The inverse of `to_json`."""
        known = {name: values[name] for name in COLUMNS if name in values}
        known["curve"] = _parse_curve(known.get("curve") or "")
        known["evaluations"] = tuple(known.get("evaluations") or ())
        return cls(**known)


COLUMNS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(RunRecord))


def columns() -> list[tuple[str, str, str]]:
    """(name, unit, meaning) of every column of the table of runs, in order."""
    return [(field.name, field.metadata["unit"], field.metadata["meaning"])
            for field in dataclasses.fields(RunRecord)]


def write_record(record: RunRecord, folder: Path) -> None:
    """Writes `record.json` into a run's folder: the old one or the new one is there, never half of it."""
    write_atomically(folder / "record.json", json.dumps(record.to_json(), indent=1) + "\n")


def read_record(folder: Path) -> RunRecord | None:
    """The record of a run's folder; None if the run has not ended.

    Raises:
      ConfigError: the file is there but is no record.
    """
    path = folder / "record.json"
    try:
        return RunRecord.from_json(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a run record ({error}); delete it to run again") from error


@functools.cache
def code_version() -> str:
    """The git commit of the code that is running, "-dirty" if files differ; else genlab's version."""
    source = Path(genlab.__file__).resolve()

    def git(*arguments: str) -> str | None:
        try:
            return subprocess.run(["git", "-C", str(source.parent), *arguments], capture_output=True,
                                  text=True, check=True, timeout=20).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    # An installed genlab may lie in a virtual environment inside somebody else's repository.
    if git("ls-files", "--error-unmatch", source.name) is None:
        return _installed_version()
    commit, changes = git("rev-parse", "--short=12", "HEAD"), git("status", "--porcelain", "-uno")
    return f"{commit}{'-dirty' if changes else ''}" if commit else _installed_version()


def versions() -> dict[str, str]:
    """The versions that a report names: Python, jax and what decides numbers besides."""
    names = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {"genlab": code_version(), "python": platform.python_version()} | {
        name: metadata.version(name) for name in names}


def _installed_version() -> str:
    return f"genlab {genlab.__version__}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, dict):
        return json.dumps({k: _finite(v) for k, v in value.items()}, sort_keys=True) if value else ""
    if isinstance(value, tuple) and value and isinstance(value[0], dict):
        return json.dumps(_finite(value), sort_keys=True, separators=(",", ":"))
    if isinstance(value, tuple):
        return " ".join(f"{step}:{loss:.7g}" for step, loss in value)
    # repr keeps every digit of a float; a str must stay on its line.
    return repr(value) if isinstance(value, float) else " ".join(str(value).split())


def _parse(name: str, kind: Any, text: str) -> Any:
    try:
        if name == "metrics":
            return {key: math.nan if value is None else value for key, value in json.loads(text).items()}
        if name == "curve":
            return _parse_curve(text)
        if name == "evaluations":
            return tuple(json.loads(text))
        if kind == int | None:
            return int(text)
        return float(text) if kind == float | None else text
    except ValueError as error:
        raise ValueError(f"column {name!r} of the table of runs holds {text!r}: {error}") from error


def _parse_curve(text: str) -> Curve:
    pairs = (point.split(":") for point in text.split())
    return tuple((int(step), float(loss)) for step, loss in pairs)

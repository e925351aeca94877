"""What a run writes while it goes: JSON lines always, TensorBoard event files or Weights & Biases by choice."""

import json
from pathlib import Path
from typing import Any

from genlab.configuration import ConfigError


class MetricLog:
    """One run's log, `metrics.jsonl`: a JSON object a line, each with a "step".

    Args:
      folder: the run's folder.
      resume_step: lines of later steps are dropped; a run cut off after its last checkpoint repeats them.
      writers: "tensorboard" (event files through tensorboardX, no TensorFlow), "wandb" (an extra).
    """

    def __init__(self, folder: Path, resume_step: int = 0, writers: tuple[str, ...] = ()):
        path = Path(folder) / "metrics.jsonl"
        kept = [row for row in read_metrics(folder) if row["step"] <= resume_step] if resume_step else []
        text = "".join(json.dumps(row) + "\n" for row in kept)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        self._file = path.open("a", buffering=1)
        self._writers = [_WRITERS[name](Path(folder), resume_step) for name in writers]

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Logs numbers by name at a step."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        for writer in self._writers:
            writer.write(step, numbers)

    def close(self) -> None:
        """Flushes and closes."""
        self._file.close()
        for writer in self._writers:
            writer.close()


class NoLog:
    """The log of a process that writes none, because process 0 does."""

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All lines of a run's log; a last line that a kill cut off is left out."""
    path = Path(folder) / "metrics.jsonl"
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class _TensorBoard:
    def __init__(self, folder: Path, resume_step: int):
        from tensorboardX import SummaryWriter  # Half a second of protobuf: only for runs that want it.

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    def __init__(self, folder: Path, resume_step: int):
        try:
            import wandb
        except ImportError as error:
            raise ConfigError("training.writers has wandb, which is not installed; pip install wandb") from error
        self._run = wandb.init(dir=str(folder), name=folder.name)

    def write(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


_WRITERS = {"tensorboard": _TensorBoard, "wandb": _WeightsAndBiases}

"""Samples in a file, with what made them: what launch.sample writes, and launch.evaluate scores."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genlab.configuration import ConfigError
from genlab.objectives.diffusion import ScoreMatching
from genlab.objectives.generation import Draw
from genlab.trained import Trained

FEWEST = 20  # samples that are scored


def made_by(run: Trained, draw: Draw) -> dict[str, Any]:
    """What makes samples of a run, as JSON has it: the settings of a file, and what stands below scores."""
    return {"run": run.experiment.name, "step": run.step, "sampler": repr(draw.sampler),
            "start": run.experiment.objective.sampling_path(draw.start).start, "guidance": draw.guidance}


def write_arrays(path: Path, sample: np.ndarray, label: np.ndarray | None, settings: dict[str, Any]) -> None:
    """Writes an .npz of "sample" (images uint8 [N, I, J, C], or points), "label" where there is one, and "settings"."""
    labels = {} if label is None else {"label": label}
    np.savez_compressed(path, sample=sample, settings=np.array(json.dumps(settings)), **labels)


def read_arrays(path: Path, run: Trained) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """("sample" and, where there is one, "label"; "file" and what settings it has).

    Args:
      path: of what `write_arrays`, or another program, has written.
      run: whose data the samples are like.

    Raises:
      ConfigError: no such file, or none of FEWEST or more samples like this run's data.
    """
    objective, data = run.experiment.objective, run.experiment.data
    if not isinstance(objective, ScoreMatching):
        raise ConfigError(f"samples are of diffusion models, not of {type(objective).__name__}")
    sample, label, settings = _read(path)
    shape = objective.example_shape()
    kind, wanted = ("uint8", np.uint8) if len(shape) == 3 else ("float32", np.floating)
    if sample.shape[1:] != shape or not np.issubdtype(sample.dtype, wanted):
        raise ConfigError(f"samples in {path} are {sample.dtype} {list(sample.shape)}; those of this run are {kind} "
                          f"[N, {', '.join(map(str, shape))}]")
    if len(sample) < FEWEST:
        raise ConfigError(f"{path} holds {len(sample)} samples, which are too few to score: take {FEWEST} or more")
    if not np.isfinite(sample).all():
        raise ConfigError(f"samples in {path} are not all finite")
    made = {"sample": sample}
    if label is not None:
        if label.shape != sample.shape[:1] or label.dtype.kind not in "iu":
            raise ConfigError(f"labels in {path} are {label.dtype} {list(label.shape)}, of {len(sample)} samples")
        classes = getattr(data, "num_classes", None)
        if label.min() < 0 or (classes and label.max() >= classes):
            raise ConfigError(f"labels in {path} go from {label.min()} to {label.max()}; the data's classes are 0 to "
                              f"{classes - 1}" if classes else f"labels in {path} must not be negative")
        made["label"] = label
    return made, settings | {"file": str(path)}


def _read(path: Path) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
    """(samples, labels, settings); of what else a file holds nothing is read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names, sample, label = file.files, *(file.get(name) for name in ("sample", "label"))
            if sample is not None and not all(isinstance(each, np.ndarray | None) for each in (sample, label)):
                raise ValueError("a member that is no array")
            settings = _settings(file)
    except FileNotFoundError:
        raise ConfigError(f"there is no file of samples {path}") from None
    except (ValueError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
        raise ConfigError(f"{path} is no .npz of samples, as launch.sample --output=samples.npz writes it") from None
    if sample is None:
        raise ConfigError(f"{path} holds {', '.join(names) or 'nothing'} and no sample; launch.sample writes samples "
                          "where --task=generate, its default")
    return sample, label, settings


def _settings(file: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """As `write_arrays` had them; none of what another program may call so."""
    try:
        found = json.loads(str(file["settings"]))
    except (KeyError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

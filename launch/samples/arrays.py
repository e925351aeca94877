"""Samples in a file, with what made them: what launch.sample writes, and launch.evaluate scores."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from genlab.configuration import ConfigError
from genlab.trained import Trained


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
      ConfigError: no such file, or none of samples like this run's data.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise ConfigError(f"there is no file of samples {path}") from None
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
        raise ConfigError(f"{path} is no .npz of samples, as launch.sample --output=samples.npz writes it") from None
    if "sample" not in arrays:
        raise ConfigError(f"{path} holds {', '.join(arrays) or 'nothing'} and no sample; launch.sample writes samples "
                          "where --task=generate, its default")
    sample, label = arrays["sample"], arrays.get("label")
    shape = run.experiment.objective.example_shape()
    kind, wanted = ("uint8", np.uint8) if len(shape) == 3 else ("float32", np.floating)
    if sample.shape[1:] != shape or not np.issubdtype(sample.dtype, wanted):
        raise ConfigError(f"samples in {path} are {sample.dtype} {list(sample.shape)}; those of this run are {kind} "
                          f"{['N', *shape]}".replace("'N'", "N"))
    if not np.isfinite(sample).all():
        raise ConfigError(f"samples in {path} are not all finite")
    if label is not None and (label.shape != sample.shape[:1] or label.dtype.kind not in "iu"):
        raise ConfigError(f"labels in {path} are {label.dtype} {list(label.shape)}, of {len(sample)} samples")
    made = {"sample": sample} | ({} if label is None else {"label": label})
    return made, {"file": str(path)} | _settings(arrays.get("settings"))


def _settings(text: np.ndarray | None) -> dict[str, Any]:
    """As `write_arrays` had them; none of what another program may call so."""
    try:
        found = json.loads(str(text))
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}

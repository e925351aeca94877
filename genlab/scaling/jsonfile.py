"""JSON files that a person can read: indented, but with every list of numbers on one line."""

import contextlib
import json
import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def write_json(value: Any, path: str | os.PathLike) -> None:
    """Writes a value as JSON, in one piece; numbers that are not finite become null."""
    part = f"{os.fspath(path)}.part"
    with open(part, "w", encoding="utf-8") as file:
        file.write(_text(value, "") + "\n")
    os.replace(part, path)


def read_json(path: str | os.PathLike, build: Callable[[Any], T]) -> T:
    """What `build` makes of the JSON in a file.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that holds no JSON, or none that `build` can read.
    """
    with open(path, encoding="utf-8") as file:
        try:
            return build(json.load(file))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{os.fspath(path)} is no analysis of genlab: {error!r}") from None


def _text(value: Any, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        rows = (f"{deeper}{json.dumps(str(key))}: {_text(v, deeper)}" for key, v in value.items())
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list | tuple):
        if any(isinstance(entry, dict | list | tuple) for entry in value):
            return "[\n" + ",\n".join(deeper + _text(v, deeper) for v in value) + f"\n{indent}]"
        with contextlib.suppress(ValueError):
            return json.dumps(value, allow_nan=False)  # at once: 100,000 residuals one by one took a second
        return "[" + ", ".join(_text(entry, deeper) for entry in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return "null"
    return json.dumps(value)

"""Names for runs that have none: made of the config fields in which the runs of a sweep differ."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+,@-]{0,99}")


def names_from_differences(configs: Sequence[Any]) -> list[str]:
    """One name a config, such as "width=32_steps=2000", from as few fields as tell them apart.

    Args:
      configs: the JSON forms of the configs (`configuration.to_json`).

    Returns:
      The names, in order; equal configs get equal names. Names depend on nothing but the configs.
    """
    leaves = [dict(_leaves(config)) for config in configs]
    paths = list(dict.fromkeys(path for config in leaves for path in config))
    columns = {path: [str(config.get(path, "none")) for config in leaves] for path in paths}
    varying = [path for path in paths if len(set(columns[path])) > 1]
    if not varying:
        return ["run"] * len(leaves)
    chosen: list[str] = []
    while True:
        # The field that splits the runs into most groups; of equals the first in the config's order.
        best = max(varying, key=lambda path: _groups(columns, [*chosen, path]))
        if chosen and _groups(columns, [*chosen, best]) == _groups(columns, chosen):
            break
        chosen.append(best)
    chosen.sort(key=paths.index)
    labels = _short_labels(chosen)
    return [_clean("_".join(f"{label}={config.get(path, 'none')}" for path, label in labels.items()))
            for config in leaves]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}.{index}" if path else str(index))
    else:
        yield path, "x".join(map(str, value)) if isinstance(value, list) else value


def _groups(columns: dict[str, list[str]], paths: list[str]) -> int:
    return len(set(zip(*(columns[path] for path in paths), strict=True)))


def _short_labels(paths: list[str]) -> dict[str, str]:
    """The shortest ends of dotted paths that differ from one another."""
    labels = {}
    for path in paths:
        parts = path.split(".")
        others = [other.split(".") for other in paths if other != path]
        length = next(n for n in range(1, len(parts) + 1)
                      if n == len(parts) or all(other[-n:] != parts[-n:] for other in others))
        labels[path] = ".".join(parts[-length:])
    return labels


def _clean(name: str) -> str:
    # "genlab.training.optimizers:AdamW" reads "AdamW"; the rest is made safe for a folder's name.
    name = re.sub(r"=[\w.]+:", "=", name)
    return re.sub(r"[^A-Za-z0-9._=+,@-]", "-", name)[:100]

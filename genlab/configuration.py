"""Configs are frozen dataclasses: overriding a field, saving, loading, hashing and comparing them.

A config is a tree of frozen dataclasses (Linen modules are frozen dataclasses too) whose leaves are
int, float, str, bool, None and tuples of those. That is all this module knows.
"""

import dataclasses
import difflib
import functools
import hashlib
import importlib
import json
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

_LINEN_FIELDS = ("parent", "name")  # Linen adds these to every module; they are no hyper-parameters.


class ConfigError(ValueError):
    """A config that cannot be run; its message is one line: what is wrong, what would be right."""


def field_names(config: Any) -> tuple[str, ...]:
    """Names of a config's own fields, in the order of their definition."""
    names = (field.name for field in dataclasses.fields(config) if field.init)
    return tuple(name for name in names if not (_is_linen(config) and name in _LINEN_FIELDS))


def override(config: Any, path: str, text: str) -> Any:
    """Returns `config` with the field at a dotted `path` replaced by what `text` says.

    Args:
      config: a config.
      path: for example "optimizer.learning_rate".
      text: the value as written on a command line; the field's annotation says how to read it.

    Raises:
      ConfigError: no such field (the nearest right name is given), or a text of the wrong type.
    """
    return _override(config, path.split("."), text, walked="")


def _override(config: Any, path: list[str], text: str, walked: str) -> Any:
    name, rest = path[0], path[1:]
    full_name = f"{walked}.{name}" if walked else name
    if not dataclasses.is_dataclass(config):
        raise ConfigError(f"{walked} is {config!r}, which has no fields; there is no {full_name}")
    names = field_names(config)
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are: {', '.join(names)}"
        where = f"{walked} ({type(config).__name__})" if walked else type(config).__name__
        raise ConfigError(f"{where} has no field {name!r}; {hint}")
    if rest:
        value = _override(getattr(config, name), rest, text, full_name)
    else:
        value = _parse(text, _annotations(type(config))[name], full_name)
    try:
        return dataclasses.replace(config, **{name: value})
    except (TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{full_name}={text}: {error}") from error


def _parse(text: str, annotation: Any, name: str) -> Any:
    """Reads `text` as a value of the type `annotation`."""
    wanted = typing.get_origin(annotation) or annotation
    arguments = typing.get_args(annotation)
    if wanted in (typing.Union, types.UnionType):
        if type(None) in arguments and text.lower() == "none":
            return None
        simple = [a for a in arguments if a is not type(None)]
        for argument in simple[:-1]:
            try:
                return _parse(text, argument, name)
            except ConfigError:
                continue
        return _parse(text, simple[-1], name)
    if wanted is typing.Literal:
        check_choice(name, text, arguments)
        return text
    if wanted is tuple:
        if any(typing.get_origin(kind) is tuple for kind in arguments):
            raise ConfigError(f"{name} is a table and cannot be set from a command line; set it in the config file")
        parts = [part for part in text.strip("()[] ").split(",") if part.strip()]
        kinds = arguments[:1] * len(parts) if arguments[1:] == (...,) else arguments
        if len(kinds) != len(parts):
            raise ConfigError(f"{name}={text} has {len(parts)} values; {len(kinds)} are needed")
        return tuple(_parse(part.strip(), kind, name) for part, kind in zip(parts, kinds, strict=True))
    if wanted is bool:
        if text.lower() in ("true", "1", "yes", "false", "0", "no"):
            return text.lower() in ("true", "1", "yes")
    elif wanted is int:
        integer = _integer(text)
        if integer is not None:
            return integer
    elif wanted is float:
        try:
            return float(text)
        except ValueError:
            pass
    elif wanted is str or wanted is Any:
        return text
    else:
        raise ConfigError(f"{name} cannot be set from a command line; set one of its fields")
    example = {bool: "true or false", int: "a whole number", float: "a number"}[wanted]
    raise ConfigError(f"{name}={text} has the wrong type; it takes {example}")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raises ConfigError, in one line that gives the nearest right one, for a value that is none of the choices."""
    names = tuple(choices)
    if value not in names:
        nearest = difflib.get_close_matches(str(value), names, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "one of " + ", ".join(names)
        raise ConfigError(f"{name}={value} is not a choice; {hint}")


def _integer(text: str) -> int | None:
    """Reads 300, 1_000 and 1e6, but not 1.5."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def to_json(config: Any) -> Any:
    """The config as plain JSON values; a dataclass becomes {"class": "module:Name", field: value}."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        kind = type(config)
        values = {name: to_json(getattr(config, name)) for name in field_names(config)}
        return {"class": f"{kind.__module__}:{kind.__qualname__}", **values}
    if isinstance(config, tuple | list):
        return [to_json(value) for value in config]
    if config is None or isinstance(config, bool | int | float | str):
        return config
    raise ConfigError(f"a config holds a {type(config).__name__}; only numbers, texts, tuples and "
                      "frozen dataclasses can be saved")


def from_json(value: Any) -> Any:
    """The inverse of `to_json`. Fields that the saved config lacks take their defaults."""
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    module, _, name = value["class"].partition(":")
    try:
        kind = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"this genlab has no {value['class']}, which the saved config names") from error
    fields = {key: from_json(item) for key, item in value.items() if key != "class"}
    unknown = sorted(set(fields) - {field.name for field in dataclasses.fields(kind)})
    if unknown:
        raise ConfigError(f"{name} of this genlab has no field {unknown[0]!r}, which the saved config sets")
    return kind(**fields)


def config_hash(config: Any) -> str:
    """Twelve hexadecimal digits that name a config's content."""
    return json_hash(to_json(config))


def json_hash(value: Any) -> str:
    """Twelve hexadecimal digits that name a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Yields one text a leaf in which two JSON forms of configs differ: 'training.steps: 100 -> 200'."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(*pair, f"{name}[{index}]")
    elif old != new:
        yield f"{name}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = value["class"].partition(":")[2] if isinstance(value, dict) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_linen(config: Any) -> bool:
    # A Linen module is known by what it has, so that reading a table never imports flax.
    return hasattr(config, "scope") and hasattr(config, "parent")


@functools.cache
def _annotations(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)

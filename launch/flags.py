"""Command lines: --config=FILE.py:ARGUMENT, --config.FIELD=VALUE overrides, one-line errors, exit codes.

absl parses the flags. Overrides are taken out first, because configs are frozen dataclasses that
`ml_collections.config_flags` cannot change in place, and because an unknown field must be answered
with the nearest right name.
"""

import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import app, flags, logging

from genlab.configuration import ConfigError, override

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130

_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where an error of the input was found.")
_overrides: list[tuple[str, str]] = []

flags.disclaim_key_flags()  # --config belongs to the command that asks for it, and is in its --help.


def define_config(what: str) -> flags.FlagHolder:
    """The --config flag of a command that takes a config file with `get_config` or `get_sweep`."""
    return flags.DEFINE_string(
        "config", None, f"Config file of the {what}, and after a colon the argument for it: FILE.py or "
        "FILE.py:ARGUMENT. Any field can be set on the way: --config.training.steps=100.", required=True)


def run(main: Callable[[], int]) -> None:
    """Runs a command's `main`, which returns an exit code.

    Bad input (ConfigError and other ValueErrors, missing files, a full disk) is one line on stderr and
    exit code 2; --traceback shows where it was found. A lost host is one line and exit code 1, an interrupt 130.
    """

    def guarded(argv: list[str]) -> None:
        if len(argv) > 1:
            _fail(f"{argv[1]!r} is not a flag; every argument is written --name=value")
        try:
            code = main()
        except (ValueError, OSError) as error:
            if _TRACEBACK.value:
                raise
            _fail(*reversed(explain(error)))
        except KeyboardInterrupt:
            code = INTERRUPTED
        sys.exit(code)

    logging.set_verbosity(logging.WARNING)
    app.run(guarded, flags_parser=_parse)


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code of an error and what to say of it in one line; of an unforeseen one the traceback is printed."""
    line = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    foreseen = isinstance(error, ValueError | OSError)
    if _TRACEBACK.value or not foreseen:
        traceback.print_exception(error)
    if isinstance(error, ConnectionError):
        return FAILED, line
    return (BAD_INPUT, line) if foreseen else (FAILED, f"{type(error).__name__}: {line}")


def define_hosts() -> Callable[[], AbstractContextManager[str]]:
    """The flags of a command that several processes may run together.

    The function joins them, before JAX looks for devices: `genlab.training.hosts.together`.
    """
    coordinator = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, a free port. Under SLURM and on "
                                      "TPU pods this and the next two are known.")
    processes = flags.DEFINE_integer("processes", None, "How many processes train the run.", lower_bound=1)
    process = flags.DEFINE_integer("process", None, "Which of them this is, from 0.")
    timeout = flags.DEFINE_float("hosts_timeout", 600.0, "Seconds to wait for the other processes, at the start and "
                                 "wherever they meet.", lower_bound=0.1)

    def together() -> AbstractContextManager[str]:
        from genlab.training import hosts
        from genlab.training.hosts.addresses import find_place

        place = find_place(coordinator.value, processes.value, process.value, timeout.value)
        return hosts.together(place, timeout.value, explain)

    return together


def _parse(argv: list[str]) -> list[str]:
    rest = argv[:1]
    arguments = iter(argv[1:])
    for argument in arguments:
        name, equals, value = argument.lstrip("-").partition("=")
        if argument in ("--help", "-help"):  # absl's own exits with 1.
            app.usage(shorthelp=True, writeto_stdout=True, exitcode=0)
        if not (argument.startswith("-") and name.startswith("config.")):
            rest.append(argument)
            continue
        if not equals:
            value = next(arguments, "")
        _overrides.append((name.removeprefix("config."), value))
    try:
        return flags.FLAGS(rest)
    except flags.Error as error:
        line = " ".join(str(error).split()).removeprefix("flag ")
        line = re.sub(r"--(\w+)=None: Flag --\w+ must have a value other than None\.", r"--\1 is required", line)
        _fail(line + " (--help lists the flags)")
        raise


def _fail(message: str, code: int = BAD_INPUT) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def load_config(text: str, function: str = "get_config", override_with: bool = True) -> Any:
    """What `function` of a config file returns, with the command line's overrides.

    Args:
      text: FILE.py or FILE.py:ARGUMENT.
      function: "get_config" or "get_sweep".
      override_with: whether to apply the overrides here.

    Raises:
      ConfigError: no such file or function, a wrong argument, or a wrong override.
    """
    path, colon, argument = text.partition(":")
    module = load_module(path)
    if not hasattr(module, function):
        others = [name for name in ("get_config", "get_sweep") if hasattr(module, name)]
        hint = f"; it has {others[0]}" if others else ""
        raise ConfigError(f"{path} has no {function}(){hint}")
    make = getattr(module, function)
    if colon and not inspect.signature(make).parameters:
        raise ConfigError(f"{function} of {path} takes no argument, but {argument!r} was given")
    config = make(argument) if colon else make()
    return apply_overrides(config) if override_with else config


def apply_overrides(config: Any, only: Callable[[str], bool] = lambda field: True) -> Any:
    """A config with the command line's --config.FIELD=VALUE in it; `only` chooses by the first field's name."""
    for name, value in _overrides:
        if only(name.partition(".")[0]):
            config = override(config, name, value)
    return config


def load_module(path: str) -> ModuleType:
    """A config file as a module; under its importable name if it has one, so that its classes can be saved."""
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"there is no config file {path}")
    if file.suffix != ".py":
        raise ConfigError(f"{path} is no config file: it must be a Python file, FILE.py or FILE.py:ARGUMENT")
    try:
        compile(file.read_bytes(), path, "exec")
    except SyntaxError as error:
        raise ConfigError(f"{path}, line {error.lineno}: {error.msg}") from error
    if not file.resolve().is_relative_to(Path.cwd()):
        name = file.stem
    else:
        name = ".".join(file.resolve().relative_to(Path.cwd()).with_suffix("").parts)
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        found = None
    if found is not None and found.origin and Path(found.origin).resolve() == file.resolve():
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(file.stem, module)
    spec.loader.exec_module(module)
    return module

"""Many hosts that train one run. Each runs the same program on its own devices; process 0 alone writes and speaks.

What only one of them can know (a clock, a signal, whether a folder is free) they tell each other by `gather`, over the
key-value store of JAX's coordination service, which neither needs devices nor waits for them. For a process alone all
of this does nothing.
"""

import collections
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from genlab.configuration import ConfigError
from genlab.training.hosts.addresses import Place, split_address
from genlab.training.hosts.lifeline import Lifeline
from genlab.training.hosts.meeting import meet
from genlab.training.hosts.relay import relay

# So much later than its collectives the lifeline may know that a host is lost.
_SETTLING_SECONDS = 3.0


class _Run:
    lifeline: Lifeline | None = None
    timeout_seconds = 600.0
    numbers: Iterator[int] = itertools.count()


@contextlib.contextmanager
def together(place: Place | None, timeout_seconds: float,
             explain: Callable[[BaseException], tuple[int, str]]) -> Iterator[str]:
    """Within, this process is one of a run's; to be entered before JAX looks for devices.

    An error within, in whichever process, ends all of them, with one line on process 0's screen.

    Args:
      place: of this process; None for one alone.
      timeout_seconds: how long to wait for the others, now and wherever they meet.
      explain: (exit code, one line) of an error; prints whatever else there is to say.

    Yields:
      one line about the processes and their devices; "" for a process alone.

    Raises:
      LostHostError: the others do not come.
      ConfigError: the processes contradict each other.
    """
    if place is None:
        yield ""
        return
    _Run.lifeline, _Run.timeout_seconds = meet(place, timeout_seconds), timeout_seconds
    try:
        yield _connect(place)
        gather("the end of the run")
        jax.distributed.shutdown()
    except BaseException as error:  # noqa: BLE001 An interrupt here leaves the others waiting as well.
        settle(error)
        code, line = explain(error)
        _Run.lifeline.end(code, f"{_Run.lifeline.name(place.index)}: {line}")
    _Run.lifeline.close()
    _Run.lifeline = None


def _connect(place: Place) -> str:
    host, port = split_address(place.coordinator)[0], _Run.lifeline.port
    _Run.lifeline.waiting_for = "JAX to connect the processes"
    # Ctrl-C and SIGTERM are the training loop's own business.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    address = f"localhost:{port}" if place.index == 0 else f"localhost:{relay(host, port)}"
    jax.distributed.initialize(address, place.count, place.index, local_device_ids=place.local_device_ids,
                               cluster_detection_method="deactivate")
    return describe(collections.Counter(device.process_index for device in jax.devices()), _Run.lifeline.hosts)


def describe(devices: dict[int, int], hosts: Sequence[str]) -> str:
    """Processes and their numbers of devices in one line.

    Raises:
      ConfigError: they have different numbers of devices; the message names the first that differs.
    """
    for index, host in enumerate(hosts):
        if devices.get(index, 0) != devices[0]:
            raise ConfigError(f"process {index} on {host} has {devices.get(index, 0)} devices, but process 0 on "
                              f"{hosts[0]} has {devices[0]}; all must have the same number")
    kind = jax.devices()[0].device_kind
    return f"{len(hosts)} processes x {devices[0]} local devices ({kind}) on {', '.join(dict.fromkeys(hosts))}"


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return _Run.lifeline is None or _Run.lifeline.index == 0


def joined() -> bool:
    """Whether there are several processes, and `together` knows of them."""
    return _Run.lifeline is not None


def waiting_for(what: str) -> None:
    """Says what the processes do together next: if one is lost meanwhile, that is what it was waited for."""
    if _Run.lifeline is not None:
        _Run.lifeline.waiting_for = what


def gather(what: str, value: Any = None) -> list[Any]:
    """Every process's value (JSON), by process; none goes on before all have come here, in the same order of calls.

    When somebody does not come in time the run ends, with a line that says who.

    Args:
      what: is waited for, in words.
      value: this process's.
    """
    if _Run.lifeline is None:
        return [value]
    from jax._src.distributed import global_state  # JAX gives its store no public name.

    client, index, number = global_state.client, _Run.lifeline.index, next(_Run.numbers)
    waiting_for(what)
    client.key_value_set(f"genlab/{number}/{index}", json.dumps(value))
    try:
        client.wait_at_barrier(f"genlab: {what} ({number})", int(_Run.timeout_seconds * 1000))
    except jax.errors.JaxRuntimeError as error:
        settle(error)
        came = _by_process(client.key_value_dir_get(f"genlab/{number}/"))
        lost = [_Run.lifeline.name(other) for other in range(len(_Run.lifeline.hosts)) if other not in came]
        if not lost:
            raise
        _Run.lifeline.end(1, f"a lost host: {', '.join(lost)} did not come to {what} within {_Run.timeout_seconds:g} s"
                             "; start the same command again on all hosts to go on")
    values = _by_process(client.key_value_dir_get(f"genlab/{number}/"))
    if index == 0 and number:
        client.key_value_delete(f"genlab/{number - 1}/")  # All have come here, so they have read that.
    return [values[other] for other in sorted(values)]


def _by_process(found: Sequence[tuple[str, str]]) -> dict[int, Any]:
    return {int(key.rpartition("/")[2]): json.loads(value) for key, value in found}


def settle(error: BaseException) -> None:
    """Before an error is told: if it comes of a lost host, the lifeline ends this process meanwhile, and says so."""
    if _Run.lifeline is not None and isinstance(error, jax.errors.JaxRuntimeError):
        time.sleep(_SETTLING_SECONDS)


@contextlib.contextmanager
def last_words(say: Callable[[str], None]) -> Iterator[None]:
    """Within, `say(line)` is called on process 0 before a failure of another process ends it."""
    if _Run.lifeline is None:
        yield
        return
    _Run.lifeline.last_words.append(say)
    try:
        yield
    finally:
        _Run.lifeline.last_words.remove(say)

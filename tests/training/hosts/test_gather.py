"""What processes tell each other; the other one, and the store between them, are played here."""

import jax
import pytest
from jax._src import distributed

from genlab.configuration import ConfigError
from genlab.training import hosts

HOSTS = ["node0", "node1"]


class Ended(Exception):
    """Instead of the end of the process."""


class Line:
    """A lifeline that holds nobody."""

    hosts, index, waiting_for = HOSTS, 0, ""

    def name(self, index):
        return f"process {index} on {HOSTS[index]}"

    def end(self, code, line):
        raise Ended(code, line)


class Store:
    """JAX's, of one process whose other one answers as `other` says, or does not come."""

    def __init__(self, other=None):
        self.values, self.other = {}, other

    def key_value_set(self, key, value):
        self.values[key] = value

    def wait_at_barrier(self, name, milliseconds):
        if self.other is None:
            raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: Barrier timed out")
        self.values |= {key[:-1] + "1": self.other for key in self.values}

    def key_value_dir_get(self, key):
        return sorted(item for item in self.values.items() if item[0].startswith(key))

    def key_value_delete(self, key):
        self.values = {name: value for name, value in self.values.items() if not name.startswith(key)}


@pytest.fixture
def run(monkeypatch):
    """Two processes with a store, this one the first: run(other) with what the other one says."""
    def begin(other=None):
        monkeypatch.setattr(hosts._Run, "lifeline", Line())
        monkeypatch.setattr(hosts._Run, "timeout_seconds", 7.0)
        monkeypatch.setattr(hosts, "_SETTLING_SECONDS", 0.0)
        monkeypatch.setattr(distributed.global_state, "client", Store(other))
        return distributed.global_state.client

    return begin


def test_alone_there_is_nobody_to_ask():
    assert hosts.gather("step 8", [True, False]) == [[True, False]] and hosts.is_first() and not hosts.joined()


def test_values_come_by_process(run):
    store = run("[false, true]")
    for step in (8, 16, 24):
        assert hosts.gather(f"step {step}", [True, False]) == [[True, False], [False, True]]
        assert hosts._Run.lifeline.waiting_for == f"step {step}" and len(store.values) == 2  # Older ones are forgotten.


def test_who_does_not_come_in_time_is_named(run):
    run()
    with pytest.raises(Ended) as ended:
        hosts.gather("checkpoint 16 to be read", True)
    assert ended.value.args[0] == 1
    line = "a lost host: process 1 on node1 did not come to checkpoint 16 to be read within 7 s"
    assert ended.value.args[1].startswith(line)


def test_hosts_have_the_same_number_of_devices():
    assert hosts.describe({0: 8, 1: 8}, HOSTS) == "2 processes x 8 local devices (cpu) on node0, node1"
    assert hosts.describe({0: 1, 1: 1}, ["vm", "vm"]) == "2 processes x 1 local devices (cpu) on vm"
    with pytest.raises(ConfigError, match="process 1 on node1 has 7 devices, but process 0 on node0 has 8; all must"):
        hosts.describe({0: 8, 1: 7}, HOSTS)

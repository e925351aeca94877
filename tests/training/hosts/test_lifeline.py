"""Processes that meet, lose each other and end together; here both are threads of this process, which nothing ends."""

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from genlab.configuration import ConfigError
from genlab.training.hosts import lifeline, meeting
from genlab.training.hosts.addresses import Place
from genlab.training.hosts.lifeline import LostHostError
from genlab.training.hosts.meeting import meet


def _stay(code, line=""):
    threading.Event().wait()


# For good: threads that outlive their test must not end the process that runs the tests.
lifeline.leave = meeting.leave = _stay

_LIFELINES = []


@pytest.fixture
def address():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    return f"localhost:{port}"


@pytest.fixture
def ends(monkeypatch):
    """(exit code, what was said to the end) of every process that ended."""
    ended = []

    def leave(code, line=""):
        ended.append((code, line))
        threading.Event().wait()

    monkeypatch.setattr(lifeline, "leave", leave)
    monkeypatch.setattr(meeting, "leave", leave)
    monkeypatch.setattr(lifeline, "_FAREWELL_SECONDS", 0.2)
    yield ended
    for each in _LIFELINES:  # So that no thread ends this process when that would.
        each.close()
    _LIFELINES.clear()


def met(*places, timeout=5.0):
    """What `meet` gives each, or raises in it."""
    def try_to_meet(place):
        try:
            _LIFELINES.append(found := meet(place, timeout))
            return found
        except (ConfigError, LostHostError) as error:
            return error

    with ThreadPoolExecutor() as pool:
        return list(pool.map(try_to_meet, places))


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def in_a_thread(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()


def test_all_hear_of_all_whoever_else_calls(address):
    with ThreadPoolExecutor() as pool:
        first = pool.submit(meet, Place(address, 0, 3), 5.0)
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"{}\n", b""):  # Nobody of this run.
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("localhost", int(address[10:]))) as stray:
                    stray.sendall(words)
                    break
                time.sleep(0.01)
        others = [pool.submit(meet, Place(address, index, 3), 5.0) for index in (2, 1)]
        lifelines = [first.result(), *(other.result() for other in others)]
    assert [each.index for each in lifelines] == [0, 2, 1]
    assert len({(tuple(each.hosts), each.port) for each in lifelines}) == 1 and len(lifelines[0].hosts) == 3
    for each in lifelines:
        each.close()


def test_who_does_not_come_is_named(address, ends):
    (error,) = met(Place(address, 0, 4), timeout=0.2)
    assert "process 0 waited 0.2 s for processes 1, 2, 3 of 4, which did not come" in str(error)
    (error,) = met(Place(address, 1, 2), timeout=0.2)
    assert f"process 0 of 2 was not reached at {address} within 0.2 s (Connection refused)" in str(error)
    assert isinstance(error, LostHostError) and not ends


def test_contradictions_end_all_and_only_process_0_says_so(address, ends):
    in_a_thread(meet, Place(address, 1, 3), 5.0)
    (error,) = met(Place(address, 0, 2))
    assert isinstance(error, ConfigError)
    assert "process 1 on" in str(error) and "told that there are 3 processes, and process 0" in str(error)
    wait_for(lambda: ends)
    assert ends == [(2, "")]


def test_two_processes_of_one_number(address, ends):
    for _ in range(2):
        in_a_thread(meet, Place(address, 1, 3), 5.0)
    (error,) = met(Place(address, 0, 3))
    assert "two processes say that they are process 1" in str(error)
    wait_for(lambda: len(ends) == 2)
    assert ends == [(2, ""), (2, "")]


def test_a_port_in_use_is_bad_input(address):
    with socket.create_server(("", int(address.rpartition(":")[2]))):
        (error,) = met(Place(address, 0, 2))
    assert isinstance(error, ConfigError) and "take another port" in str(error)


@pytest.fixture
def pair(address, ends):
    return met(Place(address, 0, 2), Place(address, 1, 2))


def test_a_failure_ends_all_with_one_line(pair, ends, capsys):
    in_a_thread(pair[1].end, 2, "process 1: no such file")
    wait_for(lambda: ends.count((2, "")) == 2)
    assert capsys.readouterr().err == "error: process 1: no such file\n"


def test_of_two_failures_the_first_counts(pair, ends, capsys):
    in_a_thread(pair[0].end, 2, "first")
    wait_for(lambda: ends)
    in_a_thread(pair[1].end, 1, "second")
    wait_for(lambda: ends.count((2, "")) == 2)
    assert capsys.readouterr().err == "error: first\n"
    wait_for(lambda: (1, "second") in ends)  # In a process of its own it would have ended before.


def test_a_process_that_goes_is_a_lost_host(pair, ends, capsys):
    """And whoever must say something before the end does."""
    said = []
    pair[0].last_words.append(said.append)
    pair[0].waiting_for = "step 24"
    pair[1]._others[0]._socket.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: (1, "") in ends)
    line = f"a lost host: process 1 on {pair[0].hosts[1]} has gone, while process 0 waited for step 24; start the same"
    assert said[0].startswith(line) and capsys.readouterr().err == f"error: {said[0]}\n"
    # The other one, to which process 0 seems to have gone, has nobody who would speak for it.
    wait_for(lambda: len(ends) == 2)
    (spoken,) = (line for _, line in ends if line)
    assert spoken.startswith("a lost host: process 0 on")


def test_silence_is_loss_and_signs_of_life_are_not(monkeypatch, address, ends, capsys):
    monkeypatch.setattr(lifeline, "_ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(lifeline, "_SILENT_SECONDS", 0.5)
    pair = met(Place(address, 0, 2), Place(address, 1, 2))
    time.sleep(1.0)
    assert not ends
    pair[1]._done.set()  # As if its threads were stopped.
    wait_for(lambda: ends)
    assert "process 1 on" in (line := capsys.readouterr().err) and "has said nothing for" in line


def test_who_says_goodbye_is_not_missed(pair, ends):
    for each in (pair[1], pair[0]):
        each.close()
    for each in pair:
        for other in each._others.values():
            other._socket.shutdown(socket.SHUT_RDWR)
    time.sleep(0.2)
    assert not ends

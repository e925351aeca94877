import errno
import json
import logging
import os
import resource
import subprocess
import sys

import pytest

from genlab.files import (
    BusyError,
    DiskFullError,
    full_disk_in_one_line,
    says_disk_full,
    write_atomically,
    writer_lock,
)


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "table.csv"
    for text in ("one", "two"):
        write_atomically(path, text)
        assert path.read_text() == text
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch, code, function):
    path = tmp_path / "table.csv"
    write_atomically(path, "old")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(DiskFullError) as error:
        write_atomically(path, "new")
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_real_limit_on_file_sizes_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "table.csv"
    write_atomically(path, "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DiskFullError):
            write_atomically(path, "new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_full_disks_are_recognised_in_the_messages_of_other_libraries():
    assert says_disk_full("ValueError: RESOURCE_EXHAUSTED: write failed: No space left on device")
    assert says_disk_full("DiskFullError: no space left to write x")
    assert not says_disk_full("ValueError: RESOURCE_EXHAUSTED: out of memory")


def test_other_libraries_full_disks_become_one_line(tmp_path, caplog):
    message = "RESOURCE_EXHAUSTED: Failed to write 7298 bytes: No space left on device"
    with pytest.raises(DiskFullError, match=str(tmp_path)), full_disk_in_one_line(tmp_path):
        raise ValueError(f"{message}\nsource locations:\nmany")
    for name in ("absl", "asyncio"):
        logging.getLogger(name).error("a thread: %s", message)
        logging.getLogger(name).error("a thread: something else")
    assert caplog.messages == ["a thread: something else"] * 2
    with pytest.raises(ValueError, match="something else"), full_disk_in_one_line(tmp_path):
        raise ValueError("something else")


def test_a_second_writer_is_refused_with_the_name_of_the_first(tmp_path):
    with writer_lock(tmp_path):
        with pytest.raises(BusyError, match=f"is being written by process {os.getpid()} on ") as error, \
                writer_lock(tmp_path):
            pass
        assert "\n" not in str(error.value)
    with writer_lock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_a_killed_writer_holds_nothing_and_a_dying_one_is_waited_for(tmp_path):
    hold = ("import sys, time, pathlib; from genlab.files import writer_lock\n"
            "with writer_lock(pathlib.Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match=f"process {process.pid} on"), writer_lock(tmp_path):
        pass
    process.kill()
    with writer_lock(tmp_path, wait_seconds=10.0):
        pass
    process.wait()

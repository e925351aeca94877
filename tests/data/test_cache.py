"""The cache: made once, whole or not at all, whoever asks and whatever was killed."""

import errno
import threading
import time

import pytest

from genlab.data.cache import cache_folder, cached


def test_made_once_and_kept_by_key():
    made = []

    def make(folder):
        made.append(folder)
        (folder / "result").write_text(str(len(made)))

    first = cached("things", ["a", 1], make)
    assert cached("things", ["a", 1], make) == first
    assert cached("things", ["a", 2], make) != first
    assert (first / "result").read_text() == "1" and len(made) == 2
    assert first.parent == cache_folder() / "things"


def test_those_who_ask_at_once_wait_for_one_to_make_it():
    made, results = [], []

    def make(folder):
        made.append(folder)
        time.sleep(0.2)
        (folder / "result").write_text("whole")

    def ask():
        results.append((cached("things", "key", make) / "result").read_text())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and results == ["whole"] * 4


def test_what_failed_or_was_killed_is_made_again(own_cache):
    def fail(folder):
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("things", "key", fail)
    (lock,) = (own_cache / "things").iterdir()  # nothing but the lock's file is left
    unfinished = lock.with_suffix(".unfinished")  # as a killed process leaves it
    unfinished.mkdir()
    (unfinished / "half").write_text("half")
    folder = cached("things", "key", lambda folder: (folder / "result").write_text("whole"))
    assert [path.name for path in folder.iterdir()] == ["result"] and not unfinished.exists()


def test_a_full_disk_is_one_line_that_names_the_cache(own_cache):
    def fill(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device in the cache .*GENLAB_CACHE") as caught:
        cached("things", "key", fill)
    assert caught.value.errno == errno.ENOSPC and str(own_cache) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_errors_pass_unchanged():
    def fail(folder):
        raise FileNotFoundError("a text file is gone")

    with pytest.raises(FileNotFoundError, match="^a text file is gone$"):
        cached("things", "key", fail)


def test_default_place(monkeypatch, tmp_path):
    monkeypatch.delenv("GENLAB_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "genlab"

"""Data tests have a cache of their own and never see another test's."""

import pytest

from genlab.data import byte_pairs, streams


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    folder = tmp_path / "own_cache"
    monkeypatch.setenv("GENLAB_CACHE", str(folder))
    byte_pairs._prepare.cache_clear()
    streams.token_stream.cache_clear()
    return folder


@pytest.fixture
def forget():
    """Makes this process as forgetful as a new one: what it then knows comes from the cache."""

    def clear():
        byte_pairs._prepare.cache_clear()
        streams.token_stream.cache_clear()

    return clear

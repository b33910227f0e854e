"""A mirror shows what the cache holds and leaves it as it is."""

import pytest
from search.mirrored_cache import mirrored, original, untouched_cache
from trainable.arguments import default_cache
from trainable.locks import LOCK

from trainable.errors import UserError


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / "cache"
    (folder / "teachers" / "abc").mkdir(parents=True)
    (folder / "teachers" / "abc" / "weights").write_text("w")
    (folder / "datasets").mkdir()
    return folder


def tree(folder):
    return {p.relative_to(folder): p.is_file() and p.read_bytes() for p in folder.rglob("*")}


def test_what_is_there_is_seen(cache):
    with mirrored(cache) as mirror:
        assert (mirror / "teachers" / "abc" / "weights").read_text() == "w"


def test_what_is_written_or_replaced_stays_out_of_the_cache(cache):
    before = tree(cache)
    with mirrored(cache) as mirror:
        (mirror / "teachers" / "abc" / "more").write_text("new")
        (mirror / "outputs").mkdir()
        (mirror / "other").write_text("other")
        (mirror / "other").replace(mirror / "teachers" / "abc" / "weights")
        assert (mirror / "teachers" / "abc" / "weights").read_text() == "other"
    assert tree(cache) == before
    assert not mirror.exists()


@pytest.mark.parametrize("lock", ["x.lock", LOCK])
def test_locks_are_not_shared(cache, lock):
    (cache / "datasets" / lock).touch()
    with mirrored(cache) as mirror:
        assert not (mirror / "datasets" / lock).is_symlink()


def test_cache_that_is_not_there_is_not_made(tmp_path):
    with mirrored(tmp_path / "none") as mirror:
        assert list(mirror.iterdir()) == []
    assert not (tmp_path / "none").exists()


def test_the_default_cache_stays_as_it_is(cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    users = cache.rename(default_cache())
    before = tree(users)
    with untouched_cache():
        mirror = default_cache()
        assert mirror != users
        (mirror / "runs").mkdir()
        assert (mirror / "teachers" / "abc" / "weights").read_text() == "w"
        assert original(mirror / "runs" / "mine") == users / "runs" / "mine"
        assert original(users / "runs") == users / "runs"
    assert default_cache() == users
    assert tree(users) == before
    assert not mirror.exists()
    assert original(users / "runs") == users / "runs"


def test_the_default_cache_comes_back_after_an_error(cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    before = default_cache()
    with pytest.raises(UserError), untouched_cache():
        raise UserError("of the user")
    assert default_cache() == before

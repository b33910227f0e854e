"""Files by URI: what is put there comes back, whole, on file systems with folders and without."""

import errno
import os

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem
from trainable.storage import Storage, join_uri

from trainable import storage
from trainable.errors import UserError


class Somewhere:
    """In the place of pyarrow's FileSystem: an object store in this process's memory."""

    filesystem = PyFileSystem(FSSpecHandler(MemoryFileSystem()))

    @classmethod
    def from_uri(cls, uri):
        return cls.filesystem, "/" + uri.removeprefix("memory://")


@pytest.fixture(params=["file", "memory"])
def there(request, tmp_path, monkeypatch):
    if request.param == "file":
        return Storage(f"file://{tmp_path}/runs")
    monkeypatch.setattr(storage, "FileSystem", Somewhere)
    monkeypatch.setattr(storage, "OBJECT_STORES", (Somewhere.filesystem.type_name,))
    return Storage(f"memory://bucket{tmp_path}/runs")


@pytest.mark.parametrize(
    ("uri", "name", "joined"),
    [
        ("s3://bucket/runs", "mine", "s3://bucket/runs/mine"),
        ("s3://bucket", "mine", "s3://bucket/mine"),
        ("s3://bucket/runs/?region=r&x=y", "mine", "s3://bucket/runs/mine?region=r&x=y"),
        ("file:///a", "b", "file:///a/b"),
    ],
)
def test_join(uri, name, joined):
    assert join_uri(uri, name) == joined


def test_what_is_put_there_comes_back(there, tmp_path):
    local = tmp_path / "local"
    local.write_bytes(bytes(range(256)) * 5000)
    there.write("small", b"few")
    there.upload(local, "a/b/large")
    assert there.sizes() == {"small": 3, "a/b/large": 1_280_000}
    assert there.read("small") == b"few"
    there.download("a/b/large", tmp_path / "new" / "folder" / "copy")
    assert (tmp_path / "new" / "folder" / "copy").read_bytes() == local.read_bytes()
    lower = there.below("a").below("b")
    assert lower.sizes() == {"large": 1_280_000}
    assert (lower.uri, there.sizes()) == (f"{there.uri}/a/b", {"small": 3, "a/b/large": 1_280_000})
    assert there.names() == ["a"]


def test_newer_takes_the_place_of_older(there, tmp_path):
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two").write_bytes(b"and two")
    there.upload(tmp_path / "one", "name")
    there.upload(tmp_path / "two", "name")
    assert (there.read("name"), there.sizes()) == (b"and two", {"name": 7})
    there.write("name", b"3")
    assert (there.read("name"), there.sizes()) == (b"3", {"name": 1})


def test_what_is_not_there(there, tmp_path):
    assert there.read("nothing") is None
    assert (there.sizes(), there.names()) == ({}, [])
    there.remove("nothing")
    with pytest.raises(OSError, match="nothing"):
        there.download("nothing", tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_removed(there):
    there.write("a/one", b"1")
    there.write("a/two", b"2")
    there.remove("a/one")
    assert there.sizes() == {"a/two": 1}


def test_a_failed_upload_leaves_the_older_file(tmp_path):
    there = Storage(f"file://{tmp_path}/runs")
    there.write("name", b"older")
    with pytest.raises(OSError, match="missing"):
        there.upload(tmp_path / "missing", "name")
    assert (there.read("name"), there.sizes()) == (b"older", {"name": 5})


@pytest.mark.parametrize("same_disk", [True, False])
def test_a_link_takes_no_room_and_another_disk_gets_a_copy(tmp_path, monkeypatch, same_disk):
    def fail(*paths):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if not same_disk:
        monkeypatch.setattr(os, "link", fail)
    file, there = tmp_path / "file", Storage(f"file://{tmp_path}/runs")
    file.write_bytes(b"content")
    there.write("name", b"older")
    there.upload(file, "name", link=True)
    there.upload(file, "copy")
    assert (there.read("name"), there.read("copy")) == (b"content", b"content")
    assert (tmp_path / "runs" / "name").samefile(file) == same_disk
    assert not (tmp_path / "runs" / "copy").samefile(file)
    assert there.leftovers() == []


def test_what_is_on_its_way_is_not_there_yet(tmp_path):
    there = Storage(f"file://{tmp_path}/runs")
    left = ["trial/.state-000000002.safetensors.0123abcd", ".name.89abcdef"]
    whole = ["trial/state-000000002.safetensors", ".hidden", "name.89abcdef", ".a.0123abcd/b"]
    for name in left + whole:
        (tmp_path / "runs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / name).write_bytes(b"1")
    assert set(there.sizes()) == set(whole)
    assert set(there.leftovers()) == set(left)


def test_a_store_without_folders_has_nothing_on_its_way(there):
    there.write("name", b"1")
    assert there.leftovers() == []


@pytest.mark.parametrize("uri", ["nowhere://bucket/runs", "s3:/bucket", "://x"])
def test_a_uri_of_no_known_file_system_is_the_users_mistake(uri):
    with pytest.raises(UserError, match=f"--storage {uri}: "):
        Storage(uri)


def test_trying_to_write_leaves_nothing(there, tmp_path):
    there.try_writing()
    assert (there.sizes(), list(tmp_path.iterdir())) == ({}, [])
    there.write("name", b"1")
    there.try_writing()
    assert there.sizes() == {"name": 1}


@pytest.mark.parametrize("place", ["file/runs", "file", "proc"])
def test_where_nothing_can_be_written(tmp_path, place):
    (tmp_path / "file").touch()
    folder = "/proc/runs" if place == "proc" else tmp_path / place
    with pytest.raises(OSError, match=r"\.probe\."):
        Storage(f"file://{folder}").try_writing()


def test_a_try_that_a_kill_cut_short_is_no_file_of_a_run(tmp_path, monkeypatch):
    there = Storage(f"file://{tmp_path}")
    monkeypatch.setattr(there, "_filesystem", Undeletable(there._filesystem))
    with pytest.raises(KeyboardInterrupt):
        there.try_writing()
    assert there.sizes() == {}
    assert len(there.leftovers()) == 1


class Undeletable:
    """A file system that the process is killed on as it deletes."""

    def __init__(self, filesystem):
        self._filesystem = filesystem

    def delete_file(self, path):
        raise KeyboardInterrupt

    def __getattr__(self, name):
        return getattr(self._filesystem, name)

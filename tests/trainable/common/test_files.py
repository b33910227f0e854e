"""Files that appear whole or not at all, whatever happens while they are written."""

import os
from pathlib import Path

import pytest

from trainable.common import files
from trainable.common.files import atomic_file


class InterruptedWritingError(Exception):
    """Stands for whatever may go wrong while a folder is filled."""


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(target, text):
    with atomic_file(target) as temporary:
        temporary.write_text(text)


def fail_to_write(target, error):
    with atomic_file(target) as temporary:
        if error is not FileNotFoundError:  # else nothing is written at all
            temporary.write_text("half")
            raise error


@pytest.mark.parametrize("name", ["no-ending", ".hidden", "model.v1.2.safetensors"])
def test_a_file_takes_its_name_when_the_block_ends_with_nothing_beside_it(tmp_path, name):
    target, before = tmp_path / name, None
    for text in ("first", "second"):
        with atomic_file(target) as temporary:
            temporary.write_text(text)
            assert temporary.parent == target.parent  # so that it can be renamed in one step
            assert (target.read_text() if target.exists() else None) == before
        before = text
        assert content(tmp_path) == {name: text}


@pytest.mark.parametrize("error", [InterruptedWritingError, KeyboardInterrupt, FileNotFoundError])
@pytest.mark.parametrize("before", [None, "first"])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, before, error):
    target = tmp_path / "file.txt"
    if before:
        write(target, before)
    with pytest.raises(error):
        fail_to_write(target, error)
    assert content(tmp_path) == ({"file.txt": before} if before else {})


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_disk_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    def fail(*_):
        raise OSError(28, "No space left on device")

    write(tmp_path / "file.txt", "first")
    with monkeypatch.context() as full_disk:
        full_disk.setattr(files.os if failing == "fsync" else Path, failing, fail)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path / "file.txt", "second")
    assert content(tmp_path) == {"file.txt": "first"}


def test_a_file_is_on_disk_before_it_takes_its_name_and_the_name_before_the_block_is_left(
    tmp_path, monkeypatch
):
    target, synced = tmp_path / "file.txt", []

    def note(descriptor):
        synced.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")), target.exists()))

    monkeypatch.setattr(files.os, "fsync", note)
    with atomic_file(target) as temporary:
        temporary.write_text("full")
    assert synced == [(temporary, False), (tmp_path, True)]

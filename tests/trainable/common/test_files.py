"""Files and folders that appear completely or not at all, whatever happens in between."""

import os
import tempfile
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from trainable.common import files
from trainable.common.files import (
    MANIFEST,
    atomic_file,
    atomic_folder,
    temporary_folder,
    verified_values,
    write_manifest,
)


def content(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def write(target, text, atomic, error=None):
    """A file, or a folder with a file of the text's name."""
    with atomic(target) as temporary:
        assert temporary.parent == target.parent  # so that it can be renamed in one step
        (temporary / text if atomic is atomic_folder else temporary).write_text(text)
        if error:
            raise error


EITHER = pytest.mark.parametrize("atomic", [atomic_file, atomic_folder])


def test_what_a_process_left_that_was_killed_a_month_ago_goes(tmp_path):
    """And nothing of the user's own beside it."""
    ours = {".made.0a1b2c3d": 30, ".made.01234567.old": 30, ".made.89abcdef": 1}
    for name, days in (ours | {".made.backup": 30, ".other.01234567": 30}).items():
        (left := tmp_path / name).mkdir()
        os.utime(left, (then := time.time() - days * 24 * 3600, then))
    write(tmp_path / "made", "text", atomic_folder)
    left = [".made.89abcdef", ".made.backup", ".other.01234567", "made"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_so_does_what_it_left_among_the_systems_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, days in (("mine-a", 1), ("mine-b", 30), ("other-c", 30)):
        (left := tmp_path / name).mkdir()
        os.utime(left, (then := time.time() - days * 24 * 3600, then))
    with temporary_folder("mine-") as folder:
        assert {path.name for path in tmp_path.iterdir()} == {"mine-a", "other-c", folder.name}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine-a", "other-c"]


@EITHER
@pytest.mark.parametrize("name", ["no-ending", ".hidden", "model.v1.2"])
def test_it_replaces_what_was_there_and_leaves_nothing_beside_it(tmp_path, name, atomic):
    (tmp_path / f"{name}.old").write_text("a neighbour")
    for text in ("first", "second"):
        write(tmp_path / name, text, atomic)
        written = f"{name}/{text}" if atomic is atomic_folder else name
        assert content(tmp_path) == {f"{name}.old": "a neighbour", written: text}


@EITHER
@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [None, "first"])
def test_an_error_leaves_everything_as_it_was(tmp_path, before, error, atomic):
    if before:
        write(tmp_path / "target", before, atomic)
    expected = content(tmp_path)
    with pytest.raises(error):
        write(tmp_path / "target", "half", atomic, error)
    assert content(tmp_path) == expected
    assert len(list(tmp_path.iterdir())) == bool(before)


@EITHER
@pytest.mark.parametrize("failing", ["fsync", "first rename", "second rename"])
def test_a_disk_that_fails_leaves_what_was_there(tmp_path, monkeypatch, failing, atomic):
    write(tmp_path / "target", "first", atomic)
    expected = content(tmp_path)
    full = OSError(28, "No space left on device")
    if failing == "fsync":
        monkeypatch.setattr(files.os, "fsync", Mock(side_effect=full))
    elif atomic is atomic_file:
        monkeypatch.setattr(Path, "replace", Mock(side_effect=full))
    else:
        rename, renamed = Path.rename, []

        def fail(path, target):
            renamed.append(path)
            if len(renamed) == (2 if failing == "second rename" else 1):
                raise full
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "target", "second", atomic)
    assert content(tmp_path) == expected


def test_file_then_name_are_on_disk_before_the_block_is_left(tmp_path, monkeypatch):
    target, synced = tmp_path / "file.txt", []

    def note(descriptor):
        synced.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")), target.exists()))

    monkeypatch.setattr(files.os, "fsync", note)
    with atomic_file(target) as temporary:
        temporary.write_text("full")
    assert synced == [(temporary, False), (tmp_path, True)]


VALUES = {"accuracy": 0.5, "labels": ["no", "yes"]}


@pytest.fixture
def sealed(tmp_path):
    """A folder with a manifest, a file at the top and one further down."""
    with atomic_folder(tmp_path / "sealed") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "top.txt").write_text("top")
        (temporary / "inner" / "file.txt").write_text("inner")
        write_manifest(temporary, VALUES)
    return tmp_path / "sealed"


def test_a_manifest_gives_its_values_back_wherever_the_folder_is_moved(sealed):
    assert verified_values(sealed) == VALUES
    assert verified_values(sealed.rename(sealed.parent / "moved")) == VALUES


@pytest.mark.parametrize("file", ["top.txt", "inner/file.txt", MANIFEST])
@pytest.mark.parametrize("damage", [None, b"", b"other", b'{"values": {}}', b"[]", b"3"])
def test_a_missing_or_changed_file_is_noticed(sealed, file, damage):
    (sealed / file).unlink()
    if damage is not None:
        (sealed / file).write_bytes(damage)
    assert verified_values(sealed) is None


WHOLE = bytes(100)


@pytest.mark.parametrize(
    ("damaged", "seen"),
    [
        (WHOLE[1:], True),
        (b"\1" + WHOLE[1:], True),
        (WHOLE[1:] + b"\1", True),
        (WHOLE[:40] + b"\1" + WHOLE[41:], False),
    ],
    ids=["shorter", "first", "last", "between"],
)
def test_of_a_large_file_a_sample_is_read_if_that_was_asked_for(
    tmp_path, monkeypatch, damaged, seen
):
    """Its size, its first and last bytes and pieces between them; on demand every byte."""
    for name, value in {"SAMPLED_FROM": 100, "PIECES": 3, "PIECE": 8}.items():
        monkeypatch.setattr(files, name, value)
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(WHOLE)
    small.write_bytes(WHOLE[1:])
    write_manifest(tmp_path, VALUES, sampled=True)
    assert verified_values(tmp_path) == verified_values(tmp_path, every_byte=True) == VALUES
    large.write_bytes(damaged)
    assert verified_values(tmp_path) == (None if seen else VALUES)
    assert verified_values(tmp_path, every_byte=True) is None
    large.write_bytes(WHOLE)
    small.write_bytes(WHOLE[:40] + b"\1" + WHOLE[42:])  # of which every byte is read
    assert verified_values(tmp_path) is None

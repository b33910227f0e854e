"""Folders that appear whole or not at all, whatever happens while they are written."""

import shutil

import pytest

from trainable import folders
from trainable.folders import (
    MANIFEST,
    seal,
    sealed_values,
    whole_folder,
)


class InterruptedWritingError(Exception):
    """Stands for whatever may go wrong while a folder is filled."""


def fill(target, text):
    with whole_folder(target) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file.txt").write_text(text)


def fail_to_fill(target):
    with whole_folder(target) as temporary:
        (temporary / "half.txt").write_text("half")
        raise InterruptedWritingError


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_appears_with_its_files_and_nothing_beside_it(tmp_path):
    target = tmp_path / "new" / "parents" / "target"
    fill(target, "first")
    assert content(tmp_path) == {"new/parents/target/inner/file.txt": "first"}
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_nothing_stands_under_the_name_before_the_block_ends(tmp_path):
    target = tmp_path / "target"
    with whole_folder(target) as temporary:
        (temporary / "file.txt").write_text("whole")
        assert not target.exists()
        assert temporary.parent == target.parent  # so that it can be renamed in one step
    assert content(target) == {"file.txt": "whole"}


def test_what_stood_there_is_replaced_not_mixed(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "old.txt").write_text("old")
    fill(target, "second")
    assert content(tmp_path) == {"target/inner/file.txt": "second"}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_an_old_folder_stays_readable_while_the_new_one_is_written(tmp_path):
    target = tmp_path / "target"
    fill(target, "first")
    with whole_folder(target) as temporary:
        (temporary / "file.txt").write_text("second")
        assert content(target) == {"inner/file.txt": "first"}


@pytest.mark.parametrize("before", [None, "first"])
def test_an_error_leaves_everything_as_it_was(tmp_path, before):
    target = tmp_path / "target"
    if before:
        fill(target, before)
    with pytest.raises(InterruptedWritingError):
        fail_to_fill(target)
    expected = {"target/inner/file.txt": before} if before else {}
    assert content(tmp_path) == expected
    assert [path.name for path in tmp_path.iterdir()] == (["target"] if before else [])


def test_a_name_with_dots_is_kept_whole(tmp_path):
    for text in ("first", "second"):
        fill(tmp_path / "model.v1.2", text)
    assert content(tmp_path) == {"model.v1.2/inner/file.txt": "second"}


def test_neighbours_with_similar_names_are_left_alone(tmp_path):
    for name in ("target", "target.old", "target.new"):
        fill(tmp_path / name, name)
    fill(tmp_path / "target", "again")
    kept = {name: content(tmp_path / name) for name in ("target", "target.old", "target.new")}
    assert [files["inner/file.txt"] for files in kept.values()] == [
        "again",
        "target.old",
        "target.new",
    ]


def test_what_a_killed_process_left_behind_does_not_stop_the_next(tmp_path, monkeypatch):
    target = tmp_path / "target"
    fill(target, "first")
    with monkeypatch.context() as killed_before_tidying:
        killed_before_tidying.setattr(folders.shutil, "rmtree", lambda *_, **__: None)
        fill(target, "second")
    assert folders.shutil.rmtree is shutil.rmtree
    fill(target, "third")
    assert content(target) == {"inner/file.txt": "third"}


@pytest.fixture
def sealed(tmp_path):
    """A sealed folder with a file at the top and one further down."""
    with whole_folder(tmp_path / "sealed") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "top.txt").write_text("top")
        (temporary / "inner" / "file.txt").write_text("inner")
        seal(temporary, {"accuracy": 0.5, "labels": ["no", "yes"]})
    return tmp_path / "sealed"


def test_a_sealed_folder_gives_its_values_back_wherever_it_is_moved(sealed):
    values = {"accuracy": 0.5, "labels": ["no", "yes"]}
    assert sealed_values(sealed) == values
    assert sealed_values(sealed.rename(sealed.parent / "moved")) == values


@pytest.mark.parametrize("file", ["top.txt", "inner/file.txt", MANIFEST])
def test_a_missing_file_breaks_the_seal(sealed, file):
    (sealed / file).unlink()
    assert sealed_values(sealed) is None


@pytest.mark.parametrize("file", ["top.txt", "inner/file.txt"])
def test_a_changed_byte_breaks_the_seal(sealed, file):
    content = bytearray((sealed / file).read_bytes())
    content[-1] ^= 1
    (sealed / file).write_bytes(content)
    assert sealed_values(sealed) is None


@pytest.mark.parametrize("manifest", ["", '{"values": {}, "fi', "{}", '{"values": {}}', "[]", "3"])
def test_a_manifest_that_says_nothing_breaks_the_seal(sealed, manifest):
    (sealed / MANIFEST).write_text(manifest)
    assert sealed_values(sealed) is None


def test_a_folder_that_is_not_there_has_no_values(tmp_path):
    assert sealed_values(tmp_path / "nowhere") is None

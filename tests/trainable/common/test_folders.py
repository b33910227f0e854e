"""Folders that appear whole or not at all, whatever happens while they are written."""

from pathlib import Path

import pytest

from trainable.common.files import MANIFEST, atomic_folder, verified_values, write_manifest


class InterruptedWritingError(Exception):
    """Stands for whatever may go wrong while a folder is filled."""


def fill(target, text):
    with atomic_folder(target) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file.txt").write_text(text)


def fail_to_fill(target):
    with atomic_folder(target) as temporary:
        (temporary / "half.txt").write_text("half")
        raise InterruptedWritingError


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_takes_its_name_when_the_block_ends_with_nothing_beside_it(tmp_path):
    target, before = tmp_path / "new" / "model.v1.2", {}
    fill(tmp_path / "new" / "model.v1.2.old", "a neighbour")
    for text in ("first", "second"):
        with atomic_folder(target) as temporary:
            (temporary / f"{text}.txt").write_text(text)
            assert (content(target) if target.exists() else {}) == before
            assert temporary.parent == target.parent  # so that it can be renamed in one step
        before = {f"{text}.txt": text}  # replaced, not mixed
        assert content(target) == before
        assert sorted(path.name for path in target.parent.iterdir()) == [
            "model.v1.2",
            "model.v1.2.old",
        ]
    assert content(tmp_path / "new" / "model.v1.2.old") == {"inner/file.txt": "a neighbour"}


@pytest.mark.parametrize("before", [None, "first"])
def test_an_error_leaves_everything_as_it_was(tmp_path, before):
    target = tmp_path / "target"
    if before:
        fill(target, before)
    with pytest.raises(InterruptedWritingError):
        fail_to_fill(target)
    assert content(tmp_path) == ({"target/inner/file.txt": before} if before else {})
    assert [path.name for path in tmp_path.iterdir()] == (["target"] if before else [])


def test_a_rename_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    fill(tmp_path / "target", "first")
    rename, renamed = Path.rename, []

    def fail_second(path, target):
        renamed.append(path)
        if len(renamed) == 2:
            raise InterruptedWritingError
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_second)
    with pytest.raises(InterruptedWritingError):
        fill(tmp_path / "target", "second")
    assert content(tmp_path) == {"target/inner/file.txt": "first"}


@pytest.fixture
def sealed(tmp_path):
    """A sealed folder with a file at the top and one further down."""
    with atomic_folder(tmp_path / "sealed") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "top.txt").write_text("top")
        (temporary / "inner" / "file.txt").write_text("inner")
        write_manifest(temporary, {"accuracy": 0.5, "labels": ["no", "yes"]})
    return tmp_path / "sealed"


def test_a_sealed_folder_gives_its_values_back_wherever_it_is_moved(sealed):
    values = {"accuracy": 0.5, "labels": ["no", "yes"]}
    assert verified_values(sealed) == values
    assert verified_values(sealed.rename(sealed.parent / "moved")) == values


@pytest.mark.parametrize("file", ["top.txt", "inner/file.txt", MANIFEST])
@pytest.mark.parametrize("damage", [None, b"", b"other"])
def test_a_missing_or_changed_file_breaks_the_seal(sealed, file, damage):
    (sealed / file).unlink()
    if damage is not None:
        (sealed / file).write_bytes(damage)
    assert verified_values(sealed) is None


@pytest.mark.parametrize("manifest", ['{"values": {}, "fi', '{"values": {}}', "[]", "3"])
def test_a_manifest_that_says_nothing_breaks_the_seal(sealed, manifest):
    (sealed / MANIFEST).write_text(manifest)
    assert verified_values(sealed) is None

"""Files and folders that appear completely or not at all, and a manifest that verifies them."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest, sha256
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any
from uuid import uuid4
from zlib import crc32

MANIFEST = "manifest.json"
CHECKSUM = "crc"  # CRC-32
LONG_AGO = 7 * 24 * 3600.0  # seconds, in which whatever is written would be complete
SAMPLED_FROM = 256 * 2**20  # bytes of a file, of which a sample is enough if that is asked for
PIECES, PIECE = 1024, 4096  # in a sample, and the bytes of each


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """A path beside `target`; it takes that name, on disk, when the block ends without an error."""
    temporary = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(target)
        flush(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that replaces it when the block ends without an error;
    else `target` stays as it was, and nothing of ours is left, nor of a process killed long ago."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_old(target.parent, rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}(\.old)?")
    temporary = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    replaced = Path(f"{temporary}.old")
    temporary.mkdir()
    try:
        yield temporary
        for path in [*temporary.rglob("*"), temporary]:
            flush(path)
        if target.exists():
            target.rename(replaced)
        temporary.rename(target)
    finally:
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """One among the system's temporary files, until the block ends; what a process killed long ago
    left under the same prefix is removed."""
    _remove_old(Path(gettempdir()), f"{re.escape(prefix)}.*")
    with TemporaryDirectory(prefix=prefix) as folder:
        yield Path(folder)


def _remove_old(parent: Path, names: str) -> None:
    """Folders whose names match, and that nobody can be writing any more."""
    for left in parent.iterdir():
        with suppress(OSError):  # one that is being written may have its name by now
            if re.fullmatch(names, left.name) and left.stat().st_mtime < time.time() - LONG_AGO:
                shutil.rmtree(left)


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def flush(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, values: Any) -> None:
    """Readable JSON with a closing newline."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def write_checked_json(path: Path, values: dict[str, Any]) -> None:
    """The same of a dict, with a checksum as its last value."""
    write_json(path, {**values, CHECKSUM: _checksum(values)})


def parse_checked_json(content: bytes | None) -> dict[str, Any] | None:
    """The dict of a file that `write_checked_json` wrote; None for any other content."""
    try:
        values = json.loads(content or b"")
        return values if values.pop(CHECKSUM) == _checksum(values) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def read_checked_json(path: Path) -> dict[str, Any] | None:
    """`parse_checked_json` of a file; None if it does not exist."""
    return parse_checked_json(path.read_bytes()) if path.is_file() else None


def _checksum(values: dict[str, Any]) -> str:
    return f"{crc32(json.dumps(values, sort_keys=True).encode()):08x}"


def digest_file(path: Path) -> str:
    """Of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def digest_sample(path: Path) -> str:
    """Of a file's size and of PIECES pieces, evenly spread from its first byte to its last."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest = sha256(str(size).encode())
        for number in range(PIECES):
            file.seek(max(0, size - PIECE) * number // (PIECES - 1))
            digest.update(file.read(PIECE))
    return digest.hexdigest()


def write_manifest(folder: Path, values: dict[str, Any], *, sampled: bool = False) -> None:
    """Writes the folder's manifest: the values, and the digest and size of each of its files; with
    `sampled` also digests of samples of the large ones, which make checking them fast."""
    files = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    files.pop(MANIFEST, None)
    digests = {name: digest_file(path) for name, path in files.items()}
    sizes = {name: path.stat().st_size for name, path in files.items()}
    manifest = {"values": values, "files": digests, "bytes": sizes}
    if sampled:
        large = [name for name, size in sizes.items() if size >= SAMPLED_FROM]
        manifest["samples"] = {name: digest_sample(folder / name) for name in large}
    write_checked_json(folder / MANIFEST, manifest)


def verified_values(folder: Path, *, every_byte: bool = False) -> dict[str, Any] | None:
    """What `write_manifest` was given; None if the folder is missing, incomplete or changed. Of
    files with a sample that alone is read, unless `every_byte` is asked for."""
    try:
        manifest = read_checked_json(folder / MANIFEST) or {}
        samples = {} if every_byte else manifest.get("samples", {})
        digests = {**manifest["files"], **samples}
        digest = {name: digest_sample if name in samples else digest_file for name in digests}
        if all(digest[name](folder / name) == was for name, was in digests.items()):
            return dict(manifest["values"])
    except (OSError, KeyError, TypeError, AttributeError):  # not as write_manifest has it
        pass
    return None

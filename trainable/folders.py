"""Folders that appear whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from trainable.digest import digest_file
from trainable.files import flush, read_json, write_json

MANIFEST = "manifest.json"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name when the block ends well.

    What stood under that name is replaced; after an error it stays, and nothing of ours is left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
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


def seal(folder: Path, values: dict[str, Any]) -> None:
    """Writes the folder's manifest: what is known of it, digest and size of each of its files."""
    files = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    files.pop(MANIFEST, None)
    digests = {name: digest_file(path) for name, path in files.items()}
    sizes = {name: path.stat().st_size for name, path in files.items()}
    write_json(folder / MANIFEST, {"values": values, "files": digests, "bytes": sizes})


def sealed_values(folder: Path) -> dict[str, Any] | None:
    """The values given to `seal`; None where the folder is missing, incomplete or changed since."""
    try:
        manifest = read_json(folder / MANIFEST)
        whole = all(digest_file(folder / f) == d for f, d in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not as seal writes it
        return None
    return dict(manifest["values"]) if whole else None

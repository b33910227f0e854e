"""Files that appear whole or not at all. Loads nothing heavy: the run's record stands on it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; it takes that name, on disk, when the block ends well.

    After an error or a kill the old file stands as it was.
    """
    temporary = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(target)
        flush(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def nearest_existing(path: Path) -> Path:
    """The path, or the nearest of the folders above it that is there."""
    return next(place for place in (path, *path.parents) if place.exists())


def flush(path: Path) -> None:
    """Has a file, or a folder's list of names, on disk before it returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, values: Any) -> None:
    """Readable JSON with a closing newline."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The value that `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))

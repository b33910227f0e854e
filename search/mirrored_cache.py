"""A cache that can be looked into and written to without leaving a trace in it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCKS = ".lock"  # ends the names of files that are opened to write: libraries', and our own


@contextmanager
def mirrored(cache: Path) -> Iterator[Path]:
    """A temporary folder with links to all files of the cache; what is written there goes with it.

    Folders are real ones, so that what is made new stands beside the links.
    """
    with tempfile.TemporaryDirectory(prefix="dry-run-") as name:
        mirror = Path(name) / "cache"
        mirror.mkdir()
        for path in sorted(cache.rglob("*")) if cache.is_dir() else ():
            place = mirror / path.relative_to(cache)
            if path.is_dir():
                place.mkdir(exist_ok=True)
            elif not path.name.endswith(LOCKS):
                place.symlink_to(path.resolve())
        yield mirror

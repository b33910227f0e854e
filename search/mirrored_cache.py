"""A cache that can be looked into and written to without leaving a trace in it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainable.arguments import cache_at, default_cache, users_cache

LOCKS = ".lock"  # ends the names of files that are opened to write: libraries', and our own


@contextmanager
def mirrored(cache: Path) -> Iterator[Path]:
    """A temporary folder with links to all files of the cache; what is written there goes with it.

    Folders are real ones, so that what is made new stands beside the links.
    """
    with tempfile.TemporaryDirectory(prefix="dry-run-") as temporary:
        mirror = Path(temporary).resolve() / "cache"
        mirror.mkdir()
        for folder, folders, files in os.walk(cache):  # others may write to it meanwhile
            place = mirror / Path(folder).relative_to(cache)
            for name in folders:
                (place / name).mkdir()
            for name in files:
                if not name.endswith(LOCKS):
                    (place / name).symlink_to(Path(folder, name).resolve())
        yield mirror


@contextmanager
def untouched_cache() -> Iterator[None]:
    """Within, the default cache is a mirror of the user's.

    What is written there by default, such as copies of runs that lie in a storage, goes with it.
    """
    with mirrored(users_cache()) as mirror, cache_at(mirror):
        yield


def original(path: Path) -> Path:
    """What a path in that mirror stands for; any other path as it is."""
    mirror = default_cache()
    return users_cache() / path.relative_to(mirror) if path.is_relative_to(mirror) else path

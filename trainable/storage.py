"""Files on whatever file system a URI names: those that pyarrow knows, which Ray Tune takes.

Loads neither Ray nor torch: a run in a storage is looked at without them.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem, copy_files

from trainable.arguments import default_cache
from trainable.errors import UserError, first_line
from trainable.files import whole_file

OBJECT_STORES = ("s3", "gcs", "abfs")  # no folders, and what is written appears when it is whole
CHUNK_BYTES = 64 * 1024 * 1024
TEMPORARY = r"(.*/)?\.[^/]+\.[0-9a-f]{8}"  # a file that is on its way to its name


def join_uri(uri: str, name: str) -> str:
    """What lies under a URI, its query kept: `s3://bucket/runs?region=r` -> `.../runs/NAME?...`."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


def runs_here(uri: str) -> Path:
    """Where this machine's user has the local copies of the runs of a storage."""
    return default_cache() / "runs" / _folder_name(uri)


def trials_here(uri: str) -> Path:
    """Where this machine's user has trials of a storage's runs while they train here.

    Not among the copies of its runs, each of which gives way to a newer one.
    """
    return default_cache() / "trials" / _folder_name(uri)


def _folder_name(uri: str) -> str:
    return sha256(uri.encode()).hexdigest()[:16]


class Storage:
    """The files below a URI, by their names relative to it.

    Each appears whole or not at all, as far as the file system can do that. Raises OSError where it
    fails, and UserError, which names `--storage`, for a URI of no file system that is known.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        try:
            self._filesystem, root = FileSystem.from_uri(uri)
        except (ValueError, ImportError, OSError) as error:  # pyarrow's errors are of these
            raise UserError(f"--storage {uri}: {first_line(error)}") from None
        self._root = root.rstrip("/")
        self._has_folders = self._filesystem.type_name not in OBJECT_STORES

    def below(self, name: str) -> "Storage":
        """The files below one of the names, over the same connection."""
        lower = copy(self)
        lower.uri, lower._root = join_uri(self.uri, name), self._path(name)
        return lower

    def sizes(self) -> dict[str, int]:
        """All files there are, at any depth, with their sizes in bytes."""
        found = self._all_sizes()
        return {name: size for name, size in found.items() if not re.fullmatch(TEMPORARY, name)}

    def leftovers(self) -> list[str]:
        """Files, at any depth, that are on their way there or that a kill left so."""
        if not self._has_folders:
            return []
        return [name for name in self._all_sizes() if re.fullmatch(TEMPORARY, name)]

    def _all_sizes(self) -> dict[str, int]:
        selector = FileSelector(self._root, allow_not_found=True, recursive=True)
        start = len(self._root) + 1
        return {
            found.path[start:]: found.size
            for found in self._filesystem.get_file_info(selector)
            if found.type == FileType.File
        }

    def names(self) -> list[str]:
        """The folders directly below."""
        found = self._filesystem.get_file_info(FileSelector(self._root, allow_not_found=True))
        return sorted(entry.base_name for entry in found if entry.type == FileType.Directory)

    def read(self, name: str) -> bytes | None:
        """A small file's content; None where there is none."""
        try:
            with self._filesystem.open_input_stream(self._path(name)) as stream:
                return bytes(stream.readall())
        except FileNotFoundError:
            return None

    def try_writing(self) -> None:
        """Writes a file and removes it, in the nearest folder that there is: none is made for it.

        The file has the name of one on its way, so that it is no run's if a kill leaves it there.
        """
        folder = self._root
        while self._has_folders and folder and self._is_missing(folder):
            folder = folder.rpartition("/")[0]
        path = f"{folder}/.probe.{uuid4().hex[:8]}"
        with self._filesystem.open_output_stream(path) as stream:
            stream.write(b"")
        with suppress(FileNotFoundError):
            self._filesystem.delete_file(path)

    def _is_missing(self, path: str) -> bool:
        return bool(self._filesystem.get_file_info(path).type == FileType.NotFound)

    def write(self, name: str, content: bytes) -> None:
        """Puts a small file there, in the place of an older one."""

        def put(path: str) -> None:
            with self._filesystem.open_output_stream(path) as stream:
                stream.write(content)

        self._put(name, put)

    def upload(self, path: Path, name: str, *, link: bool = False) -> None:
        """Puts a copy of a local file there, in the place of an older one.

        With `link`, where the storage is on the file's own disk, it is no copy but a hard link.
        """

        def put(target: str) -> None:
            if link and self._filesystem.type_name == LocalFileSystem().type_name:
                with suppress(OSError):  # another disk, or one without links
                    os.link(path, target)
                    return
            copy_files(
                str(path),
                target,
                source_filesystem=LocalFileSystem(),
                destination_filesystem=self._filesystem,
                chunk_size=CHUNK_BYTES,
                use_threads=False,  # pyarrow's uploads to S3 can hang with threads
            )

        self._put(name, put)

    def download(self, name: str, path: Path) -> None:
        """Makes a local file of one that is there, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            copy_files(
                self._path(name),
                str(temporary),
                source_filesystem=self._filesystem,
                destination_filesystem=LocalFileSystem(),
                chunk_size=CHUNK_BYTES,
            )

    def remove(self, name: str) -> None:
        """Removes a file, where it is there."""
        with suppress(FileNotFoundError):
            self._filesystem.delete_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _put(self, name: str, put: Callable[[str], None]) -> None:
        path = self._path(name)
        if not self._has_folders:
            put(path)
            return
        folder, _, last = path.rpartition("/")
        self._filesystem.create_dir(folder, recursive=True)
        temporary = f"{folder}/.{last}.{uuid4().hex[:8]}"
        try:
            put(temporary)
            self._filesystem.move(temporary, path)
        except BaseException:
            with suppress(OSError):
                self._filesystem.delete_file(temporary)
            raise

"""A request, made with a file in the run's folder, that trials stop where they are and save."""

import time
from contextlib import suppress

from pyarrow.fs import FileSystem, FileType, LocalFileSystem

PAUSE = ".pause"
POLL_SECONDS = 0.25  # a look costs microseconds on a local disk
POLL_SECONDS_REMOTE = 5.0  # and perhaps 50 ms in an object store


class PauseRequest:
    """True, soon after the run's folder, a path or URI, got the file."""

    def __init__(self, run: str) -> None:
        self._filesystem, folder = FileSystem.from_uri(run)
        self._path = f"{folder}/{PAUSE}"
        local = isinstance(self._filesystem, LocalFileSystem)
        self._pause = POLL_SECONDS if local else POLL_SECONDS_REMOTE
        self._made, self._next_look = False, 0.0

    def __bool__(self) -> bool:
        now = time.monotonic()
        if not self._made and now >= self._next_look:
            self._next_look = now + self._pause
            with suppress(OSError):  # a storage that can't be reached for a moment asks for nothing
                self._made = self._filesystem.get_file_info(self._path).type != FileType.NotFound
        return self._made

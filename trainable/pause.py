"""A request, made with a file, that trials stop where they are and save."""

import time
from collections.abc import Callable
from pathlib import Path

PAUSE = ".pause"
LOOK_SECONDS = 0.25  # a look costs microseconds on a local disk, a millisecond over a network


class PauseRequest:
    """Seen from a trial: true, within LOOK_SECONDS, once the run's folder holds the file.

    Where that folder is out of sight, `made` asks another way.
    """

    def __init__(self, run_folder: Path, made: Callable[[], bool] | None = None) -> None:
        self._look = made or (run_folder / PAUSE).exists
        self._made = False
        self._next_look = 0.0

    def __bool__(self) -> bool:
        now = time.monotonic()
        if not self._made and now >= self._next_look:
            self._made, self._next_look = self._look(), now + LOOK_SECONDS
        return self._made

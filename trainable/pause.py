"""A request, made with a file, that trials stop where they are and save."""

import time
from pathlib import Path

PAUSE = ".pause"
LOOK_SECONDS = 0.25  # a look costs microseconds on a local disk, a millisecond over a network


class PauseRequest:
    """Seen from a trial: true, within LOOK_SECONDS, once the run's folder holds the file."""

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / PAUSE
        self._made = False
        self._next_look = 0.0

    def __bool__(self) -> bool:
        now = time.monotonic()
        if not self._made and now >= self._next_look:
            self._made, self._next_look = self._path.exists(), now + LOOK_SECONDS
        return self._made

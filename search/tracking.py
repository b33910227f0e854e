"""The sweep's side of tracking: starts the writer, listens to it, and never waits for it long."""

import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from search.interruption import READER_GONE
from search.tracking_modes import OFF, PROBLEM

WRITER = (sys.executable, "-m", "search.swanlab_writer")
PATIENCE_SECONDS = 30.0  # without a trial written, once the sweep is over
LOOK_SECONDS = 0.1


class Tracking:
    """Runs the writer of a sweep's record while the block lasts, unless the mode is OFF.

    Whatever goes wrong in it is said in one line; the sweep goes on, and a session to come writes
    what this one did not.
    """

    def __init__(
        self, folder: Path, mode: str, console: Console, writer: tuple[str, ...] = WRITER
    ) -> None:
        self._command = (*writer, str(folder), mode)
        self._off, self._console = mode == OFF, console
        self._writer: subprocess.Popen[str] | None = None
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._heard = time.monotonic()

    def __enter__(self) -> "Tracking":
        if self._off:
            return self
        try:
            self._writer = subprocess.Popen(
                self._command,
                cwd=Path(__file__).parent.parent,  # where `-m` finds it, installed or not
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C is the sweep's to handle
            )
        except OSError as error:
            self._say(f"SwanLab is off: {error}.")
            return self
        self._listener.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is None:
            return
        assert self._writer.stdin is not None
        with suppress(OSError):
            self._writer.stdin.close()  # so it knows that nothing more will come
        self._heard = time.monotonic()
        while self._listener.is_alive() and time.monotonic() - self._heard < PATIENCE_SECONDS:
            self._listener.join(LOOK_SECONDS)
        if self._listener.is_alive():
            self._say("SwanLab does not answer: what it lacks is written when the run is resumed.")
        self._writer.kill()
        self._writer.wait()

    def _listen(self) -> None:
        """In a thread of its own, until the writer ends."""
        assert self._writer is not None
        assert self._writer.stdout is not None
        for line in self._writer.stdout:
            self._heard = time.monotonic()
            if line.startswith(PROBLEM):
                self._say(f"SwanLab is off: {line.removeprefix(PROBLEM).rstrip().rstrip('.')}.")

    def _say(self, line: str) -> None:
        with suppress(*READER_GONE):
            self._console.print(line, soft_wrap=True)

"""Checkpoints written beside the training, so that neither GPU nor CPU waits for the disk."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from torch import Tensor

from trainable.checkpoint import Snapshot, take_snapshot, write_checkpoint
from trainable.trial import Trial


class Saver:
    """Writes one checkpoint at a time in a thread of its own.

    `then` is called after each, in the same thread; what it does counts as part of the writing.
    `held_seconds` is how long training stood still for it: copying to host memory, and waiting.
    """

    def __init__(self, folder: Path, then: Callable[[], None] | None = None) -> None:
        self.held_seconds = 0.0
        self._folder, self._then = folder, then
        self._buffers: dict[str, Tensor] = {}
        self._executor = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[None] | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *error: object) -> None:
        """Leaves when nothing is being written any more."""
        self._executor.shutdown(wait=True)

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._writing is not None and not self._writing.done()

    def save(self, trial: Trial) -> None:
        """Starts to write the trial as it is now; raises what `wait` raises."""
        self.wait()
        start = time.perf_counter()
        snapshot = take_snapshot(trial, self._buffers)
        self._writing = self._executor.submit(self._write, snapshot)
        self.held_seconds += time.perf_counter() - start

    def _write(self, snapshot: Snapshot) -> None:
        write_checkpoint(snapshot, self._folder)
        if self._then is not None:
            self._then()

    def wait(self) -> None:
        """Returns when the last checkpoint is on disk; OSError where it could not be written."""
        start = time.perf_counter()
        writing, self._writing = self._writing, None
        try:
            if writing is not None:
                writing.result()
        finally:
            self.held_seconds += time.perf_counter() - start

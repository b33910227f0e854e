"""Checkpoints written beside the training, so that neither GPU nor CPU waits for the disk."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from torch import Tensor

from trainable.checkpoint import take_snapshot, write_checkpoint
from trainable.trial import Trial


class Saver:
    """Writes one checkpoint at a time in a thread of its own.

    `held_seconds` is how long training stood still for it: copying to host memory, and waiting.
    """

    def __init__(self, folder: Path) -> None:
        self.held_seconds = 0.0
        self._folder = folder
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
        self._writing = self._executor.submit(write_checkpoint, snapshot, self._folder)
        self.held_seconds += time.perf_counter() - start

    def wait(self) -> None:
        """Returns when the last checkpoint is on disk; OSError where it could not be written."""
        start = time.perf_counter()
        writing, self._writing = self._writing, None
        try:
            if writing is not None:
                writing.result()
        finally:
            self.held_seconds += time.perf_counter() - start

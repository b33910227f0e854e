"""The study's file, kept up to date while the sweep runs."""

import time
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.interruption import Interruption
from search.record import Run
from search.suggestions import write_study

LEAST_SECONDS = 15.0  # between two writings, of some hundredths of a second each


class StudyWriter(Callback):  # type: ignore[misc] # Ray has no types
    """Writes the study anew when a trial has ended; its end is written at the session's."""

    def __init__(self, run: Run, interruption: Interruption) -> None:
        self._run, self._interruption = run, interruption
        self._next = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its callbacks into the run; a resumed run makes its own

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Ray's hook for trials that finished, were stopped, or paused."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LEAST_SECONDS
        try:
            write_study(self._run)
        except OSError as error:
            self._interruption.pause(str(error))

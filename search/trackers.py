"""Callbacks that show a sweep elsewhere while it runs: SwanLab, and Optuna's dashboard."""

import time
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console

from search.interruption import Interruption
from search.record import Run
from search.tracking_modes import CLOUD

LEAST_SECONDS = 15.0  # between two writings of the study, of some hundredths of a second each


def make_trackers(run: Run, console: Console, interruption: Interruption) -> list[Any]:
    """Those that the run asks for."""
    trackers: list[Any] = []
    if run.searched:
        trackers.append(StudyWriter(run, interruption))
    if run.request.swanlab == CLOUD:
        from search.swanlab_tracker import SwanLabCallback, cloud_problem

        if problem := cloud_problem():
            console.print(f"SwanLab is off: {problem.rstrip('.')}.", soft_wrap=True)
        else:
            trackers.append(SwanLabCallback(run))
    return trackers


class StudyWriter(Callback):  # type: ignore[misc] # Ray has no types
    """Writes the Optuna study anew when a trial has ended; its end is written at the session's."""

    def __init__(self, run: Run, interruption: Interruption) -> None:
        self._run, self._interruption = run, interruption
        self._next = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its callbacks into the run; a resumed run makes its own

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Ray's hook for trials that finished, were stopped, or paused."""
        from search.suggestions import write_study  # with Optuna, which takes a second to load

        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LEAST_SECONDS
        try:
            write_study(self._run)
        except OSError as error:
            self._interruption.pause(str(error))

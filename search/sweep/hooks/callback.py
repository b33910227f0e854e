"""Tune's callback: trials that begin, end and fail, as events of the run."""

from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback

from search.sweep.hooks.live_run import LiveRun
from search.sweep.hooks.ray_private import failure_reason, limit_retries, names_of
from trainable.trial.messages import MESSAGE


class RunCallback(Callback):  # type: ignore[misc] # Ray has no types, and names what it gives hooks
    """Hands on what the scheduler is not told of."""

    def __init__(self, live: LiveRun) -> None:
        self._live = live

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its callbacks into the run; a resumed run makes its own

    def setup(self, *args: Any, **info: Any) -> None:
        """Ray's hook, before the first trial."""
        self._live.display.start()

    def on_step_end(self, trials: list[Trial], **info: Any) -> None:
        """Ray's hook, several times a second: once all trials have saved, the loop can end."""
        live = self._live
        running = any(trial.status == Trial.RUNNING for trial in trials)
        pausing = live.interruption.requested and (live.interruption.problem or not running)
        begun = running or any(trial.status == Trial.PENDING for trial in trials)
        # Other seeds may wait for a trial that is left over: the next Tuner runs it.
        if pausing or (live.needs_next_tuner and not begun):
            live.interruption.leave_loop()

    def on_experiment_end(self, **info: Any) -> None:
        """Ray's hook, after the last trial or an interruption."""
        self._live.display.stop()

    def on_trial_start(self, trial: Trial, **info: Any) -> None:
        """Ray's hook."""
        if not self._live.interruption.requested:
            self._live.record({"event": "start", "slots": self._live.slots()}, **names_of(trial))
        self._limit_retries(trial)

    def on_trial_result(self, trial: Trial, result: dict[str, Any], **info: Any) -> None:
        """Ray's hook, after the scheduler: it has the message, and Tune keeps the metrics."""
        result.pop(MESSAGE, None)
        self._limit_retries(trial)

    def on_trial_complete(self, trial: Trial, **info: Any) -> None:
        """Ray's hook for trials that finished, were stopped, or paused with the sweep."""
        self._live.completed(names_of(trial)["trial"])
        self._live.prune()

    def on_trial_recover(self, trial: Trial, **info: Any) -> None:
        """Ray's hook for a trial that failed and goes on from its checkpoint."""
        self._live.failed(failure_reason(trial), restarted=True, **names_of(trial))
        self._limit_retries(trial)

    def on_trial_error(self, trial: Trial, **info: Any) -> None:
        """Ray's hook for a trial that it does not restart."""
        self._live.failed(failure_reason(trial), restarted=False, **names_of(trial))
        self._live.prune()

    def _limit_retries(self, trial: Trial) -> None:
        limit_retries(trial, self._live.restarts(names_of(trial)["trial"]))


class Silence(TrialProgressCallback):  # type: ignore[misc] # Ray has no types
    """Stands in for Ray's own, which prints a line for each trial that ends without a result."""

    def on_trial_complete(self, *places: Any, **info: Any) -> None:
        """Prints nothing."""

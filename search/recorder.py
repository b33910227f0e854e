"""Ray's events turned into the run's own record, and shown."""

from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console

from search.display import Display, make_display
from search.record import FAILED, FINISHED, STOPPED, Run, append_event, read_run
from trainable.config import TrialConfig
from trainable.trial import EVALUATION_KEYS


class Recorder(Callback):  # type: ignore[misc] # Ray has no types
    """Writes each event to the run's record before anything else is done with it.

    Ray pickles its callbacks into the run and a restored Tuner uses those, so what is pickled is
    only where to find the run again.
    """

    def __init__(self, folder: Path, concurrency: int) -> None:
        self._folder, self._concurrency = folder, concurrency
        self._run: Run = read_run(folder)
        self._display: Display = make_display(Console(), concurrency)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self._folder, "concurrency": self._concurrency}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def setup(self, *args: Any, **info: Any) -> None:
        """Ray's hook, before the first trial."""
        self._display.start()

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Ray's hook, after the last trial or an interruption."""
        self._display.stop()

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Ray's hook."""
        self._take({"event": "start"}, trial)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Ray's hook, after the scheduler has decided."""
        if "accuracy" in result:
            values = {key: result[key] for key in EVALUATION_KEYS}
            self._take({"event": "evaluation", "evaluation": values}, trial)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Ray's hook for trials that finished and those that the scheduler stopped."""
        record = self._run.trials[_digest(trial)]
        whole = len(record.evaluations) >= record.config.evaluations
        self._take({"event": "end", "outcome": FINISHED if whole else STOPPED}, trial)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Ray's hook."""
        text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
        self._take({"event": "end", "outcome": FAILED, "reason": failure_reason(text)}, trial)

    def _take(self, event: dict[str, Any], trial: Trial) -> None:
        event |= {"trial": _digest(trial), "tune_trial": trial.trial_id}
        append_event(self._run.folder, event)
        self._run.apply(event)
        self._display.show(self._run, event)


def _digest(trial: Trial) -> str:
    return TrialConfig.from_dict(trial.config).digest


def failure_reason(error: str) -> str:
    """What went wrong in one line, from the text that Ray keeps of a trial's error.

    After a traceback that is the line below the last frame, without our own exceptions' module; of
    a process that died, Ray's first line.
    """
    lines = [line for line in error.splitlines() if line.strip()]
    frames = [index for index, line in enumerate(lines) if line.startswith('  File "')]
    below = [line for line in lines[frames[-1] if frames else 0 :] if not line.startswith(" ")]
    said = [line for line in below if not line.startswith("Failure #")]
    if not said:
        return "unknown"
    name, colon, message = said[0].partition(": ")
    return message if colon and name.startswith("trainable.") else said[0]

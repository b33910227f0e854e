"""First in, first out, with trials that go on from the checkpoints of earlier sessions."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from search.plan.schedulers import Slots
from search.record.run import Run
from search.sweep.checkpoints import register_newest
from trainable.config.trial_config import TrialConfig


def digest_of(trial: Trial) -> str:
    """Of a Ray trial's configuration, by which it is known in every session."""
    return TrialConfig.from_dict(trial.config).digest


class ResumingScheduler(FIFOScheduler):  # type: ignore[misc] # Ray has no types
    """To Ray each session of a run is a new experiment, whose trials have no checkpoints yet."""

    def __init__(self, run: Run, slots: Slots | None = None) -> None:
        super().__init__()
        self.run, self.slots = run, slots
        self._known: set[str] = set()  # Ray's ids of this session's trials

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its scheduler into the run; a resumed run makes its own

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Ray's hook, also for a trial that is tried again, whose checkpoint Ray knows."""
        if trial.trial_id not in self._known:
            self._known.add(trial.trial_id)
            register_newest(trial, self.run, self.run.trials[digest_of(trial)])

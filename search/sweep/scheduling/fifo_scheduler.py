"""First in, first out, with trials that go on from the checkpoints of earlier sessions."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from search.plan.schedulers import Slots
from search.record.checkpoints import newest_checkpoint, remove_checkpoints, trial_location
from search.record.run import Run
from search.record.storage import open_storage
from search.record.trial_record import TrialRecord
from trainable.config.trial_config import TrialConfig


def digest_of(trial: Trial) -> str:
    """Of a Ray trial's configuration, by which it is known in every session."""
    return TrialConfig.from_dict(trial.config).digest


class ResumingScheduler(FIFOScheduler):  # type: ignore[misc] # Ray has no types
    """To Ray each session of a run is a new experiment, whose trials have no checkpoints yet."""

    def __init__(self, run: Run, slots: Slots | None = None) -> None:
        super().__init__()
        self.run, self.slots = run, slots
        self._digests: dict[str, str] = {}  # of this session's trials, by Ray's id

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its scheduler into the run; a resumed run makes its own

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Ray's hook, also for a trial that is tried again, whose checkpoint Ray knows."""
        if trial.trial_id not in self._digests:
            digest = self._digests[trial.trial_id] = digest_of(trial)
            register_newest(trial, self.run, self.run.trials[digest])


def register_newest(trial: Any, run: Run, record: TrialRecord) -> None:
    """Has a Ray trial that is new to its Tuner go on from the checkpoint that it has on disk.

    Others that a kill has left beside it are removed: Ray would write into one, and keep the rest.
    Ray offers no public way to go on; what of its inside is used stands here alone.
    """
    from ray.train._internal.session import _TrainingResult
    from ray.tune import Checkpoint

    filesystem, path = open_storage(trial_location(run, record))
    found = newest_checkpoint(filesystem, path)
    remove_checkpoints(run, record, but=found and found[0])
    if found is None:
        return
    number, path = found
    trial.storage.current_checkpoint_index = number
    result = _TrainingResult(Checkpoint(path, filesystem=filesystem), {"training_iteration": 0})
    trial.run_metadata.checkpoint_manager.register_checkpoint(result)


SCHEDULER = ResumingScheduler

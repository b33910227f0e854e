"""The checkpoints that a run keeps."""

from pathlib import Path

from search.record import Run, TrialRecord


def kept_checkpoint(run: Run, trial: TrialRecord) -> Path | None:
    """The folder of a trial's newest checkpoint; None where none is kept."""
    return max(run.trial_folder(trial).glob("checkpoint_*"), default=None)

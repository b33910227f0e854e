"""Which students a run keeps; the checkpoints of the others are removed."""

from search.record.checkpoints import has_checkpoint, remove_checkpoints
from search.record.labels import labels_of
from search.record.run import Run
from search.record.trial_record import ENDED, FINISHED, TrialRecord
from search.results.finalists import best_trials
from search.results.pareto import pareto_trials


def kept_trials(run: Run) -> list[TrialRecord]:
    """Whose students are kept: the best, and those that nothing cheaper equals."""
    return [*best_trials(run.trials.values())[: run.request.keep], *pareto_trials(run)]


def lost_students(run: Run) -> list[str]:
    """A line for each finished trial whose student should be kept, and is not there."""
    kept = {trial.config.digest: trial for trial in kept_trials(run) if trial.outcome == FINISHED}
    lost, describe = [t for t in kept.values() if not has_checkpoint(run, t)], labels_of(run)
    return [f"No student is left to export, its result stands: {describe(t)}" for t in lost]


def prune(run: Run) -> None:
    """Removes the checkpoints of trials that have ended and are not among the kept."""
    kept = {trial.config.digest for trial in kept_trials(run)}
    for trial in run.trials.values():
        if trial.outcome in ENDED and trial.config.digest not in kept:
            remove_checkpoints(run, trial)

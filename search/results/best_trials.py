"""The best trials of a run, and those whose students it keeps."""

from collections.abc import Iterable
from statistics import fmean

from search.record.checkpoints import has_checkpoint, remove_checkpoints
from search.record.labels import labels_of
from search.record.run import Run
from search.record.trial_record import ENDED, FINISHED, STOPPED, TrialRecord, by_recipe
from search.results.pareto import pareto_trials
from trainable.config.trial_config import TrialConfig


def best_trials(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Those that finished, best first, then those stopped early, best first.

    Seeds of one recipe rank by their mean best5, the best seed of them first.
    """
    ended = [trial for trial in trials if trial.outcome in (FINISHED, STOPPED)]
    means = recipe_scores(ended)

    def rank(trial: TrialRecord) -> tuple[bool, float, float]:
        mean = means[trial.outcome, trial.config.recipe]
        return trial.outcome != FINISHED, -mean, -(trial.best5 or 0.0)

    return sorted(ended, key=rank)


def recipe_scores(trials: Iterable[TrialRecord]) -> dict[tuple[str, TrialConfig], float]:
    """Mean best5 over the seeds of a recipe that have the same outcome, of those evaluated."""
    scores: dict[tuple[str, TrialConfig], list[float]] = {}
    for trial in trials:
        if trial.best5 is not None:
            scores.setdefault((trial.outcome, trial.config.recipe), []).append(trial.best5)
    return {key: fmean(of_seeds) for key, of_seeds in scores.items()}


def best_finished(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The best seed of each recipe, best first, among the trials that finished.

    Trials that were stopped early have no final evaluation to compare.
    """
    finished = [trial for trial in best_trials(trials) if trial.outcome == FINISHED]
    return [seeds[0] for seeds in by_recipe(finished).values()]


def contenders(run: Run) -> list[TrialRecord]:
    """For what is recommended: the finals that ran to their end, or without any all that did."""
    return [trial for trial in run.finished if trial.final] or run.finished


def kept_trials(run: Run) -> list[TrialRecord]:
    """Whose students are kept: the best, finals, the default, which is recommended where no other
    is clearly better, and those that nothing cheaper equals."""
    keep, default = run.request.keep, run.default_recipe
    best = best_trials(run.trials.values())[:keep]
    also = [trial for trial in run.finished if trial.final or trial.config.recipe == default]
    return [*best, *(also if keep else []), *pareto_trials(run)]


def lost_students(run: Run) -> list[str]:
    """A line for each finished trial whose student should be kept, and is not there."""
    kept = {trial.config.digest: trial for trial in kept_trials(run) if trial.outcome == FINISHED}
    lost, describe = [t for t in kept.values() if not has_checkpoint(run, t)], labels_of(run)
    return [f"No student is left to export, its result stands: {describe(t)}" for t in lost]


def prune(run: Run, done: set[str] | None = None) -> None:
    """Removes the checkpoints of trials that have ended and are not kept; those that are `done` are
    not looked at again, which takes time in a storage."""
    done = set() if done is None else done
    kept = {trial.config.digest for trial in kept_trials(run)} | done
    for trial in run.trials.values():
        if trial.outcome in ENDED and trial.config.digest not in kept:
            remove_checkpoints(run, trial)
            done.add(trial.config.digest)

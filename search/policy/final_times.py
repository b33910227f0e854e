"""How long finals take, by what the trials before them took."""

from collections.abc import Sequence

from search.record.run import Run
from search.record.trial_record import TrialRecord
from search.results.recommendation import passes_made, steps_per_pass
from trainable.config.trial_config import TrialConfig
from trainable.data.batches import trial_steps
from trainable.engine.metrics import BEST_OF


def seconds_to_end(run: Run, trials: Sequence[TrialRecord]) -> float:
    """That these take to be trained from their last evaluations on, as others took, in the run's
    slots."""
    trained, seconds = [trial for trial in run.trials.values() if trial.evaluations], 0.0
    for trial in trials:
        of_pass, of_evaluation = _times(trained, trial.config, run)
        steps = trial_steps(run.plan.inputs.examples["train"], trial.config)
        made = passes_made(trial, run) if trial.evaluations else 0.0
        seconds += (steps / steps_per_pass(run, trial.config) - made) * of_pass
        seconds += (trial.config.evaluations - len(trial.evaluations)) * of_evaluation
    return seconds / min(run.slots, max(len(trials), 1))


def seconds_searched(run: Run) -> float:
    """Of a run, of whose budget finals take the rest; without one all but those of its finals, as
    others take their share of the search, whatever these took."""
    return run.seconds - (0.0 if run.request.time_budget else run.final_seconds)


def passes_in_time(run: Run, recipes: Sequence[TrialConfig]) -> float:
    """Over the training examples, that these may make each in the time that is left.

    That is the rest of the time budget, or what a search as long as this one leaves of one.
    """
    trained = [trial for trial in run.trials.values() if trial.evaluations]
    spent = seconds_searched(run)
    left = run.request.whole_budget(spent) - spent
    # Of each trial: starting its worker, building its student, saving.
    in_slots = min(run.slot_seconds, len(trained) * run.trial_seconds)
    overhead = max(in_slots - sum(trial.seconds for trial in trained), 0.0) / len(trained)
    fixed = of_pass = 0.0
    for first in range(0, len(recipes), run.slots):  # some run after the others
        times = [_times(trained, recipe, run) for recipe in recipes[first : first + run.slots]]
        fixed += overhead + max(evaluation for _, evaluation in times) * evaluations_of_final(run)
        of_pass += max(training for training, _ in times)
    return (left - fixed) / max(of_pass, 1e-6)


def _times(trained: list[TrialRecord], recipe: TrialConfig, run: Run) -> tuple[float, float]:
    """Seconds that a pass and an evaluation took, of students of a recipe's shape if there are."""
    alike = [t for t in trained if t.config.shape == recipe.shape] or trained
    evaluations = [e for trial in alike for e in trial.evaluations]
    training, evaluating = (
        sum(e[clock] for e in evaluations) for clock in ("training_seconds", "evaluation_seconds")
    )
    passes = sum(passes_made(trial, run) for trial in alike)
    return training / passes, evaluating / len(evaluations)


def evaluations_of_final(run: Run) -> int:
    """Evaluations of a final: as many as its score is a mean of."""
    return int(dict(run.request.overrides).get("evaluations", BEST_OF))

"""Scores from a run's recorded predictions: by example, and by another metric than the run's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from search.record.run import Run
from search.record.trial_record import TrialRecord
from search.results.statistics import SEED_SD, best5_scores
from trainable.common.errors import UserError, count_of
from trainable.config.metrics import ACCURACY, check_metric
from trainable.config.training_inputs import TrainingInputs
from trainable.engine.metrics import example_scores, mean_of_best5, score, unpack_predictions

USUAL_SPREAD = 0.3  # standard deviation of right and wrong answers at an accuracy of 0.9


def last_split(evaluation: Mapping[str, Any]) -> str:
    """The split that an evaluation was scored on: `full` if it was, else `evaluation`."""
    return "evaluation" if evaluation.get("full_score") is None else "full"


def last_score(evaluation: Mapping[str, Any]) -> float:
    """An evaluation's score on its `last_split`."""
    full = evaluation.get("full_score")
    return float(evaluation["score"] if full is None else full)


def labels_and_predictions(
    scored: Mapping[str, Any], inputs: TrainingInputs, split: str = "evaluation"
) -> tuple[np.ndarray, np.ndarray] | None:
    """Of an evaluation, or of a Teacher as a dict, on a split, [N] each; None if they are lost."""
    packed = scored.get("full_predictions" if split == "full" else "predictions")
    count, classes = inputs.examples.get(split, 0), len(inputs.label_names)
    if not packed or split not in inputs.labels:
        return None
    labels = unpack_predictions(inputs.labels[split], count, classes)
    return labels, unpack_predictions(packed, count, classes)


def scores_by_example(
    scored: Mapping[str, Any], inputs: TrainingInputs, split: str = "evaluation"
) -> np.ndarray | None:
    """What each example adds to a score by the inputs' metric, [N] (`example_scores`); arguments
    and None as of `labels_and_predictions`."""
    pair = labels_and_predictions(scored, inputs, split)
    return None if pair is None else example_scores(inputs.metric, pair[1], pair[0])


def seed_scores(trials: Sequence[TrialRecord], run: Run) -> np.ndarray | None:
    """Per-example best5 scores of trials [S, N]; None where predictions of any are missing."""
    if not all(trial.has_predictions for trial in trials):
        return None
    inputs = run.plan.inputs
    scores = [[scores_by_example(e, inputs) for e in trial.evaluations] for trial in trials]
    return np.array([best5_scores([s for s in of if s is not None]) for of in scores])


def last_scores(trial: TrialRecord, run: Run) -> np.ndarray | None:
    """Per-example scores of the final evaluation, [N], on the full validation split where it was
    scored on that; None where the record lost the predictions."""
    last = trial.evaluations[-1]
    return scores_by_example(last, run.plan.inputs, last_split(last))


def seed_sd_of(run: Run) -> float:
    """SEED_SD for the run's metric: times what its teacher's predictions say of the latter."""
    pair = labels_and_predictions(vars(run.plan.inputs.teacher), run.plan.inputs)
    return SEED_SD if pair is None else SEED_SD * sensitivity(run.plan.inputs.metric, *pair)


def sensitivity(metric: str, labels: np.ndarray, predictions: np.ndarray) -> float:
    """How many times as much as accuracy a metric changes with a seed; at least 1.

    That is the standard deviation of its scores by example, of these predictions [N], in units of
    that of right and wrong answers.
    """
    if metric == ACCURACY:
        return 1.0  # of which SEED_SD was measured
    return max(1.0, float(example_scores(metric, predictions, labels).std()) / USUAL_SPREAD)


def rescored(run: Run, metric: str | None) -> Run:
    """The run as if it had been scored by this metric, from its predictions; None for its own.

    What was decided while it ran stays. UserError if the metric does not fit its labels, or if
    predictions are lost.
    """
    if metric is None or metric == run.plan.inputs.metric:
        return run
    inputs = replace(run.plan.inputs, metric=metric)
    check_metric(metric, inputs.label_names)
    evaluations = [e for trial in run.trials.values() for e in trial.evaluations]
    if lost := sum(not evaluation["predictions"] for evaluation in evaluations):
        raise UserError(
            f"--metric {metric}: the predictions of {count_of(lost, 'evaluation')} of "
            f"{run.folder.name} are lost; leave it out for {run.plan.inputs.metric_label}"
        )
    teacher = replace(inputs.teacher, **_scores(vars(inputs.teacher), inputs))
    trials = {}
    for digest, trial in run.trials.items():
        again = [{**e, **_scores(e, inputs)} for e in trial.evaluations]
        scores = [e["score"] for e in again]
        again = [{**e, "best5": mean_of_best5(scores[: n + 1])} for n, e in enumerate(again)]
        trials[digest] = replace(trial, evaluations=again)
    plan = replace(run.plan, inputs=replace(inputs, teacher=teacher))
    return replace(run, plan=plan, trials=trials)


def _scores(scored: Mapping[str, Any], inputs: TrainingInputs) -> dict[str, Any]:
    """`score` and `full_score` by the inputs' metric, of what has predictions."""
    pairs = {
        key: labels_and_predictions(scored, inputs, split)
        for key, split in (("score", "evaluation"), ("full_score", "full"))
    }
    return {key: score(inputs.metric, p[1], p[0]) for key, p in pairs.items() if p is not None}

"""The students of a search's finals, averaged into one unless that scores clearly lower."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search.record.checkpoints import kept_checkpoint
from search.record.run import Run
from search.record.trial_record import TrialRecord
from search.results.best_trials import best_trials
from search.results.cells import difference_cells
from search.results.statistics import paired_difference
from search.students.kept import answers
from trainable.config.training_inputs import TrainingInputs
from trainable.data.datasets import Dataset, LabelledTexts
from trainable.engine.metrics import example_scores, pack_predictions, score
from trainable.engine.training_state import CheckpointError
from trainable.models.loading import load_weights, save_weights
from trainable.trial.checkpoint import check_checkpoint


def average_finals(
    folder: Path, run: Run, trial: TrialRecord, evaluation: dict[str, Any], examples: Dataset
) -> tuple[dict[str, Any], str]:
    """Averages the weights in a folder, of this final, with those of others of its shape and
    initialisation; each joins, best first, unless the score on the validation examples is lower
    with it by more than a standard error of that difference.

    Returns the evaluation of the average and a sentence: what was given, and nothing, if none
    joins. A greedy soup (Wortsman et al. 2022, arXiv 2203.05482), which costs no training and, of
    students that start from the same weights, mostly scores higher than each: the final's own
    score, the best of several, owes more to luck than that of an average.
    """
    if not (others := _others(run, trial)):
        return evaluation, ""
    validation, metric = examples.validation, run.plan.inputs.metric
    averaged, joined = load_weights(folder), [trial.config.digest]
    alone = best = scores = _scores(folder, validation, metric)
    for digest, checkpoint in others.items():
        weights, share = load_weights(checkpoint), 1 / (len(joined) + 1)
        wider = {name: torch.lerp(averaged[name], weights[name], share) for name in averaged}
        save_weights(wider, folder)
        found = _scores(folder, validation, metric)
        if (gaps := found - best).mean() >= -gaps.std() / len(gaps) ** 0.5:
            averaged, scores, joined = wider, found, [*joined, digest]
            best = max(best, scores, key=np.mean)
    save_weights(averaged, folder)
    if len(joined) == 1:
        return evaluation, ""
    points, ends = difference_cells(paired_difference(scores, alone))
    text = (
        f"Weights averaged over {len(joined)} finals ({', '.join(joined)}): {points} points (95% "
        f"interval {ends}) over {joined[0]} alone, on the validation examples, which chose them."
    )
    scored = _evaluated(folder, examples, run.plan.inputs)
    return {**evaluation, **scored, "averaged": joined}, text


def _others(run: Run, trial: TrialRecord) -> dict[str, Path]:
    """Their checkpoints by digest, best first; without any that are damaged or not kept."""

    def start(of: TrialRecord) -> tuple[Any, ...]:
        return of.final, of.config.initialisation, of.config.shape

    checkpoints = {}
    for other in best_trials(run.finished):
        if other.config.digest != trial.config.digest and start(other) == start(trial):
            with suppress(CheckpointError):
                if (checkpoint := kept_checkpoint(run, other)) is not None:
                    check_checkpoint(checkpoint, other.config, run.plan.inputs)
                    checkpoints[other.config.digest] = checkpoint
    return checkpoints


def _scores(folder: Path, texts: LabelledTexts, metric: str) -> np.ndarray:
    return example_scores(metric, answers(folder, texts.texts), np.asarray(texts.labels))


def _evaluated(folder: Path, examples: Dataset, inputs: TrainingInputs) -> dict[str, Any]:
    """What an evaluation has of its splits."""
    values: dict[str, Any] = {}
    for prefix, split in (("", examples.evaluation), ("full_", examples.full)):
        if split is not None:
            own = answers(folder, split.texts)
            values[f"{prefix}score"] = score(inputs.metric, own, np.asarray(split.labels))
            values[f"{prefix}predictions"] = pack_predictions(own, len(inputs.label_names))
    return values

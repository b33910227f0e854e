"""The study's four tables beside the same rows of a run, and whether they agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from search.record import FINISHED, Run, TrialRecord
from search.statistics import best5_scores, paired_difference, sentence_interval
from spaces.study import CE_ONLY, STUDY_ROWS
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.layers import resolve_layer_set
from trainable.metrics import unpack_bits

STUDY_PRESET = "sst2"
STUDY_SENTENCES = 872
BOOTSTRAP_SEED = 0

AGREES, HIGHER, LOWER = "agrees", "ours is higher", "ours is lower"
NOT_RUN, NOT_WHOLE, BASELINE, NO_BASELINE = (
    "not in this run",
    "not run to its end",
    "the row that gaps are taken from",
    "no baseline in this run",
)

Interval = tuple[float, float]


@dataclass(frozen=True)
class StudyRow:
    """One row of the study; accuracies are shares, gaps differences of two.

    Ours is the mean over seeds, its interval over evaluation sentences; None where no trial of
    that row ran to its end. Gaps are to the cross-entropy-only row of the same initialisation.
    """

    table: str
    initialisation: str
    layers: str  # in words
    schedule: str
    study: float
    study_error: float  # standard error of a share on the study's 872 sentences
    study_gap: float | None
    ours: float | None
    interval: Interval | None
    gap: float | None
    gap_interval: Interval | None
    seeds: int
    same_level: str  # whether the study's number lies in our interval
    same_gap: str  # whether the study's gap lies in the interval of ours


def same_task(run: Run) -> bool:
    """Whether the run has the study's teacher and sentences, so that levels can be compared."""
    first = run.sweep["requests"][0]
    cut = ("train_sentences", "evaluation_sentences")
    return first.get("preset") == STUDY_PRESET and not any(
        first.get(key) is not None for key in ("teacher", "dataset", *cut)
    )


def study_rows(run: Run) -> list[StudyRow]:
    """All 18 rows in the study's order; empty where the run has none of them."""
    matching = [matching_trials(run, row) for row in STUDY_ROWS]
    if not any(matching):
        return []
    scores = [_mean_scores(run, trials) for trials in matching]
    base = {
        row[1]: (row[4], found)
        for row, found in zip(STUDY_ROWS, scores, strict=True)
        if row[3] is CE_ONLY
    }
    return [
        _compare(row, trials, found, *base[row[1]])
        for row, trials, found in zip(STUDY_ROWS, matching, scores, strict=True)
    ]


def matching_trials(
    run: Run, row: tuple[str, str, str, dict[str, Any], float]
) -> list[TrialRecord]:
    """The run's trials that are this row, on whatever seeds; what the row leaves open is usual."""
    _, initialisation, layer_set, alpha, _ = row
    usual = {key: TrialConfig.default(key) for key in ("temperature", "hidden_weight")}
    wanted = {"alpha": None, "sharpness": None, **alpha, **usual, "initialisation": initialisation}
    found = []
    for trial in run.trials.values():
        config = trial.config
        try:
            layers = resolve_layer_set(layer_set, config.student_layers)
        except UserError:  # a student too shallow for that set
            continue
        same = config.aligned_layers == layers and (layers == "none" or config.hidden_pool == "cls")
        if same and all(getattr(config, key) == value for key, value in wanted.items()):
            found.append(trial)
    return found


def _mean_scores(run: Run, trials: Sequence[TrialRecord]) -> np.ndarray | None:
    """For each sentence the mean over finished trials of best5_scores, [N]."""
    count = run.sweep["evaluation_sentences"]
    scores = [
        best5_scores([unpack_bits(e["correct"], count) for e in trial.evaluations])
        for trial in trials
        if trial.outcome == FINISHED
    ]
    return np.asarray(np.mean(scores, axis=0)) if scores else None


def _compare(
    row: tuple[str, str, str, dict[str, Any], float],
    trials: Sequence[TrialRecord],
    scores: np.ndarray | None,
    study_base: float,
    base: np.ndarray | None,
) -> StudyRow:
    table, initialisation, layers, alpha, study = row
    of_baseline = alpha is CE_ONLY
    interval = None if scores is None else sentence_interval(scores, _generator())
    gap = None
    if scores is not None and base is not None and not of_baseline:
        gap = paired_difference(scores, base, _generator())
    gap_interval = None if gap is None else (gap.low, gap.high)
    study_gap = None if of_baseline else study - study_base
    missing = NOT_WHOLE if trials else NOT_RUN
    no_gap = BASELINE if of_baseline else missing if scores is None else NO_BASELINE
    return StudyRow(
        table=table,
        initialisation=initialisation,
        layers=layers,
        schedule=_schedule_words(alpha),
        study=study,
        study_error=sqrt(study * (1 - study) / STUDY_SENTENCES),
        study_gap=study_gap,
        ours=None if scores is None else float(scores.mean()),
        interval=interval,
        gap=None if gap is None else gap.estimate,
        gap_interval=gap_interval,
        seeds=sum(trial.outcome == FINISHED for trial in trials),
        same_level=missing if interval is None else verdict(study, interval),
        same_gap=no_gap
        if gap_interval is None or study_gap is None
        else verdict(study_gap, gap_interval),
    )


def verdict(study: float, ours: Interval) -> str:
    """Agrees where the study's number lies within our interval, its ends included."""
    low, high = ours
    return HIGHER if study < low else LOWER if study > high else AGREES


def _generator() -> np.random.Generator:
    return np.random.default_rng(BOOTSTRAP_SEED)


def _schedule_words(alpha: dict[str, Any]) -> str:
    if alpha is CE_ONLY:
        return "cross-entropy only"
    schedule = str(alpha["alpha_schedule"])
    return f"fixed {alpha['alpha']:g}" if schedule == "fixed" else schedule

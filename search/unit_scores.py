"""What the seeds of a recipe reached together: which of them count, their mean and its interval."""

from collections.abc import Sequence

import numpy as np

from search.record import ENDED, FAILED, PENDING, RUNNING, Run, TrialRecord
from search.statistics import best5_scores, seeds_interval, sentence_interval
from search.units import most_seeds, units_of
from trainable.metrics import unpack_bits

BOOTSTRAP_SEED = 0


def rows_of(run: Run) -> list[list[TrialRecord]]:
    """The trials that share a row: those of a recipe where the run has several seeds of any."""
    if most_seeds(run.trials.values()) > 1:
        return list(units_of(run.trials.values()).values())
    return [[trial] for trial in run.trials.values()]


def counted(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Those that have come as far as any of them: they are compared at equal numbers.

    Seeds that failed count only where all did.
    """
    good = [trial for trial in trials if trial.outcome != FAILED] or trials
    furthest = max(len(trial.evaluations) for trial in good)
    return [trial for trial in good if len(trial.evaluations) == furthest]


def outcome_of(trials: Sequence[TrialRecord]) -> str:
    """Of all together: `running` while one that has not failed is still to end."""
    if len(trials) == 1:
        return trials[0].outcome
    good = [trial for trial in trials if trial.outcome != FAILED]
    if all(trial.outcome in ENDED for trial in good):
        return counted(trials)[0].outcome
    begun = any(trial.evaluations or trial.outcome != PENDING for trial in good)
    return RUNNING if begun else PENDING


def reason_of(trials: Sequence[TrialRecord]) -> str:
    """Why a trial failed, or those of these seeds that did; empty where none did."""
    if len(trials) == 1:
        return trials[0].reason
    failed = [trial for trial in trials if trial.outcome == FAILED]
    return "; ".join(f"seed {trial.config.seed} failed, {trial.reason}" for trial in failed)


def unit_words(words: str, trial: TrialRecord) -> str:
    """A trial's words without its seed."""
    return words.removesuffix(f", seed {trial.config.seed}")


def seeds_in_words(trials: Sequence[TrialRecord]) -> str:
    """`3`, or `2 of 3` where the numbers are of fewer."""
    count = len(counted(trials))
    return str(count) if count == len(trials) else f"{count} of {len(trials)}"


def mean_of(trials: Sequence[TrialRecord], key: str) -> float | None:
    """Mean over the counted seeds of a value of their last evaluation; None where there is none."""
    last = [trial.evaluations[-1] for trial in counted(trials) if trial.evaluations]
    values = [evaluation[key] for evaluation in last if evaluation.get(key) is not None]
    return float(np.mean(values)) if values else None


def unit_scores(trials: Sequence[TrialRecord], sentences: int) -> np.ndarray | None:
    """Per-sentence best5 scores of the counted seeds [S, N]; None before the first evaluation."""
    if not counted(trials)[0].evaluations:
        return None
    found = [[unpack_bits(e["correct"], sentences) for e in t.evaluations] for t in counted(trials)]
    return np.array([best5_scores(correct) for correct in found])


def score_interval(scores: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of scores [S, N]: over sentences, of several seeds over both."""
    if len(scores) == 1:
        return sentence_interval(scores[0], np.random.default_rng(BOOTSTRAP_SEED))
    low, high = seeds_interval(scores)
    return max(low, 0.0), min(high, 1.0)

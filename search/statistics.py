"""Statistics of a trial's answers: pure functions with an explicit random generator."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap

from trainable.metrics import best5_indices

CONFIDENCE = 0.95
RESAMPLES = 2000


def best5_scores(correct: Sequence[np.ndarray]) -> np.ndarray:
    """For each of N sentences the share of the five best evaluations that got it right, [N].

    `correct` has one boolean array [N] an evaluation. The mean of the result is best5_accuracy.
    """
    accuracies = [float(np.mean(bits)) for bits in correct]
    best = np.array([correct[index] for index in best5_indices(accuracies)], dtype=np.float64)
    return np.asarray(best.mean(axis=0))


def sentence_interval(scores: np.ndarray, generator: np.random.Generator) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of `scores` [N] over evaluation sentences.

    It says how much the score would move on other sentences of the same kind; not how much another
    seed would move it, nor how much picking the best evaluations flatters it.
    """
    if np.ptp(scores) == 0:  # all right or all wrong: resampling can't move the mean
        return float(scores[0]), float(scores[0])
    found = bootstrap(
        (scores,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        batch=100,
        method="percentile",
        rng=generator,
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)

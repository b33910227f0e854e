"""Temperature scaling, and how far probabilities are from the share that is right."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

BINS = 15
LIMITS = (0.05, 20.0)  # of the temperature
CRITICAL = 3.84  # chi-squared's 95% quantile of one degree of freedom


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T that makes softmax(logits / T) most likely; logits [N, C], labels [N] (Guo et al. 2017,
    section 4.2). 1 where it is not significantly likelier than that (Wilks 1938, Annals of
    Mathematical Statistics 9, 60-62), and where all are right: any lower one is likelier then."""

    def negative_log_likelihood(log_temperature: float) -> float:
        scores = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scores[np.arange(len(labels)), labels].mean())

    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    best = minimize_scalar(negative_log_likelihood, bounds=np.log(LIMITS), method="bounded")
    likelier = len(labels) * (negative_log_likelihood(0.0) - best.fun)
    return float(np.exp(best.x)) if 2 * likelier > CRITICAL else 1.0


def calibration_errors(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """The temperature that fits best, and the expected calibration error without it and with it, on
    the same examples; logits [N, C], labels [N]."""
    temperature = fit_temperature(logits, labels)
    before, after = (
        calibration_error(softmax(logits / t, axis=1), labels) for t in (1.0, temperature)
    )
    return temperature, before, after


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy, weighed by the
    examples in each of 15 bins of equal width; probabilities [N, C], labels [N] (Guo et al. 2017,
    section 2)."""
    confidence = probabilities.max(axis=1)
    gaps = (probabilities.argmax(axis=1) == labels) - confidence
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(bins, weights=gaps)).sum() / len(labels))

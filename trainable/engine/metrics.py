"""What predictions are scored by, as a whole and by example; and how JSON holds them."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trainable.config.metrics import ACCURACY, F1, MACRO_F1, MCC, PEARSON, SPEARMAN

PREDICTIONS = ("predictions", "full_predictions")  # of an evaluation as a dict
BEST_OF = 5  # the score is the mean of this many highest evaluations
LEAST_SPREAD = 1e-12  # share of a sum of squares that rounding may leave of a constant


def mean_of_best5(scores: Sequence[float]) -> float:
    """Mean of the five highest evaluations so far, or of all of fewer; ValueError if there is
    none."""
    if not scores:
        raise ValueError("no evaluation yet")
    highest = sorted(scores, reverse=True)[:BEST_OF]
    return sum(highest) / len(highest)


def best5_indices(scores: Sequence[float]) -> list[int]:
    """Positions of the evaluations that `mean_of_best5` averages; of equal ones, the earlier."""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    return sorted(order[:BEST_OF])


def score(metric: str, predictions: np.ndarray, labels: np.ndarray) -> float:
    """A metric of predictions [N] for labels [N]: classes, or numbers of a regression.

    0 where it is undefined: a correlation with a constant, F1 without any example of label 1.
    """
    return METRICS[metric](predictions, labels)


def _accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(predictions == labels))


def _f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import f1_score  # half a second, as below

    return float(f1_score(labels, predictions, zero_division=0))


def _macro_f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, average="macro", zero_division=0))


def _mcc(predictions: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predictions))


def _pearson(predictions: np.ndarray, labels: np.ndarray) -> float:
    from scipy.stats import pearsonr

    pair = [np.asarray(values, dtype=np.float64) for values in (predictions, labels)]
    if not all(np.isfinite(values).all() and np.ptp(values) for values in pair):
        return 0.0
    return float(pearsonr(*pair).statistic)


def _spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    return _pearson(*_ranks(predictions, labels))


def _ranks(*numbers: np.ndarray) -> list[np.ndarray]:
    """Of each array, the mean rank where some are equal."""
    from scipy.stats import rankdata

    return [rankdata(values) for values in numbers]


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    ACCURACY: _accuracy,
    F1: _f1,
    MACRO_F1: _macro_f1,
    MCC: _mcc,
    PEARSON: _pearson,
    SPEARMAN: _spearman,
}


def example_scores(metric: str, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What each example adds to a metric, [N]: their mean is the metric.

    These are the jackknife's pseudo-values (Tukey 1958, Annals of Mathematical Statistics 29, 614;
    Efron 1982, The Jackknife, the Bootstrap and Other Resampling Plans, chapter 3)

        N * metric - (N - 1) * metric without the example,

    shifted by the same number each so that the mean is exact. Their variance / N is that of the
    metric. For accuracy they are 1 where a prediction is right and 0 where it is wrong. For
    Spearman's correlation they are its influence function, which they tend to: an example that is
    left out changes the ranks of the others.
    """
    if metric == ACCURACY:
        return np.asarray(predictions == labels, dtype=np.float64)
    if metric == SPEARMAN:
        changes = _influence_on_ranks(predictions, labels)
    elif metric == PEARSON:
        changes = (1 - len(labels)) * _correlations_without_each(predictions, labels)
    else:
        changes = (1 - len(labels)) * _without_each(metric, predictions, labels)
    return np.asarray(score(metric, predictions, labels) + changes - changes.mean())


def _without_each(metric: str, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A metric of classes without each example, [N]. Examples of the same label and prediction
    leave the same behind, so it is computed once for each such cell of the confusion matrix."""
    classes = 1 + max(1, int(labels.max()), int(predictions.max()))
    cells, cell_of = np.unique(labels * classes + predictions, return_inverse=True)  # [K], [N]
    label, given = np.divmod(cells, classes)
    one, right = np.eye(classes), labels[labels == predictions]
    hits, actual, predicted = (
        np.bincount(values, minlength=classes) for values in (right, labels, predictions)
    )
    less = one[label] * (label == given)[:, None], one[label], one[given]  # [K, C] each
    counts = (hits - less[0], actual - less[1], predicted - less[2])
    return np.asarray(_metric_of_counts(metric, *counts)[cell_of])


def _metric_of_counts(
    metric: str, hits: np.ndarray, actual: np.ndarray, predicted: np.ndarray
) -> np.ndarray:
    """F1, macro F1 or MCC, [K], from the examples [K, C] of each class that are found, that there
    are, and that are predicted. MCC of C classes is Gorodkin's (2004, Computational Biology and
    Chemistry 28, 367-374); macro F1 averages over the classes that occur."""
    if metric == MCC:
        count = actual.sum(axis=1)
        covariance = count * hits.sum(axis=1) - (actual * predicted).sum(axis=1)
        spread = (count**2 - (actual**2).sum(axis=1)) * (count**2 - (predicted**2).sum(axis=1))
        return _ratio(covariance, np.sqrt(spread))
    f1 = _ratio(2 * hits, actual + predicted)
    if metric == F1:
        return np.asarray(f1[:, 1])
    return _ratio(f1.sum(axis=1), (actual + predicted > 0).sum(axis=1))


def _correlations_without_each(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation without each example, [N]: of centred numbers a sum of products without
    one loses N / (N - 1) of its own product."""
    x, y = (np.asarray(v, dtype=np.float64) - np.mean(v, dtype=np.float64) for v in (first, second))
    factor = len(x) / max(len(x) - 1, 1)
    xy, xx, yy = (a @ b - factor * a * b for a, b in ((x, y), (x, x), (y, y)))
    xx, yy = (np.where(v > LEAST_SPREAD * (a @ a), v, 0.0) for v, a in ((xx, x), (yy, y)))
    return _ratio(xy, np.sqrt(xx * yy))


def _influence_on_ranks(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of each example on Spearman's correlation, [N], but for a constant (Croux & Dehon 2010,
    Statistical Methods & Applications 19, 497-515; with ties, that on the variances, too)."""
    x, y = ((ranks - ranks.mean()) / len(ranks) for ranks in _ranks(first, second))

    def above(own: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Mean over all examples of `other` where it stands above in `own`, half where beside."""
        _, place = np.unique(own, return_inverse=True)
        sums = np.bincount(place, other)
        return np.asarray((sums.sum() - sums.cumsum() + sums / 2)[place] / len(own))

    xy, xx, yy = (
        (a * b + above(a, b) + above(b, a), np.full(len(a), np.mean(a * b)))
        for a, b in ((x, y), (x, x), (y, y))
    )
    spread = np.sqrt(xx[1] * yy[1])
    own = (_ratio(*xx) + _ratio(*yy)) / 2
    return np.asarray(_ratio(xy[0], spread) - _ratio(xy[1], spread) * own)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, 0 where below is 0."""
    return np.asarray(np.divide(above, below, out=np.zeros(below.shape), where=below > 0))


def agreement(predictions: np.ndarray, teacher: np.ndarray, labels: np.ndarray) -> float:
    """Of student and teacher, [N] each: the share of examples that both get right or both wrong; of
    a regression the correlation of their outputs."""
    if predictions.dtype.kind == "f":
        return score(PEARSON, predictions, teacher)
    return float(np.mean((predictions == labels) == (teacher == labels)))


def is_one_label(predictions: np.ndarray) -> bool:
    """Whether all N predictions are the same."""
    return bool(np.all(predictions == predictions[0]))


def pack_predictions(predictions: np.ndarray, classes: int) -> str:
    """Base64 of predictions (or labels) [N]: classes in as few bits each as so many take, or, with
    `classes` 0, numbers as float16, cut to its range of 65,504 to either side."""
    if classes:
        packed = np.packbits(predictions[:, None] >> _bits(classes) & 1)
    else:
        largest = np.finfo(np.float16).max
        packed = np.clip(predictions, -largest, largest).astype("<f2")
    return b64encode(packed.tobytes()).decode("ascii")


def unpack_predictions(packed: str, count: int, classes: int) -> np.ndarray:
    """The predictions [count] that `pack_predictions` packed: int64, or float32 of a regression; 0
    for those that are not there."""
    data = b64decode(packed)
    if not classes:
        return np.frombuffer(data.ljust(2 * count, b"\0"), "<f2", count).astype(np.float32)
    bits = _bits(classes)
    flat = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=count * len(bits))
    return np.asarray(flat.reshape(count, -1).astype(np.int64) @ (1 << bits))


def _bits(classes: int) -> np.ndarray:
    """Places of the bits of a class, the highest first."""
    return np.arange(max(1, (classes - 1).bit_length()))[::-1]


def without_predictions(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation whose predictions are kept elsewhere."""
    return {**evaluation, "predictions": "", "full_predictions": None}

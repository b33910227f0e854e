"""What predictions are scored by, as a whole and by example; and how JSON holds them."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trainable.config.metrics import ACCURACY, CORRELATIONS, MACRO_F1, MCC, PEARSON, SPEARMAN

PREDICTIONS = ("predictions", "full_predictions")  # of an evaluation as a dict
Metric = Callable[[np.ndarray, np.ndarray], float]  # of predictions and labels, [N] each
BEST_OF = 5  # the score is the mean of this many highest evaluations


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


def _of_sklearn(name: str, **options: Any) -> Metric:
    def metric(predictions: np.ndarray, labels: np.ndarray) -> float:
        import sklearn.metrics  # half a second

        return float(getattr(sklearn.metrics, name)(labels, predictions, **options))

    return metric


def _of_scipy(name: str) -> Metric:
    def metric(predictions: np.ndarray, labels: np.ndarray) -> float:
        import scipy.stats

        pair = [np.asarray(values, dtype=np.float64) for values in (predictions, labels)]
        if not all(np.isfinite(values).all() and np.ptp(values) for values in pair):
            return 0.0
        return float(getattr(scipy.stats, name)(*pair).statistic)

    return metric


METRICS: dict[str, Metric] = {
    ACCURACY: lambda predictions, labels: float(np.mean(predictions == labels)),
    "f1": _of_sklearn("f1_score", zero_division=0),
    MACRO_F1: _of_sklearn("f1_score", average="macro", zero_division=0),
    MCC: _of_sklearn("matthews_corrcoef"),
    PEARSON: _of_scipy("pearsonr"),
    SPEARMAN: _of_scipy("spearmanr"),
}


def example_scores(metric: str, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What each example adds to a metric, [N]: their mean is the metric.

    These are the jackknife's pseudo-values (Efron 1982, The Jackknife, the Bootstrap and Other
    Resampling Plans, chapter 3), all shifted by one number so that the mean is exact:

        N * metric - (N - 1) * metric without the example

    Their variance / N is the metric's. For accuracy they are 1 where a prediction is right, else 0.
    For correlations they are the influence function, which pseudo-values tend to.
    """
    if metric == ACCURACY:
        return np.asarray(predictions == labels, dtype=np.float64)
    if metric in CORRELATIONS:
        changes = _influences(predictions, labels, of_ranks=metric == SPEARMAN)
    else:
        changes = (1 - len(labels)) * _without_each(metric, predictions, labels)
    return np.asarray(score(metric, predictions, labels) + changes - changes.mean())


def _without_each(metric: str, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """F1, macro F1 or MCC without each example, [N]: computed once for each of the K cells of the
    confusion matrix that have examples, from counts by class.

    MCC of C classes is Gorodkin's (2004, Computational Biology and Chemistry 28, 367-374); macro F1
    is the mean over the classes that occur.
    """
    classes = 1 + max(1, int(labels.max()), int(predictions.max()))
    cells, cell_of = np.unique(labels * classes + predictions, return_inverse=True)  # [K], [N]
    label, given = np.divmod(cells, classes)
    one, right = np.eye(classes), labels[labels == predictions]
    hits = np.bincount(right, minlength=classes) - one[label] * (label == given)[:, None]  # [K, C]
    actual = np.bincount(labels, minlength=classes) - one[label]
    predicted = np.bincount(predictions, minlength=classes) - one[given]
    f1 = _ratio(2 * hits, actual + predicted)
    values = f1[:, 1]
    if metric == MACRO_F1:
        values = _ratio(f1.sum(axis=1), (actual + predicted > 0).sum(axis=1))
    elif metric == MCC:
        count = len(labels) - 1
        covariance = count * hits.sum(axis=1) - (actual * predicted).sum(axis=1)
        spread = (count**2 - (actual**2).sum(axis=1)) * (count**2 - (predicted**2).sum(axis=1))
        values = _ratio(covariance, np.sqrt(spread))
    return np.asarray(values[cell_of])


def _influences(first: np.ndarray, second: np.ndarray, *, of_ranks: bool) -> np.ndarray:
    """Of each example on the correlation of numbers or of their ranks, [N], but for a constant.

    An example changes the ranks of those above it, too (Croux & Dehon 2010, Statistical Methods &
    Applications 19, 497-515).
    """
    from scipy.stats import rankdata

    pair = (rankdata(v) if of_ranks else np.asarray(v, np.float64) for v in (first, second))
    (x, scale_x), (y, scale_y) = ((v - v.mean(), v.std() or 1.0) for v in pair)

    def product(a: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
        """Of each example, and with ranks what it adds to those of others: theirs in the other
        order if they stand above it, half if beside."""
        changes = a * b
        for own, other in ((a, b), (b, a)) if of_ranks else ():
            _, place = np.unique(own, return_inverse=True)
            sums = np.bincount(place, other)
            changes = changes + (sums.sum() - np.cumsum(sums) + sums / 2)[place]
        return np.asarray(changes / scale)

    own = product(x, x, scale_x**2) + product(y, y, scale_y**2)
    both = scale_x * scale_y
    return np.asarray(product(x, y, both) - np.mean(x * y) / both * own / 2)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, 0 where below is 0."""
    return np.asarray(np.divide(above, below, out=np.zeros(below.shape), where=below > 0))


def agreement(predictions: np.ndarray, teacher: np.ndarray, labels: np.ndarray) -> float:
    """Of student and teacher, [N] each: the share of examples that both get right or both wrong; of
    a regression the correlation of their outputs."""
    if predictions.dtype.kind == "f":
        return score(PEARSON, predictions, teacher)
    return float(np.mean((predictions == labels) == (teacher == labels)))


def predicted(logits: np.ndarray) -> np.ndarray:
    """Of logits [N, C] the classes [N], int64; of [N, 1] the numbers of a regression, float32."""
    return np.asarray(logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1))


def pack_predictions(predictions: np.ndarray, classes: int, kind: str = "<f2") -> str:
    """Base64 of predictions (or labels) [N]: classes in as few bits each as so many take, or, with
    `classes` 0, numbers of this kind (float16, or "<f4"), cut to its range."""
    if classes:
        packed = np.packbits(predictions[:, None] >> _bits(classes) & 1)
    else:
        largest = np.finfo(kind).max
        packed = np.clip(predictions, -largest, largest).astype(kind)
    return b64encode(packed.tobytes()).decode("ascii")


def unpack_predictions(packed: str, count: int, classes: int) -> np.ndarray:
    """The predictions [count] that `pack_predictions` packed: int64, or float32 of a regression; 0
    for those that are not there."""
    data = b64decode(packed)
    if not classes:
        kind = "<f4" if len(data) == 4 * count else "<f2"
        return np.frombuffer(data.ljust(2 * count, b"\0"), kind, count).astype(np.float32)
    bits = _bits(classes)
    flat = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=count * len(bits))
    return np.asarray(flat.reshape(count, -1).astype(np.int64) @ (1 << bits))


def _bits(classes: int) -> np.ndarray:
    """Places of the bits of a class, the highest first."""
    return np.arange(max(1, (classes - 1).bit_length()))[::-1]


def without_predictions(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation whose predictions are kept elsewhere."""
    return {**evaluation, "predictions": "", "full_predictions": None}

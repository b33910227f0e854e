"""The metrics that a run may be scored by: their names, and which of them fit the labels.

`trainable.engine.metrics` computes them.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from trainable.common.errors import UserError

ACCURACY, F1, MACRO_F1, MCC = "accuracy", "f1", "macro_f1", "mcc"
PEARSON, SPEARMAN = "pearson", "spearman"
METRIC_LABELS = {  # as sentences and tables have them
    ACCURACY: "accuracy",
    F1: "F1",
    MACRO_F1: "macro F1",
    MCC: "MCC",
    PEARSON: "Pearson correlation",
    SPEARMAN: "Spearman correlation",
}
CORRELATIONS = (PEARSON, SPEARMAN)  # of a regression
FROM_MINUS_1 = (MCC, *CORRELATIONS)  # the others are from 0
# What GLUE scores a task by (Wang et al. 2019, table 1), where that is not the accuracy.
GLUE_METRICS = {"mrpc": F1, "qqp": F1, "cola": MCC, "stsb": SPEARMAN}


def choose_metric(
    asked: str | None, source: str | None, configuration: str | None, label_names: Sequence[str]
) -> str:
    """The metric asked for, or the `default_metric`; UserError if it does not fit the labels."""
    if asked is None:
        return default_metric(source, configuration, label_names)
    check_metric("--metric", asked, label_names)
    return asked


def default_metric(
    source: str | None, configuration: str | None, label_names: Sequence[str]
) -> str:
    """What GLUE scores a data set by, if it has the name and the labels of one of its tasks; else
    accuracy, of a regression (no label names) Spearman's correlation."""
    task = re.sub(r"[\W_]", "", Path(configuration or source or "").name.casefold())
    metric = GLUE_METRICS.get(task)
    if metric is not None and not _obstacle(metric, label_names):
        return metric
    return ACCURACY if label_names else SPEARMAN


def check_metric(flag: str, metric: str, label_names: Sequence[str]) -> None:
    """UserError, which names `flag`, for a metric that does not fit labels of these names."""
    if obstacle := _obstacle(metric, label_names):
        raise UserError(f"{flag} {metric}: {obstacle}")


def _obstacle(metric: str, label_names: Sequence[str]) -> str:
    """Why a metric does not fit the labels, and what does; empty if it fits."""
    classes = len(label_names)
    if (metric in CORRELATIONS) != (classes == 0):
        kind = f"the labels are {classes} classes" if classes else "the labels are numbers"
        fitting = [name for name in METRIC_LABELS if (name in CORRELATIONS) == (classes == 0)]
        fitting = [name for name in fitting if name != F1 or classes == 2]
        return f"{kind}; give {', '.join(fitting[:-1])} or {fitting[-1]}"
    if metric == F1 and classes > 2:
        return f"is that of label 1 of two labels, these are {classes}; give {MACRO_F1}"
    return ""

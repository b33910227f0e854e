"""The metrics that a run may be scored by: their names, and which of them fit the labels.

`trainable.engine.metrics` computes them.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from trainable.common.errors import UserError

ACCURACY, F1, MACRO_F1, MCC = "accuracy", "f1", "macro_f1", "mcc"
PEARSON, SPEARMAN = CORRELATIONS = ("pearson", "spearman")  # of a regression
METRIC_LABELS = {  # as sentences and tables have them
    ACCURACY: "accuracy",
    F1: "F1",
    MACRO_F1: "macro F1",
    MCC: "MCC",
    PEARSON: "Pearson correlation",
    SPEARMAN: "Spearman correlation",
}
# What GLUE scores a task by (Wang et al. 2019, table 1), where that is not the accuracy.
GLUE_METRICS = {"mrpc": F1, "qqp": F1, "cola": MCC, "stsb": SPEARMAN}


def lowest_score(metric: str) -> float:
    """-1 of Matthews' and other correlations, 0 of the others; all end at 1."""
    return -1.0 if metric in (MCC, *CORRELATIONS) else 0.0


def default_metric(
    source: str | None, configuration: str | None, label_names: Sequence[str]
) -> str:
    """What GLUE scores a data set by, if it has the name and the labels of one of its tasks; else
    accuracy, of a regression (no label names) Spearman's correlation."""
    task = re.sub(r"[\W_]", "", Path(configuration or source or "").name.casefold())
    usual = ACCURACY if label_names else SPEARMAN
    metric = GLUE_METRICS.get(task, usual)
    return metric if metric in fitting_metrics(label_names) else usual


def fitting_metrics(label_names: Sequence[str]) -> list[str]:
    """Those of numbers for a regression, F1 of label 1 only for two labels."""
    kind = [name for name in METRIC_LABELS if (name in CORRELATIONS) == (not label_names)]
    return [name for name in kind if name != F1 or len(label_names) == 2]


def check_metric(metric: str, label_names: Sequence[str]) -> None:
    """UserError for a metric that does not fit labels of these names, [C]; none of a regression."""
    fitting = fitting_metrics(label_names)
    if metric not in fitting:
        labels = f"{len(label_names)} classes" if label_names else "numbers, not classes"
        raise UserError(f"--metric {metric}: the labels are {labels}; give {', '.join(fitting)}")

"""Which metric a data set has by default, and which are refused."""

from tests.conftest import user_error
from trainable.config.metrics import check_metric, default_metric

TWO, THREE, NONE = ["no", "yes"], ["a", "b", "c"], []


def test_a_task_of_glue_has_its_metric():
    for source, configuration, names, metric in (
        (None, None, TWO, "accuracy"),
        ("nyu-mll/glue", "mrpc", TWO, "f1"),
        ("/data/glue/QQP", None, TWO, "f1"),
        ("SetFit/CoLA", None, TWO, "mcc"),
        ("/data/sts-b", None, NONE, "spearman"),
        ("/data/mine.csv", None, NONE, "spearman"),
        ("nyu-mll/glue", "sst2", TWO, "accuracy"),
        ("/data/mrpc", None, THREE, "accuracy"),  # the name alone does not make it the task
        ("/data/stsb", None, TWO, "accuracy"),
    ):
        assert default_metric(source, configuration, names) == metric
        check_metric(metric, names)


def test_a_metric_that_does_not_fit_the_labels_is_refused():
    for metric, names, reason in (
        ("f1", THREE, "the labels are 3 classes; give accuracy, macro_f1, mcc"),
        ("f1", NONE, "the labels are numbers, not classes; give pearson, spearman"),
        ("pearson", TWO, "the labels are 2 classes; give accuracy, f1, macro_f1, mcc"),
    ):
        assert user_error(check_metric, metric, names) == f"--metric {metric}: {reason}"

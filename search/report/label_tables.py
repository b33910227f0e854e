"""What the best student and the teacher make of each label, in their final evaluations."""

import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from search.record.run import Run
from search.record.trial_record import FINISHED
from search.results.cells import Cells, share
from search.results.scores import labels_and_predictions, last_split

HEADERS = ("label", "examples", "precision", "teacher's", "recall", "teacher's", "F1", "teacher's")
LABELS_NOTE = (
    "Of the best student and the teacher, in the final evaluation. Precision: the share of a "
    "label's predictions that is right. Recall: the share of its examples that is found."
)
CALIBRATION_NOTE = (
    " Expected calibration error of its probabilities: {:.3f}, and {:.3f} at the temperature that "
    "fits these examples best; export divides the logits of its student by its own."
)
CONFUSION_NOTE = "Examples of each label (rows) by predicted label (columns): student / teacher."


def label_tables(run: Run, recipes: pd.DataFrame) -> tuple[Cells, Cells]:
    """Scores by label, and the confusion matrix, of the first of a `recipes_table`; without rows if
    it has not finished, predictions are lost, or the labels are numbers."""
    inputs, names = run.plan.inputs, run.plan.inputs.label_names
    best = recipes["recipe"][recipes["outcome"] == FINISHED].head(1).tolist()
    pairs = []
    if names and best:
        last = next(t for t in run.finished if t.config.recipe.digest == best[0]).evaluations[-1]
        scored, split = (last, vars(inputs.teacher)), last_split(last)
        pairs = [pair for of in scored if (pair := labels_and_predictions(of, inputs, split))]
    if len(pairs) < 2:
        return Cells((), ()), Cells((), ())
    classes = range(len(names))
    scores = [  # of student and teacher: precision, recall, F1 and number of examples, [4, C]
        precision_recall_fscore_support(*pair, labels=classes, zero_division=0) for pair in pairs
    ]
    counts = zip(*(confusion_matrix(*pair, labels=classes) for pair in pairs), strict=True)
    by_label = [
        (name, f"{scores[0][3][n]:,}", *(share(of[k][n]) for k in range(3) for of in scores))
        for n, name in enumerate(names)
    ]
    confusion = [
        (name, *(f"{student} / {teacher}" for student, teacher in zip(*rows, strict=True)))
        for name, rows in zip(names, counts, strict=True)
    ]
    notes = LABELS_NOTE
    if last.get("calibration_error") is not None:
        notes += CALIBRATION_NOTE.format(last["calibration_error"], last["calibrated_error"])
    headers = ("label", *(f"as {name}" for name in names))
    return Cells(HEADERS, by_label, notes=notes), Cells(headers, confusion)

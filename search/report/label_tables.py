"""What the best student and the teacher make of each label, in their final evaluations."""

import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from search.record.run import Run
from search.record.trial_record import FINISHED
from search.results.leaderboard import Cells, share
from search.results.scores import final_split, labels_and_predictions

SCORES = ("precision", "recall", "F1")
LABELS_NOTE = (
    "Of the best recipe's first student and of the teacher, in the final evaluation: of the "
    "predictions of a label the share that is right (precision), of its examples the share that is "
    "found (recall), and the harmonic mean of both (F1)."
)
CONFUSION_NOTE = "Examples of each label (rows) by predicted label (columns): student / teacher."


def label_tables(run: Run, recipes: pd.DataFrame) -> tuple[Cells, Cells]:
    """Scores by label, and the confusion matrix, of the first of a `recipes_table`; without rows if
    it has not finished, predictions are lost, or the labels are numbers."""
    inputs, names = run.plan.inputs, run.plan.inputs.label_names
    finished = recipes["digest"][recipes["outcome"] == FINISHED]
    pairs = []
    if names and len(finished):
        last = run.trials[finished.iloc[0]].evaluations[-1]
        scored, split = (last, vars(inputs.teacher)), final_split(last)
        pairs = [pair for of in scored if (pair := labels_and_predictions(of, inputs, split))]
    if len(pairs) < 2:
        return Cells((), ()), Cells((), ())
    classes = range(len(names))
    student, teacher = (  # precision, recall, F1 and number of examples, [4, C]
        precision_recall_fscore_support(*pair, labels=classes, zero_division=0) for pair in pairs
    )
    ours, its = (confusion_matrix(*pair, labels=classes) for pair in pairs)  # [C, C]
    headers = [f"{who} {name}" for name in SCORES for who in ("student", "teacher")]
    by_label = [
        (name, f"{count:,}", *(share(of[k][n]) for k in range(3) for of in (student, teacher)))
        for n, (name, count) in enumerate(zip(names, student[3], strict=True))
    ]
    counts = [
        (name, *(f"{a} / {b}" for a, b in zip(ours[n], its[n], strict=True)))
        for n, name in enumerate(names)
    ]
    confusion = Cells(("label", *(f"as {name}" for name in names)), counts)
    return Cells(("label", "examples", *headers), by_label), confusion

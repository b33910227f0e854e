"""Scores by label and the confusion matrix, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from search.record.trial_record import GIVE_UP
from search.report.label_tables import label_tables
from search.results.table import recipes_table, trials_table
from tests.made_runs import evaluated, failed, made_inputs, made_run, recipe
from trainable.engine.metrics import pack_predictions

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
STUDENT = np.array([0, 0, 0, 1, 1, 1, 1, 2, 0, 0])
TEACHER = np.array([0, 0, 0, 0, 1, 1, 0, 2, 2, 2])


@pytest.fixture(params=[False, True], ids=["alone", "a seed failed"])
def make(request, tmp_path):
    """A run of a trial that predicts STUDENT, or of two seeds of which the other failed."""

    def make(**more):
        inputs = made_inputs(label_names=["a", "b", "c"], examples={"train": 96, "evaluation": 10})
        labels, its = ({"evaluation": pack_predictions(LABELS, 3)}, pack_predictions(TEACHER, 3))
        inputs = replace(inputs, labels=labels, teacher=replace(inputs.teacher, predictions=its))
        first, config = (recipe(0, evaluations=1, seed=seed) for seed in (1, 2))
        configs = [first, config] if request.param else [config]
        run = made_run(tmp_path / "mine", configs, inputs=inputs)
        if request.param:
            run.append(failed(first, GIVE_UP))
        packed = {"predictions": pack_predictions(STUDENT, 3), **more}
        run.append(evaluated(config, 1, 0.7, **packed))
        return label_tables(run, recipes_table(run, trials_table(run)))

    return make


def test_scores_by_label_and_counts_of_student_and_teacher(make):
    by_label, confusion = make(calibration_error=0.0416, calibrated_error=0.0134)
    assert [*by_label.rows] == [
        ("a", "4", "0.6000", "0.8000", "0.7500", "1.0000", "0.6667", "0.8889"),
        ("b", "3", "0.7500", "1.0000", "1.0000", "0.6667", "0.8571", "0.8000"),
        ("c", "3", "1.0000", "1.0000", "0.3333", "1.0000", "0.5000", "1.0000"),
    ]
    assert "probabilities: 0.042, and 0.013 at" in by_label.notes
    assert confusion.headers == ("label", "as a", "as b", "as c")
    counts = [("a", "3 / 4", "1 / 0", "0 / 0"), ("b", "0 / 1", "3 / 2", "0 / 0")]
    assert [*confusion.rows] == [*counts, ("c", "2 / 0", "0 / 0", "1 / 3")]


def test_without_predictions_there_is_no_table(make):
    assert [table.rows for table in make(predictions="")] == [(), ()]

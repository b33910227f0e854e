"""Scores by label and the confusion matrix, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from search.record.trial_record import GIVE_UP
from search.report.label_tables import label_tables
from search.results.table import recipes_table, trials_table
from tests.made_runs import evaluated, failed, made_inputs, made_run, recipe, started
from trainable.engine.metrics import pack_predictions

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
STUDENT = np.array([0, 0, 0, 1, 1, 1, 1, 2, 0, 0])
TEACHER = np.array([0, 0, 0, 0, 1, 1, 0, 2, 2, 2])


def made(folder, *, seed_failed=False, **more):
    inputs = made_inputs(label_names=["a", "b", "c"], examples={"train": 96, "evaluation": 10})
    teacher = replace(inputs.teacher, predictions=pack_predictions(TEACHER, 3))
    inputs = replace(inputs, labels={"evaluation": pack_predictions(LABELS, 3)}, teacher=teacher)
    first, config = (recipe(0, evaluations=1, seed=seed) for seed in (1, 2))
    configs = [first, config] if seed_failed else [config]
    run = made_run(folder / "mine", configs, inputs=inputs)
    if seed_failed:
        run.append(failed(first, GIVE_UP))
    run.append(started(config))
    packed = {"predictions": pack_predictions(STUDENT, 3), **more}
    run.append(evaluated(config, 1, 0.7, **packed))
    return run


@pytest.mark.parametrize("seed_failed", [False, True])
def test_scores_by_label_and_counts_of_student_and_teacher(seed_failed, tmp_path):
    errors = {"calibration_error": 0.0416, "calibrated_error": 0.0134}
    run = made(tmp_path, seed_failed=seed_failed, **errors)
    by_label, confusion = label_tables(run, recipes_table(run, trials_table(run)))
    assert [*by_label.rows] == [
        ("a", "4", "0.6000", "0.8000", "0.7500", "1.0000", "0.6667", "0.8889"),
        ("b", "3", "0.7500", "1.0000", "1.0000", "0.6667", "0.8571", "0.8000"),
        ("c", "3", "1.0000", "1.0000", "0.3333", "1.0000", "0.5000", "1.0000"),
    ]
    assert "probabilities: 0.042, and 0.013 at" in by_label.notes
    assert confusion.headers == ("label", "as a", "as b", "as c")
    assert [*confusion.rows] == [
        ("a", "3 / 4", "1 / 0", "0 / 0"),
        ("b", "0 / 1", "3 / 2", "0 / 0"),
        ("c", "2 / 0", "0 / 0", "1 / 3"),
    ]


def test_without_predictions_there_is_no_table(tmp_path):
    run = made(tmp_path, predictions="")
    assert [t.rows for t in label_tables(run, recipes_table(run, trials_table(run)))] == [(), ()]

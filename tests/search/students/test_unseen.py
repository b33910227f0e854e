"""Scores on the test split."""

from contextlib import nullcontext

import numpy as np
import pytest

from search.students import unseen
from tests.made_runs import made_inputs
from trainable.data.datasets import LabelledTexts


def test_a_student_that_is_worse_than_its_teacher_is_behind_by_an_interval(monkeypatch):
    """30 of 200 are wrong, of the teacher none: a score ends at 0, a difference does not."""
    labels = np.arange(200) % 2
    said = {"student": np.where(np.arange(200) < 30, 1 - labels, labels), "teacher": labels}
    monkeypatch.setattr(unseen, "teacher_folder", lambda inputs: nullcontext("teacher"))
    monkeypatch.setattr(unseen, "answers", lambda folder, texts: said[folder])
    texts = LabelledTexts(["text"] * 200, labels.tolist())
    student, teacher, gap = unseen.test_scores("student", made_inputs(), texts)
    assert (student.score, teacher.score, gap.score) == (0.85, 1.0, pytest.approx(-0.15))
    half = 1.96 * np.sqrt(0.85 * 0.15 / 200)
    assert student.interval == pytest.approx((0.85 - half, 0.85 + half), abs=0.006)
    assert gap.interval == pytest.approx((-0.15 - half, -0.15 + half), abs=0.006)
    assert teacher.interval[1] == 1.0 > teacher.interval[0] > 0.98
